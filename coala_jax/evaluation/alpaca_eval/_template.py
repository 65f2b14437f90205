"""What the judge is asked: a template of the user's file, or our own wording."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from coala_jax._files import file_sha256
from coala_jax.evaluation._chat import ASSISTANT, SYSTEM, USER
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._own_wording import Wording, own_wording
from coala_jax.evaluation._words_to_judges import COMPARE_SYSTEM

START, END = "<|im_start|>", "<|im_end|>"
# The answers are called m and M to the judge, in the order in which it sees them.
FIRST_NAME, SECOND_NAME = "m", "M"
PLACES = ("instruction", "output_1", "output_2")
# As alpaca_eval finds what is to be filled in (`utils.make_prompts`).
_PLACE = re.compile(r"{([^ \s]+?)}")
_BLOCK = re.compile(rf"{re.escape(START)}(\S*)[^\n]*\n(.*?){re.escape(END)}\s*", re.S)


class Template(NamedTuple):
    """Messages to a judge with places for the instruction and both answers.

    Attributes:
        messages: (role, content) of each.
        wording: whose words these are.
    """

    messages: tuple[tuple[str, str], ...]
    wording: Wording

    def filled(self, texts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The messages with texts in their places, whatever the texts hold.

        All places are filled at once: a text that names a place is left as it is.
        """

        def text(place: re.Match[str]) -> str:
            return texts[place.group(1)]

        return tuple((role, _PLACE.sub(text, content)) for role, content in self.messages)


_OWN_MESSAGES = (
    (SYSTEM, COMPARE_SYSTEM),
    (
        USER,
        "Two assistants, called m and M, were given the same instruction. Which of them is called "
        "m was drawn at random.\n\n"
        "The instruction begins below this line.\n{instruction}\nThe instruction ends here.\n\n"
        "The answer of m begins below this line.\n{output_1}\nThe answer of m ends here.\n\n"
        "The answer of M begins below this line.\n{output_2}\nThe answer of M ends here.\n\n"
        "Which answer is better? Reply with its letter alone, m or M, and with nothing else.",
    ),
)
OWN_WORDING = Template(_OWN_MESSAGES, own_wording(*(text for _, text in _OWN_MESSAGES)))
"""A `Template` in this package's own words, for those who do not have the benchmark's file."""


def read_template(path: Path) -> Template:
    r"""A template in the format of `alpaca_eval_clf.txt` of tatsu-lab/alpaca_eval.

    Args:
        path: blocks ``<|im_start|>ROLE``, a line break, the content, ``<|im_end|>``, in which
            ``{instruction}``, ``{output_1}`` and ``{output_2}`` stand once each, and which asks
            for ``m`` where the first output is better and for ``M`` where the second is.

    Raises:
        EvaluationError: it cannot be read, is not made of such blocks, or lacks a place.

    Example:
        >>> from pathlib import Path
        >>> from coala_jax.evaluation.alpaca_eval import read_template
        >>> text = "{instruction} m: {output_1} M: {output_2} Which is better, m or M?"
        >>> _ = Path("clf.txt").write_text(f"<|im_start|>user\n{text}\n<|im_end|>\n")
        >>> read_template(Path("clf.txt")).messages[0][0]
        'user'
    """
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise EvaluationError(f"{path}: cannot be read as a template ({fault})") from fault
    blocks = list(_BLOCK.finditer(text))
    if not blocks or "".join(block.group() for block in blocks) != text:
        raise EvaluationError(
            f"{path}: is no template of a judge; blocks {START}ROLE, a line break, content, {END} "
            "and nothing around them are expected, as in alpaca_eval_clf.txt"
        )
    messages = tuple((block.group(1), block.group(2).strip()) for block in blocks)
    for role, _ in messages:
        if role not in (SYSTEM, USER, ASSISTANT):
            raise EvaluationError(
                f"{path}: a block of the role {role!r}; {SYSTEM}, {USER} or {ASSISTANT} is expected"
            )
    _require_places(path, messages)
    return Template(messages, Wording(path.name, file_sha256(path)))


def _require_places(path: Path, messages: tuple[tuple[str, str], ...]) -> None:
    found = [name for _, content in messages for name in _PLACE.findall(content)]
    for name in dict.fromkeys((*PLACES, *found)):
        expected = int(name in PLACES)
        if found.count(name) != expected:
            raise EvaluationError(
                f"{path}: {{{name}}} stands {found.count(name)} times; once each is expected of "
                f"{', '.join(PLACES)}, and nothing else in braces"
            )
