"""Rows to be scored: a prompt with one response, several, or the two sides of a preference."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from coala_jax.data._chat import ChatFormat, plain_chat
from coala_jax.data._column_names import named_rows
from coala_jax.data._errors import DataError
from coala_jax.data._message import ASSISTANT, USER
from coala_jax.data._options import RESPONSE, RESPONSES, Format, RowOptions, require_options
from coala_jax.data._rows import RowFault, SetAsideRow, require_sound, require_texts, row_name
from coala_jax.data._shapes import SHAPES, TELLING_COLUMNS, Conversations, told_format
from coala_jax.data._shapes._conversation import messages, tools_of
from coala_jax.data._shapes._layouts import is_conversation, message_rows
from coala_jax.data._shapes._prompts import system_of, with_system
from coala_jax.data._sources import Source, open_source
from coala_jax.data._sources._json_lines import parse_lines
from coala_jax.data._sources._row import SourceRow, columns_of, first_rows

# A source of this name is standard input, one JSON object a line.
STANDARD_INPUT, STANDARD_INPUT_NAME = "-", "standard input"
CHOSEN, REJECTED = "chosen", "rejected"
# Responses that are scored together unless a caller says otherwise: enough for shared prefixes to
# meet; their features take 16 MB where they have 4096 columns.
CHUNK_RESPONSES = 1024


class ResponseRow(NamedTuple):
    """A response to be scored.

    Attributes:
        id: name of the row it came from.
        side: ``response``, ``response-<number>`` of a list, or ``chosen`` or ``rejected`` for the
            two sides of a preference row.
        prompt: what the response answers.
        response: the text to score.
    """

    id: str
    side: str
    prompt: str
    response: str


# The responses of one row, or the line that was set aside.
ResponseEntry = tuple[ResponseRow, ...] | SetAsideRow


class ResponseStream(NamedTuple):
    """Responses as they are read, a row in memory at a time.

    Attributes:
        name: of the source, for messages.
        entries: can be gone through once.
        conversations: how messages become text.
        notes: what must be known of the source, as a ``RowSet`` has them.
    """

    name: str
    entries: Iterator[ResponseEntry]
    conversations: Conversations
    notes: tuple[str, ...] = ()

    @property
    def chat_template(self) -> str:
        """As a ``RowSet`` has it; empty before the first conversation was read."""
        return self.conversations.chat_template


def stream_responses(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    options: RowOptions = RowOptions(),
    chat: Callable[[], ChatFormat] = plain_chat,
) -> ResponseStream:
    """Read responses to score, a row at a time.

    A row with ``response`` gives one, a row with ``responses`` (a list) gives each of them. Rows of
    the formats of `read_rows` give the two sides of each pair that it would make of them, the
    chosen one first; sides that are equal are scored all the same. Texts may be text or messages.

    Args:
        source: as `read_rows` takes it, or ``-`` for standard input, one JSON object a line.
        options: which rows, and how they are read; ``strict`` raises once a row is reached.
        chat: as `read_rows` takes it.

    Returns:
        The rows to come; unpaired rows are read to their end before the first one.

    Raises:
        DataError: a source that is missing, empty or unreadable, or rows whose columns hold no
            responses; with ``strict`` while reading, a row that cannot be used.

    Example:
        >>> from coala_jax.data import stream_responses
        >>> stream = stream_responses([{"prompt": "2 + 2?", "responses": ["4", "5"]}])
        >>> [(row.side, row.response) for entry in stream.entries for row in entry]
        [('response-0', '4'), ('response-1', '5')]
    """
    require_options(options, RowOptions)
    if isinstance(source, str) and source == STANDARD_INPUT:
        options.require_whole(STANDARD_INPUT_NAME)
        opened = Source(STANDARD_INPUT_NAME, parse_lines(sys.stdin.buffer, STANDARD_INPUT_NAME))
    else:
        opened = open_source(source, options)
    seen, rows = first_rows(named_rows(opened, options.columns))
    conversations = Conversations(chat)
    format = options.format or _format_of_pairs(seen, opened.name)
    if format is None:
        entries = _entries(message_rows(rows), partial(_own, conversations))
    else:
        entries = _entries(SHAPES[format](rows, options, conversations), _sides)
    if options.strict:
        entries = _strictly(entries, opened.name)
    return ResponseStream(opened.name, entries, conversations, opened.notes)


def _format_of_pairs(seen: Iterable[Mapping[str, Any]], name: str) -> Format | None:
    """The format whose columns the first rows have; None where they have responses of their own.

    Raises:
        DataError: they have neither.
    """
    there = columns_of(seen)
    if not there or RESPONSE in there or RESPONSES in there:
        return None
    if format := told_format(there):
        return format
    known = "; ".join(
        [RESPONSE, RESPONSES, *(", ".join(each) for each in TELLING_COLUMNS.values())]
    )
    raise DataError(
        f"{name}: its columns ({', '.join(map(str, there))}) hold no responses; expected {known}; "
        "name them with columns={...} (--columns response=answer)"
    )


def _entries(
    rows: Iterable[SourceRow],
    responses: Callable[[Mapping[str, Any]], tuple[str, Mapping[str, str]]],
) -> Iterator[ResponseEntry]:
    """The responses of each row, of its prompt and its sides; or the row as it is set aside."""
    for row in rows:
        try:
            if row.fields is not None:
                name, (prompt, sides) = row_name(row.fields, row.number), responses(row.fields)
                yield tuple(ResponseRow(name, side, prompt, text) for side, text in sides.items())
                continue
        except RowFault as fault:
            row = row.set_aside(str(fault))
        yield row.as_set_aside()


def _sides(fields: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
    """Prompt and both sides of a row that a format made into a pair."""
    require_texts(fields, ("prompt", CHOSEN, REJECTED))
    return fields["prompt"], {side: fields[side] for side in (CHOSEN, REJECTED)}


def _strictly(entries: Iterable[ResponseEntry], name: str) -> Iterator[ResponseEntry]:
    """The same entries up to the first that cannot be used, which raises."""
    for entry in entries:
        if isinstance(entry, SetAsideRow):
            require_sound(entry, name)
        yield entry


def _responses_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The responses of a row by their side, as they stand there.

    Raises:
        RowFault: a list of responses that is none.
    """
    if fields.get(RESPONSES) is not None:
        several = fields[RESPONSES]
        if not isinstance(several, list | tuple) or is_conversation(several):
            raise RowFault(f"{RESPONSES} is not a list of texts or of conversations")
        if not several:
            raise RowFault(f"empty {RESPONSES}")
        return {f"{RESPONSE}-{number}": each for number, each in enumerate(several)}
    is_pair = RESPONSE not in fields and (CHOSEN in fields or REJECTED in fields)
    return {side: fields.get(side) for side in ((CHOSEN, REJECTED) if is_pair else (RESPONSE,))}


