"""What a judge of Arena-Hard is told: by the benchmark's own files, or in words of this package."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._extras import how_to_install
from coala_jax._json import read_json_object
from coala_jax.evaluation._chat import SYSTEM, USER
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._own_wording import OWN_WORDING, Wording, own_wording
from coala_jax.evaluation._words_to_judges import COMPARE_SYSTEM

PARTS = ("QUESTION", "ANSWER_A", "ANSWER_B")
# What v0.1 called them.
OLD_PARTS = ("question_1", "answer_1", "answer_2")
# Of the categories that a file of prompts does not tell apart.
ANY = ""
PROMPTS_HELP = (
    "the benchmark's files with its prompts: utils/judge_utils.py (system prompts), "
    "config/arena-hard-v2.0.yaml (template, temperature, most tokens), or a .json of both"
)

_VERDICT = (
    "End with exactly one of these labels: [[A>>B]] if A is much better, [[A>B]] if A is somewhat "
    "better, [[A=B]] if neither is better, [[B>A]] if B is somewhat better, [[B>>A]] if B is much "
    "better."
)
_OWN_SYSTEM = {
    ANY: f"{COMPARE_SYSTEM} First work out an answer of your own, then name the faults of each of "
    f"the two by comparison with it. {_VERDICT}",
    "creative_writing": f"{COMPARE_SYSTEM} Name the strengths and the faults of each, its "
    f"imagination and its style among them. {_VERDICT}",
}
_OWN_TEMPLATE = (
    "[Request]\n{QUESTION}\n\n[Answer of assistant A]\n{ANSWER_A}\n[End of A]\n\n"
    "[Answer of assistant B]\n{ANSWER_B}\n[End of B]"
)


class JudgePrompts(NamedTuple):
    """What a judge is told, and how it is asked.

    Attributes:
        template: of the user's message, with the names of the parts in braces.
        system: by category; that of `ANY` is of all others.
        system_from: where the system prompts are from, for the report.
        template_from: where the template is from.
        temperature: that the files name, if they do.
        max_tokens: of a reply, likewise.
    """

    template: str = _OWN_TEMPLATE
    system: Mapping[str, str] = _OWN_SYSTEM
    system_from: str = OWN_WORDING
    template_from: str = OWN_WORDING
    temperature: float | None = None
    max_tokens: int | None = None

    def messages(
        self, category: str, question: str, answer_a: str, answer_b: str
    ) -> tuple[tuple[str, str], ...]:
        """The (role, content) of each message of a game.

        Raises:
            EvaluationError: the files have no system prompt for the category.
        """
        parts = (question, answer_a, answer_b)
        named = zip((*PARTS, *OLD_PARTS), (*parts, *parts), strict=True)
        asked = self.template.format_map(dict(named))
        return ((SYSTEM, self._system_of(category)), (USER, asked))

    def wording(self, category: str) -> Wording:
        """Whose words the judge of a category is told, by the checksum of these words.

        They are ours where the system prompt or the template is.

        Raises:
            EvaluationError: as `messages` does.
        """
        told = own_wording(self._system_of(category), self.template)
        sources = (self.system_from, self.template_from)
        if OWN_WORDING in sources:
            return told
        return told._replace(name=", ".join(dict.fromkeys(Path(file).name for file in sources)))

    def _system_of(self, category: str) -> str:
        system = self.system.get(category, self.system.get(ANY))
        if system is None:
            raise EvaluationError(
                f"{self.system_from}: no system prompt for {category}, only for "
                f"{', '.join(self.system)}; give the file of this version of the benchmark"
            )
        return system


OWN_PROMPTS = JudgePrompts()


def read_prompts(files: Iterable[str | os.PathLike[str]]) -> JudgePrompts:
    """The prompts of a judge.

    Args:
        files: any of ``utils/judge_utils.py``, whose ``JUDGE_SETTINGS`` is read and not run;
            ``config/*.yaml``; a ``.json`` of ``system_prompt`` (a text, or one by category),
            ``prompt_template``, ``temperature`` and ``max_tokens``. What no file names is in words
            of this package.

    Raises:
        EvaluationError: a file that cannot be read, or names neither system prompt nor template.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> from coala_jax.evaluation.arena_hard import read_prompts
        >>> prompts = {"system_prompt": "Be fair.", "max_tokens": 64}
        >>> _ = Path("judge.json").write_text(json.dumps(prompts))
        >>> read_prompts(["judge.json"]).max_tokens
        64
    """
    prompts = OWN_PROMPTS
    for file in map(Path, files):
        fields = _READERS[_suffix(file)](file)
        system, template = fields.get("system_prompt"), fields.get("prompt_template")
        if system is None and template is None:
            raise EvaluationError(
                f"{file}: has neither system_prompt nor prompt_template; {PROMPTS_HELP} is expected"
            )
        if system is not None:
            prompts = prompts._replace(system=_system(file, system), system_from=str(file))
        if template is not None:
            prompts = prompts._replace(template=_template(file, template), template_from=str(file))
        prompts = prompts._replace(
            temperature=_number(file, fields, "temperature", (int, float), prompts.temperature),
            max_tokens=_number(file, fields, "max_tokens", int, prompts.max_tokens),
        )
    return prompts


def _suffix(file: Path) -> str:
    if file.suffix not in _READERS:
        raise EvaluationError(f"{file}: {', '.join(_READERS)} are read; {PROMPTS_HELP}")
    return file.suffix


def _read_json(file: Path) -> dict[str, Any]:
    return read_json_object(file, EvaluationError)


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        import yaml
    except ModuleNotFoundError as missing:
        raise EvaluationError(
            f"{file}: YAML needs PyYAML, which comes with {how_to_install('text')}; or give the "
            "same fields as .json"
        ) from missing
    try:
        fields = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as fault:
        raise EvaluationError(f"{file}: cannot be read as YAML ({fault})") from fault
    if not isinstance(fields, dict):
        raise EvaluationError(f"{file}: fields are expected, not {type(fields).__name__}")
    return fields


def _read_settings(file: Path) -> dict[str, Any]:
    """The system prompts of `JUDGE_SETTINGS`; the module is parsed and never run."""
    names: dict[str, str] = {}
    try:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                continue
            if node.targets[0].id == "JUDGE_SETTINGS":
                settings = ast.literal_eval(_Spelled(names).visit(node.value))
                by_category = {key: each["system_prompt"] for key, each in settings.items()}
                return {"system_prompt": by_category}
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                names[node.targets[0].id] = node.value.value
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, AttributeError) as fault:
        raise EvaluationError(
            f"{file}: JUDGE_SETTINGS cannot be read ({fault}); give utils/judge_utils.py as the "
            "benchmark has it, or a .json"
        ) from fault
    raise EvaluationError(f"{file}: has no JUDGE_SETTINGS; {PROMPTS_HELP} is expected")


class _Spelled(ast.NodeTransformer):
    """Names of texts, as these texts."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self._names[node.id])


_READERS = {".json": _read_json, ".yaml": _read_yaml, ".yml": _read_yaml, ".py": _read_settings}


def _system(file: Path, value: Any) -> Mapping[str, str]:
    by_category = value if isinstance(value, Mapping) else {ANY: value}
    if not by_category or not all(isinstance(text, str) for text in by_category.values()):
        raise EvaluationError(f"{file}: system_prompt is no text, nor one by category")
    return by_category


def _template(file: Path, value: Any) -> str:
    template = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(template, str):
        raise EvaluationError(f"{file}: prompt_template is no text")
    marks = {name: f"<{number}>" for number, name in enumerate((*PARTS, *OLD_PARTS))}
    try:
        filled = template.format_map(marks)
    except (KeyError, ValueError, IndexError, AttributeError) as fault:
        raise EvaluationError(f"{file}: prompt_template asks for {fault}, {PARTS} are known") from (
            fault
        )
    missing = [
        part
        for part, old in zip(PARTS, OLD_PARTS, strict=True)
        if marks[part] not in filled and marks[old] not in filled
    ]
    if missing:
        raise EvaluationError(f"{file}: prompt_template shows no {{{missing[0]}}}; add it")
    return template


def _number(file: Path, fields: Mapping[str, Any], name: str, kind: Any, default: Any) -> Any:
    value = fields.get(name, default)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool) or value < 0):
        raise EvaluationError(f"{file}: {name} is {value!r}, a number of at least 0 is expected")
    return value
