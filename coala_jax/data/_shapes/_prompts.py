"""Prompts of text rows: told apart from the responses, with what the system column says."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from coala_jax._common_start import common_length
from coala_jax.data._errors import DataError
from coala_jax.data._rows import RowFault

# What people call a column that holds the prompt.
QUESTIONS = ("question", "instruction", "input", "query", "context", "problem", "history")
# So many rows are judged together: whether their prompts can be what responses begin with.
FEWEST_TO_JUDGE = 10
NO_SHARED_START = "no prompt, and chosen and rejected begin differently"
PROMPT_REPEATED = "prompt repeated in {} (--strip-prompt takes it out)"
# Beginning an answer with a single word of the prompt ("Hello") repeats no prompt.
FEWEST_REPEATED_WORDS = 2
# Words are counted in the beginning of a prompt alone.
MEASURED_CHARACTERS = 1000
# Where Anthropic's hh-rlhf, the best known set without a prompt column, ends a prompt.
ASSISTANT_MARK = "\n\nAssistant:"
_WORD, _SPACE = re.compile(r"\S+"), re.compile(r"\s")
# Scripts without spaces between words: Thai, Lao, Tibetan, Myanmar, Khmer, kana and Han, with the
# signs that go with these.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)
JOINER = "\N{ZERO WIDTH JOINER}"


def split_shared_prompt(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Prompt, chosen and rejected of two texts that begin with the same prompt.

    The prompt ends at the last `ASSISTANT_MARK` that both share, else at the last space; where
    words have no spaces between them, as in Chinese, it ends where the texts begin to differ.

    Raises:
        RowFault: they begin differently.
    """
    shared = chosen[: common_length(chosen, rejected)]
    mark = shared.rfind(ASSISTANT_MARK)
    end = mark + len(ASSISTANT_MARK) if mark >= 0 else _last_break(shared, chosen, rejected)
    prompt = shared[:end].rstrip()
    if not prompt:
        raise RowFault(NO_SHARED_START)
    return prompt, chosen[end:].lstrip(), rejected[end:].lstrip()


def require_guessable(source: str, seen: Sequence[Mapping[str, Any]]) -> None:
    """Raise where the beginning that chosen and rejected share is hardly the prompt of the rows.

    Args:
        source: what to call the rows in messages.
        seen: the first rows, none of which has a prompt.

    Raises:
        DataError: a column looks like the prompt; or responses share no beginning, or all the same.
    """
    texts = [fields for fields in seen if _are_texts(fields)]
    if asked := [name for name in QUESTIONS if any(fields.get(name) for fields in texts)]:
        raise DataError(
            f"{source}: no column is called prompt; if {asked[0]} is the prompt, say so: --columns "
            f"prompt={asked[0]} (columns={{'prompt': {asked[0]!r}}}); if chosen and rejected begin "
            f"with it, leave {asked[0]} out of the file"
        )
    if len(texts) < FEWEST_TO_JUDGE:
        return
    prompts = []
    for fields in texts:
        with suppress(RowFault):
            prompts.append(split_shared_prompt(fields["chosen"], fields["rejected"])[0])
    told = (
        f"{source}: no column is called prompt, so it has to be what chosen and rejected begin "
        "with; but {}; name the column that holds it: --columns prompt=NAME"
    )
    if 2 * len(prompts) < len(texts):
        raise DataError(
            told.format(
                f"in {len(texts) - len(prompts)} of {len(texts)} rows they begin differently"
            )
        )
    distinct = len(set(prompts))
    if distinct * FEWEST_TO_JUDGE <= len(texts):
        raise DataError(told.format(f"that is one of {distinct} texts in {len(texts)} rows"))


def _are_texts(fields: Mapping[str, Any]) -> bool:
    return all(isinstance(fields.get(side), str) for side in ("chosen", "rejected"))


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


def _last_break(shared: str, *texts: str) -> int:
    """The last place in what texts share that is amid no word and no character; 0 without one."""
    space = max((space.start() for space in _SPACE.finditer(shared)), default=0)
    if not _UNSPACED.search(shared, space):
        return space
    following = [text[len(shared) :] for text in texts]
    end = len(shared)
    while end > space and any(_goes_on(shared[:end], rest) for rest in following):
        end, following = end - 1, [shared[end - 1 :]]
    return end


def _goes_on(before: str, after: str) -> bool:
    """Whether a word that is written with spaces around it, or a character, goes on here."""
    if not after:
        return False
    if unicodedata.category(after[0]).startswith("M") or JOINER in (before[-1], after[0]):
        return True
    spaced = [sign.isalnum() and not _UNSPACED.match(sign) for sign in (before[-1], after[0])]
    return all(spaced)