def _own(conversations: Conversations, fields: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
    """Prompt and responses of a row that holds its own; preference rows may stand among them."""
    given, system = _responses_of(fields), system_of(fields)
    prompt: Any = fields.get("prompt")
    texts: list[Any] = list(given.values())
    if prompt and any(map(is_conversation, (prompt, *texts))):
        for side, text in zip(given, texts, strict=True):
            if not is_conversation(text):
                key = _named(side)
                require_texts({key: text}, (key,))
        answers = [messages(_conversation(each, ASSISTANT)) for each in texts]
        turns = messages(_conversation(prompt, USER), system)
        prompt, texts = conversations.texts(turns, answers, tools_of(fields))
        system = None  # in the text now
    require_texts({"prompt": prompt}, ("prompt",))
    for side, text in zip(given, texts, strict=True):
        key = _named(side)
        require_texts({key: text}, (key,))
    return with_system(prompt, system), dict(zip(given, texts, strict=True))


def _named(side: str) -> str:
    """How reasons call a side; of a list they name no number: equal faults are counted together."""
    return side if side in (CHOSEN, REJECTED) else RESPONSE


def _conversation(value: Any, role: str) -> Any:
    """Messages; a text becomes the one message of a role."""
    return value if is_conversation(value) else [{"role": role, "content": value}]
