"""Prompts of a judge: our own, or one of a file of FastChat's format; filled with texts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

from coala_jax._files import file_sha256
from coala_jax.evaluation import _words_to_judges as own
from coala_jax.evaluation._benchmark_rows import BenchmarkRow, benchmark_rows
from coala_jax.evaluation._chat import SYSTEM, USER
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._own_wording import OWN_WORDING

Kind = Literal["pairwise", "single"]
PAIRWISE: Kind = "pairwise"
SINGLE: Kind = "single"
FIELDS: Mapping[Kind, tuple[str, ...]] = {
    PAIRWISE: ("question", "answer_a", "answer_b"),
    SINGLE: ("question", "answer"),
}
# Braces that `str.format` reads as one, and placeholders.
_MARK = re.compile(r"\{\{|\}\}|\{(\w+)\}")


class JudgePrompt(NamedTuple):
    """How a judge is asked.

    Attributes:
        name: in its file, or `OWN_WORDING`.
        system: the system message; empty for none.
        template: the user's message, with placeholders in braces.
        file: it was read from; None of our own wording.
        sha256: of that file.
    """

    name: str
    system: str
    template: str
    file: str | None = None
    sha256: str | None = None

    def messages(self, values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The messages with texts in place of the placeholders.

        Whatever stands in the texts, braces among it, stays as it is.

        Raises:
            EvaluationError: the template has a placeholder that no text is given for.
        """
        asked = (USER, fill(self.template, values, self))
        return ((SYSTEM, self.system), asked) if self.system else (asked,)

    def account(self) -> dict[str, Any]:
        """Which prompt it is, as JSON; our own wording may change, and then its hash does."""
        text = f"{self.system}\n{self.template}".encode()
        return {
            "name": self.name,
            "file": self.file,
            "file_sha256": self.sha256,
            "text_sha256": sha256(text).hexdigest(),
        }


COMPARE = JudgePrompt(OWN_WORDING, own.COMPARE_SYSTEM, own.COMPARE)
COMPARE_IN_A_TOKEN = JudgePrompt(OWN_WORDING, own.COMPARE_SYSTEM, own.COMPARE_IN_A_TOKEN)
GRADE = JudgePrompt(OWN_WORDING, own.GRADE_SYSTEM, own.GRADE)


def fill(template: str, values: Mapping[str, str], prompt: JudgePrompt) -> str:
    """A template with texts in place of its placeholders, in one pass over the template alone."""

    def text(mark: re.Match[str]) -> str:
        if mark[1] is None:
            return mark[0][0]
        if mark[1] not in values:
            raise EvaluationError(
                f"{prompt.file or prompt.name}: prompt {prompt.name!r} wants {{{mark[1]}}}; here "
                f"are {', '.join(f'{{{name}}}' for name in values)}; name another prompt"
            )
        return values[mark[1]]

    return _MARK.sub(text, template)


def read_judge_prompts(source: str | os.PathLike[str]) -> dict[str, JudgePrompt]:
    """All prompts of a file of FastChat's format, by name.

    Args:
        source: rows of ``name, system_prompt, prompt_template``, as ``judge_prompts.jsonl`` of
            ``fastchat/llm_judge/data`` has them.

    Raises:
        DataError: no such file, or it cannot be read.
        EvaluationError: a row of another kind, or a name twice.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> from coala_jax.evaluation.judge import read_judge_prompts
        >>> row = {"name": "pair", "system_prompt": "Be fair. Say [[A]], [[B]] or [[C]].",
        ...     "prompt_template": "{question} A: {answer_a} B: {answer_b}"}
        >>> _ = Path("judge_prompts.jsonl").write_text(json.dumps(row))
        >>> read_judge_prompts("judge_prompts.jsonl")["pair"].template
        '{question} A: {answer_a} B: {answer_b}'
    """
    path = Path(source)
    checksum = file_sha256(path) if path.is_file() else None
    found: dict[str, JudgePrompt] = {}
    for row in benchmark_rows(source):
        prompt = _prompt(row)._replace(file=str(source), sha256=checksum)
        if prompt.name in found:
            raise EvaluationError(f"{row.place}: a prompt {prompt.name!r} stood there before")
        found[prompt.name] = prompt
    return found


def choose_judge_prompt(
    source: str | os.PathLike[str], name: str | None, kind: Kind
) -> JudgePrompt:
    """A prompt of a file that can be filled with what is judged.

    Args:
        source: as `read_judge_prompts` takes it.
        name: of the prompt; None takes the only one that fits.
        kind: what is judged.

    Raises:
        EvaluationError: none fits, several do and none is named, or the named one does not.
    """
    prompts = read_judge_prompts(source)
    fitting = [each for each in prompts.values() if _fits(each, kind)]
    if name is not None:
        if name not in prompts:
            raise EvaluationError(f"{source}: no prompt {name!r}; it has {', '.join(prompts)}")
        fitting = [each for each in fitting if each.name == name]
    if len(fitting) != 1:
        places = ", ".join(f"{{{field}}}" for field in FIELDS[kind])
        which = f"prompt {name!r} has not" if name else f"{len(fitting)} prompts have"
        names = ", ".join(each.name for each in prompts.values() if _fits(each, kind))
        raise EvaluationError(
            f"{source}: {which} the placeholders {places} and no others; name one that has "
            f"(--prompt; {names or 'none of this file'})"
        )
    return fitting[0]


def _fits(prompt: JudgePrompt, kind: Kind) -> bool:
    return {mark for mark in _MARK.findall(prompt.template) if mark} == {*FIELDS[kind]}


def _prompt(row: BenchmarkRow) -> JudgePrompt:
    system = row.fields.get("system_prompt") or ""
    if not isinstance(system, str):
        raise EvaluationError(f"{row.place}: system_prompt must be a text")
    return JudgePrompt(row.text("name"), system, row.text("prompt_template"))
