"""Rows with a chosen and a rejected response; the prompt stands apart, or both begin with it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from coala_jax.data.conversations import USER, Message
from coala_jax.data.shapes.conversation import Conversations, messages, shared_start
from coala_jax.data.shapes.fault import RowFault
from coala_jax.data.shapes.options import ShapeOptions
from coala_jax.data.shapes.prompts import (
    NO_SHARED_START,
    PROMPT_REPEATED,
    repeats_prompt,
    split_shared_prompt,
    system_of,
    with_system,
    without_prompt,
)
from coala_jax.data.sources.row import SourceRow

SIDES = ("chosen", "rejected")


def preference_rows(
    rows: Iterable[SourceRow], options: ShapeOptions, conversations: Conversations
) -> Iterator[SourceRow]:
    """Rows whose prompt, chosen and rejected are text; what cannot be made so has its reason."""
    for row in rows:
        if row.fields is None:
            yield row
            continue
        try:
            fields = _shaped(row.fields, options, conversations)
        except RowFault as fault:
            yield row.refuse(str(fault))
        else:
            yield row if fields is row.fields else row._replace(fields=fields, content=row.fields)


def _shaped(
    fields: Mapping[str, Any], options: ShapeOptions, conversations: Conversations
) -> Mapping[str, Any]:
    chosen, rejected = fields.get("chosen"), fields.get("rejected")
    for side, value in zip(SIDES, (chosen, rejected), strict=True):
        if value is None:
            raise RowFault(f"no {side}")
    if conversations.same_kind(chosen, rejected):
        texts = _of_messages(fields, options, conversations)
    elif not isinstance(chosen, str) or not isinstance(rejected, str):
        return fields  # the checks of a row name it
    else:
        texts = _of_text(fields, chosen, rejected, options)
    if not fields.get("system") and texts == (fields.get("prompt"), chosen, rejected):
        return fields
    made = dict(zip(("prompt", *SIDES), texts, strict=True))
    return {key: value for key, value in fields.items() if key != "system"} | made


def _of_text(
    fields: Mapping[str, Any], chosen: str, rejected: str, options: ShapeOptions
) -> tuple[Any, str, str]:
    system, prompt = system_of(fields), fields.get("prompt")
    if options.implicit_prompt and prompt is None:
        prompt, chosen, rejected = split_shared_prompt(chosen, rejected)
    if not isinstance(prompt, str) or not prompt.strip():  # the checks of a row name it
        return prompt, chosen, rejected
    # A rejected response alone may well parrot the prompt: that is why it was rejected.
    if repeats_prompt(prompt, chosen):
        if not options.strip_prompt:
            raise RowFault(PROMPT_REPEATED.format("chosen"))
        chosen, rejected = (without_prompt(prompt, side) for side in (chosen, rejected))
    return with_system(prompt, system), chosen, rejected


def _of_messages(
    fields: Mapping[str, Any], options: ShapeOptions, conversations: Conversations
) -> tuple[str, str, str]:
    sides = [messages(fields[side]) for side in SIDES]
    prompt = _prompt_messages(fields, sides, options)
    text, (chosen, rejected) = conversations.texts(prompt, sides)
    return text, chosen, rejected


def _prompt_messages(
    fields: Mapping[str, Any], sides: list[list[Message]], options: ShapeOptions
) -> list[Message]:
    """The prompt of a conversational row; where the sides begin with it, it is taken off them."""
    system, given = system_of(fields), fields.get("prompt")
    shared = shared_start(*sides)
    # Equal sides are a fault that the checks of a row name: leave them their last message.
    shared = min(shared, *(len(side) - 1 for side in sides))
    if given is None and not options.implicit_prompt:
        raise RowFault("no prompt")
    if isinstance(given, list | tuple):
        prompt = messages(given, system)
        for key, side in zip(SIDES, sides, strict=True):
            bare = messages(given)
            if side[: len(bare)] == bare:
                if not options.strip_prompt:
                    raise RowFault(PROMPT_REPEATED.format(key))
                del side[: len(bare)]
        return prompt
    if shared:  # also where a text column repeats the question, as UltraFeedback's does
        prompt = messages([message._asdict() for message in sides[0][:shared]], system)
        for side in sides:
            del side[:shared]
        return prompt
    if not isinstance(given, str):
        raise RowFault(NO_SHARED_START if given is None else "prompt is not a string")
    return messages([{"role": USER, "content": given}], system)
