"""Rows with a chosen and a rejected response; the prompt stands apart, or both begin with it."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from coala_jax._common_start import common_length
from coala_jax.data._message import USER, Message, PairMessages
from coala_jax.data._options import RowOptions
from coala_jax.data._rows import RowFault
from coala_jax.data._shapes._conversation import (
    Conversations,
    first_question,
    messages,
    tools_of,
)
from coala_jax.data._shapes._prompts import (
    NO_SHARED_START,
    PROMPT_REPEATED,
    repeats_prompt,
    require_guessable,
    split_shared_prompt,
    system_of,
    with_system,
    without_prompt,
)
from coala_jax.data._sources._row import SourceRow, each_row, first_rows
from coala_jax.data._split import question_group

SIDES = ("chosen", "rejected")


class _PromptRules(NamedTuple):
    """Whether a repeated prompt is taken out, and whether the beginning of responses is one."""

    strip: bool
    implicit: bool


class _Texts(NamedTuple):
    """The texts of a row; anything that is no text is left for the checks of a row to name."""

    prompt: Any
    chosen: Any
    rejected: Any


def preference_rows(
    rows: Iterable[SourceRow], options: RowOptions, conversations: Conversations
) -> Iterator[SourceRow]:
    """Rows whose prompt, chosen and rejected are text; what cannot be made so has its reason.

    Where no row has a prompt, it is what the responses begin with; else such a row is a fault.

    Raises:
        DataError: no row has a prompt, and what responses begin with is hardly one.
    """
    first = list(itertools.islice(rows := iter(rows), 1))
    seen, rows = first_rows(itertools.chain(first, rows))
    implicit = bool(seen) and all(fields.get("prompt") is None for fields in seen)
    if implicit:
        require_guessable(first[0].file, seen)
    rules = _PromptRules(options.strip_prompt, implicit)
    return each_row(rows, lambda row, fields: [_shaped(row, fields, rules, conversations)])


def _shaped(
    row: SourceRow, fields: Mapping[str, Any], rules: _PromptRules, conversations: Conversations
) -> SourceRow:
    chosen, rejected = fields.get("chosen"), fields.get("rejected")
    for side, value in zip(SIDES, (chosen, rejected), strict=True):
        if value is None:
            raise RowFault(f"no {side}")
    turns, group = None, None
    if conversations.are_messages(chosen, rejected):
        turns = _messages(fields, rules)
        answers = (turns.chosen, turns.rejected)
        prompt, written = conversations.texts(turns.prompt, answers, tools_of(fields))
        texts, group = _Texts(prompt, *written), first_question(turns.prompt)
    elif not isinstance(chosen, str) or not isinstance(rejected, str):
        return row  # the checks of a row name it
    else:
        texts, group = _of_text(fields, chosen, rejected, rules)
    if not fields.get("system") and texts == (fields.get("prompt"), chosen, rejected):
        return row
    made = {key: value for key, value in fields.items() if key != "system"} | texts._asdict()
    if group is not None and made.get("group") is None:
        made["group"] = group
    return row._replace(fields=made, content=row.kept(), messages=turns)


def _of_text(
    fields: Mapping[str, Any], chosen: str, rejected: str, rules: _PromptRules
) -> tuple[_Texts, str | None]:
    """The texts of a row, and its group where a system text stands above its prompt."""
    system, prompt = system_of(fields), fields.get("prompt")
    if rules.implicit and prompt is None:
        prompt, chosen, rejected = split_shared_prompt(chosen, rejected)
    if not isinstance(prompt, str) or not prompt.strip():  # the checks of a row name it
        return _Texts(prompt, chosen, rejected), None
    # A rejected response alone may well parrot the prompt: that is why it was rejected.
    if repeats_prompt(prompt, chosen):
        if not rules.strip:
            raise RowFault(PROMPT_REPEATED.format("chosen"))
        chosen, rejected = (without_prompt(prompt, side) for side in (chosen, rejected))
    group = None if system is None else question_group(prompt)
    return _Texts(with_system(prompt, system), chosen, rejected), group


def _messages(fields: Mapping[str, Any], rules: _PromptRules) -> PairMessages:
    sides = [messages(fields[side]) for side in SIDES]
    prompt = _prompt_messages(fields, sides, rules)
    return PairMessages(tuple(prompt), *map(tuple, sides))


def _prompt_messages(
    fields: Mapping[str, Any], sides: list[list[Message]], rules: _PromptRules
) -> list[Message]:
    """The prompt of a conversational row; where the sides begin with it, it is taken off them."""
    system, given = system_of(fields), fields.get("prompt")
    shared = common_length(*sides)
    # Equal sides are a fault that the checks of a row name: leave them their last message.
    shared = min(shared, *(len(side) - 1 for side in sides))
    if given is None and not rules.implicit:
        raise RowFault("no prompt")
    if isinstance(given, list | tuple):
        prompt, bare = messages(given, system), messages(given)
        for key, side in zip(SIDES, sides, strict=True):
            if side[: len(bare)] == bare:
                if not rules.strip:
                    raise RowFault(PROMPT_REPEATED.format(key))
                del side[: len(bare)]
        return prompt
    if shared:  # also where a text column repeats the question, as UltraFeedback's does
        prompt = messages([message.as_dict() for message in sides[0][:shared]], system)
        for side in sides:
            del side[:shared]
        return prompt
    if not isinstance(given, str):
        raise RowFault(NO_SHARED_START if given is None else "prompt is not a string")
    return messages([{"role": USER, "content": given}], system)
