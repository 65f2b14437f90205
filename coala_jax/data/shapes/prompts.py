"""Prompts of text rows: told apart from the responses, with what the system column says."""

import os
import re
from collections.abc import Mapping
from typing import Any

from coala_jax.data.shapes.fault import RowFault

NO_SHARED_START = "no prompt, and chosen and rejected begin differently"
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
    shared = os.path.commonprefix([chosen, rejected])
    mark = shared.rfind(ASSISTANT_MARK)
    end = _last_space(shared) if mark < 0 else mark + len(ASSISTANT_MARK)
    prompt = shared[:end].rstrip()
    if not prompt:
        raise RowFault(NO_SHARED_START)
    return prompt, chosen[end:].lstrip(), rejected[end:].lstrip()


def without_prompt(key: str, prompt: str, response: str, strip_prompt: bool) -> str:
    """The response without the prompt that it repeats.

    Raises:
        RowFault: it repeats the prompt, and ``strip_prompt`` is not set.
    """
    start = prompt.strip()
    if not response.lstrip().startswith(start) or not _is_repeated(start, response.lstrip()):
        return response
    if not strip_prompt:
        raise RowFault(f"prompt repeated in {key} (--strip-prompt takes it out)")
    return response.lstrip()[len(start) :].lstrip()


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


def _is_repeated(prompt: str, response: str) -> bool:
    if len(_WORD.findall(prompt, 0, MEASURED_CHARACTERS)) < FEWEST_REPEATED_WORDS:
        return False
    after = response[len(prompt) : len(prompt) + 1]
    return not (prompt[-1].isalnum() and after.isalnum())  # not amid a word


def _last_space(text: str) -> int:
    """Where the last space is, or 0; differing texts share no whole word after it."""
    return max((space.start() for space in _SPACE.finditer(text)), default=0)
