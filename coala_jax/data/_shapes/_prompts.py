"""Prompts of text rows: told apart from the responses, with what the system column says."""

import re
from collections.abc import Mapping
from typing import Any

from coala_jax.data._rows import RowFault

NO_SHARED_START = "no prompt, and chosen and rejected begin differently"
PROMPT_REPEATED = "prompt repeated in {} (--strip-prompt takes it out)"
# Beginning an answer with a single word of the prompt ("Hello") repeats no prompt.
FEWEST_REPEATED_WORDS = 2
# Words are counted in the beginning of a prompt alone.
MEASURED_CHARACTERS = 1000
# Where Anthropic's hh-rlhf, the best known set without a prompt column, ends a prompt.
ASSISTANT_MARK = "\n\nAssistant:"
_WORD, _SPACE = re.compile(r"\S+"), re.compile(r"\s")


def split_shared_prompt(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Prompt, chosen and rejected of two texts that begin with the same prompt.

    The prompt ends at the last `ASSISTANT_MARK` that both share, else at the last space.

    Raises:
        RowFault: they begin differently.
    """
    shared = _shared_start(chosen, rejected)
    mark = shared.rfind(ASSISTANT_MARK)
    end = _last_space(shared) if mark < 0 else mark + len(ASSISTANT_MARK)
    prompt = shared[:end].rstrip()
    if not prompt:
        raise RowFault(NO_SHARED_START)
    return prompt, chosen[end:].lstrip(), rejected[end:].lstrip()


def repeats_prompt(prompt: str, response: str) -> bool:
    """Whether a response begins with the prompt, as in sets that keep whole texts."""
    start, text = prompt.strip(), response.lstrip()
    if not text.startswith(start):
        return False
    if len(_WORD.findall(start, 0, MEASURED_CHARACTERS)) < FEWEST_REPEATED_WORDS:
        return False
    return not (start[-1].isalnum() and text[len(start) : len(start) + 1].isalnum())  # amid a word


def without_prompt(prompt: str, response: str) -> str:
    """The response without the prompt where it repeats it."""
    if not repeats_prompt(prompt, response):
        return response
    return response.lstrip()[len(prompt.strip()) :].lstrip()


def system_of(fields: Mapping[str, Any]) -> str | None:
    """The text of the ``system`` column.

    Raises:
        RowFault: it is no text.
    """
    system = fields.get("system")
    if system is None or (isinstance(system, str) and not system.strip()):
        return None
    if not isinstance(system, str):
        raise RowFault("system is not a string")
    return system


def with_system(prompt: str, system: str | None) -> str:
    """The prompt of a text row below its system text."""
    return prompt if system is None else f"{system}\n\n{prompt}"


def _shared_start(left: str, right: str) -> str:
    """What both texts begin with, by halving: texts are compared at the speed of memory."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[:middle] == right[:middle] else (low, middle - 1)
    return left[:low]


def _last_space(text: str) -> int:
    """Where the last space is, or 0; differing texts share no whole word after it."""
    return max((space.start() for space in _SPACE.finditer(text)), default=0)
