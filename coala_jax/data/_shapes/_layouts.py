"""Layouts of messages that data sets have, read as lists of role and content."""

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from coala_jax.data._message import ASSISTANT, SPEAKERS, TOOL
from coala_jax.data._options import RESPONSE, RESPONSES
from coala_jax.data._rows import RowFault
from coala_jax.data._sources._row import SourceRow, each_row

# Columns of one text or conversation, those with a list of them, and other names of the prompt's.
ANSWERS, LISTS = ("chosen", "rejected", "completion", RESPONSE), ("completions", RESPONSES)
PROMPTS = ("conversations", "conversation", "messages")
# What no feature of a text can hold.
SEEN_OR_HEARD = ("image", "images", "video", "videos", "audio", "audios")
NOT_OF_TEXT = "{}: only text has features; leave it out if the texts make sense without it"
AS_TEXT = (
    "messages written as text that cannot be read back (as pandas and numpy print them); write the "
    "column as JSON"
)
NOT_MESSAGES = "a message without role and content"
# ShareGPT's names of role and content, and what it calls its speakers beside those known anyway.
FROM, VALUE = "from", "value"
SHARE_GPT: Mapping[str, str] = {**SPEAKERS, "gpt": ASSISTANT, "observation": TOOL, "tool": TOOL}
# The fields of a turn that may stand in place of a text.
IN_PLACE_OF_TEXT = ("tool_calls", "function_call", "reasoning_content")
_LOOKS_LIKE_MESSAGES = re.compile(
    r"""(?:array\()?[\[(]?\s*\{\s*(['"])(?:role|content|from|value)\1\s*:.*[\]})]""", re.DOTALL
)


def message_rows(rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    """The same rows, whose messages are lists of role and content whatever their layout was."""
    return each_row(rows, _with_messages)


def is_conversation(value: Any) -> bool:
    """Whether a value is meant as messages: a list of mappings."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def _with_messages(row: SourceRow, fields: Mapping[str, Any]) -> tuple[SourceRow]:
    for name in SEEN_OR_HEARD:
        if fields.get(name):
            raise RowFault(NOT_OF_TEXT.format(name))
    made = {name: _read(name, value) for name, value in fields.items()}
    told = next((name for name in PROMPTS if is_conversation(made.get(name))), None)
    if told is not None and made.get("prompt") is None:
        made["prompt"] = made.pop(told)
    if is_conversation(made.get("prompt")):
        for name in {*ANSWERS, *LISTS} & made.keys():
            made[name] = _answers(made[name]) if name in LISTS else _answer(made[name])
    if all(value is fields.get(name) for name, value in made.items()):
        return (row,)
    return (row._replace(fields=made, content=row.kept()),)


def _read(name: str, value: Any) -> Any:
    """The value of a column, with messages in one layout where it may hold them."""
    if name in ("prompt", *ANSWERS, *PROMPTS):
        return _conversation(value)
    if name in LISTS and isinstance(value, list | tuple):  # of texts, messages or conversations
        return _same_or_list(value, map(_conversation, value))
    return value


def _same_or_list(old: Sequence[Any], new: Iterable[Any]) -> Sequence[Any]:
    """The old values themselves where no new one is another."""
    made = list(new)
    return old if all(one is other for one, other in zip(old, made, strict=True)) else made


def _answers(values: Any) -> Any:
    return _same_or_list(values, map(_answer, values)) if isinstance(values, list) else values


def _answer(value: Any) -> Any:
    """A text as the answer of a conversation; anything else as it is."""
    if isinstance(value, str) and value.strip():
        return [{"role": ASSISTANT, "content": value}]
    return value


def _conversation(value: Any) -> Any:
    """Messages as a list of role and content; what is none, such as a text, as it is.

    Raises:
        RowFault: messages in a layout that cannot be read, or with more than text in them.
    """
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, Mapping) and _is_message(value):
        value = _turns(value)
    if not is_conversation(value):
        return value
    return _same_or_list(value, map(_plain_message, value))


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and ({"role", "content"} <= value.keys() or _shared(value))


def _shared(value: Mapping[str, Any]) -> bool:
    return {FROM, VALUE} <= value.keys()


def _turns(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One message, or the messages of a mapping of lists, as tables of structs have them."""
    if not all(isinstance(column, list | tuple) for column in value.values()):
        return [value]
    if value.keys() == {"role", "content"} and not isinstance(value["role"], list | tuple):
        return [value]
    if len({len(column) for column in value.values()}) > 1:
        raise RowFault("messages as lists of different lengths")
    return [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=True)]


def _parsed(text: str) -> Any:
    """Messages that were written as text, by JSON or by Python; any other text as it is.

    Raises:
        RowFault: they cannot be read back.
    """
    if not _LOOKS_LIKE_MESSAGES.fullmatch(text.strip()):
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        told = value if isinstance(value, list | tuple) else [value]
        return value if all(map(_is_message, told)) else text
    if all(re.search(rf"""(['"]){name}\1\s*:""", text) for name in ("role", "content")):
        raise RowFault(AS_TEXT)
    return text


def _plain_message(turn: Any) -> Any:
    """A message with a role and a text; the very same where it is that already.

    Raises:
        RowFault: parts of it are no text.
    """
    if not isinstance(turn, Mapping):
        raise RowFault(NOT_MESSAGES)
    if "role" not in turn and _shared(turn):
        speaker = turn[FROM]
        role = SHARE_GPT.get(speaker.strip().lower(), speaker) if isinstance(speaker, str) else None
        more = {name: each for name, each in turn.items() if name not in (FROM, VALUE)}
        turn = {"role": role, "content": turn[VALUE], **more}
    content = turn.get("content")
    if isinstance(content, list | tuple):
        turn = {**turn, "content": "".join(map(_part, content))}
    elif content is None and any(turn.get(name) for name in IN_PLACE_OF_TEXT):
        turn = {**turn, "content": ""}
    return turn


def _part(part: Any) -> str:
    """The text of a typed part.

    Raises:
        RowFault: a part of another type.
    """
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    text = part.get("text") if isinstance(part, Mapping) else None
    if kind != "text" or not isinstance(text, str):
        raise RowFault(NOT_OF_TEXT.format(f"a message with a part of type {kind}"))
    return text
