"""Rows to be scored: a prompt with one response, several, or the two sides of a preference."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.data._chat import PLAIN, ChatFormat
from coala_jax.data._columns import check_columns, first_rows, named_rows
from coala_jax.data._errors import DataError
from coala_jax.data._message import ASSISTANT, USER
from coala_jax.data._rows import (
    SetAsideRow,
    count_reasons,
    require_usable,
    row_name,
    text_fault,
)
from coala_jax.data._shapes import (
    PAIRINGS,
    PREFERENCE,
    SHAPES,
    TELLING_COLUMNS,
    Conversations,
    ShapeOptions,
    leaves_out,
)
from coala_jax.data._shapes._conversation import is_conversation, messages
from coala_jax.data._shapes._fault import RowFault
from coala_jax.data._shapes._prompts import system_of, with_system
from coala_jax.data._sources import MAX_UNPACKED_BYTES, Source, open_source
from coala_jax.data._sources._files import numbered_lines
from coala_jax.data._sources._json_lines import parse_line
from coala_jax.data._sources._row import SourceRow

# A source of this name is standard input, one JSON object a line.
STANDARD_INPUT, STANDARD_INPUT_NAME = "-", "standard input"
RESPONSE, RESPONSES = "response", "responses"
CHOSEN, REJECTED = "chosen", "rejected"
# Responses that are scored together unless a caller says otherwise: enough for shared prefixes to
# meet; their features take 16 MB where they have 4096 columns.
CHUNK_RESPONSES = 1024
# The columns of rows that no format of pairs has.
OWN_COLUMNS = (RESPONSE, RESPONSES)


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


class ResponseSet(NamedTuple):
    """The usable responses of a file, and the lines that were set aside.

    Attributes:
        rows: in the order of the file.
        set_aside: what is not among them.
        chat_template: as a ``RowSet`` has it.
    """

    rows: tuple[ResponseRow, ...]
    set_aside: tuple[SetAsideRow, ...] = ()
    chat_template: str = ""

    @property
    def set_aside_counts(self) -> dict[str, int]:
        """How many lines were set aside for each reason, sorted by reason."""
        return count_reasons(self.set_aside)


# The responses of one row, or the line that was set aside.
ResponseEntry = tuple[ResponseRow, ...] | SetAsideRow


class ResponseStream(NamedTuple):
    """Responses as they are read, a row in memory at a time.

    Attributes:
        name: of the source, for messages.
        entries: can be gone through once.
        conversations: how messages become text.
    """

    name: str
    entries: Iterator[ResponseEntry]
    conversations: Conversations

    @property
    def chat_template(self) -> str:
        """As a ``RowSet`` has it; empty before the first conversation was read."""
        return self.conversations.chat_template


def read_responses(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    *,
    chat: Callable[[], ChatFormat] = lambda: PLAIN,
    **options: Any,
) -> ResponseSet:
    """Read responses to score, all at once.

    Args:
        source: as `stream_responses` takes it.
        chat: as ``read_rows`` takes it.
        options: the others of `stream_responses`.

    Returns:
        Usable rows in the order of the file, and the lines set aside.

    Raises:
        DataError: as `stream_responses` does, or a file with no usable row.
    """
    stream = stream_responses(source, chat=chat, **options)
    rows: list[ResponseRow] = []
    set_aside: list[SetAsideRow] = []
    for entry in stream.entries:
        if isinstance(entry, SetAsideRow):
            set_aside.append(entry)
        else:
            rows.extend(entry)
    require_usable(stream.name, rows, set_aside)
    return ResponseSet(tuple(rows), tuple(set_aside), stream.chat_template)


def stream_responses(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    *,
    columns: Mapping[str, str] | None = None,
    format: str | None = None,
    pairs: str = PAIRINGS[0],
    strict: bool = False,
    strip_prompt: bool = False,
    chat: Callable[[], ChatFormat] = lambda: PLAIN,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    download: bool = False,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
) -> ResponseStream:
    """Read responses to score, a row at a time.

    A row with ``response`` gives one, a row with ``responses`` (a list) gives each of them. Rows of
    the formats of ``read_rows`` give the two sides of each pair that it would make of them, the
    chosen one first; sides that are equal are scored all the same. Texts may be text or messages.

    Args:
        source: as ``read_rows`` takes it, or ``-`` for standard input, one JSON object a line.
        columns: as ``read_rows`` takes it; ``response`` and ``responses`` can be named too.
        format: as ``read_rows`` takes it; None tells it by the columns.
        pairs: as ``read_rows`` takes it.
        strict: raise at the first row that cannot be used, once it is reached.
        strip_prompt: as ``read_rows`` takes it, for rows of its formats.
        chat: as ``read_rows`` takes it.
        config: as ``read_rows`` takes it.
        split: as ``read_rows`` takes it.
        revision: as ``read_rows`` takes it.
        download: as ``read_rows`` takes it.
        max_unpacked_bytes: as ``read_rows`` takes it.

    Returns:
        The rows to come; unpaired rows are read to their end before the first one.

    Raises:
        DataError: a source that is missing, empty or unreadable, an argument out of range, or rows
            whose columns hold no responses; with ``strict`` while reading, a row that cannot be
            used.
    """
    if format is not None and format not in SHAPES:
        raise DataError(f"format={format!r} must be one of {', '.join(SHAPES)}")
    if pairs not in PAIRINGS:
        raise DataError(f"pairs={pairs!r} must be one of {', '.join(PAIRINGS)}")
    columns = columns or {}
    check_columns({name: column for name, column in columns.items() if name not in OWN_COLUMNS})
    if isinstance(source, str) and source == STANDARD_INPUT:
        opened = _standard_input({"config": config, "split": split, "revision": revision})
    else:
        opened = open_source(
            source,
            config=config,
            split=split,
            revision=revision,
            download=download,
            max_unpacked_bytes=max_unpacked_bytes,
        )
    seen, rows = first_rows(named_rows(opened, columns))
    conversations = Conversations(chat)
    format = format or _told_format(seen, opened.name)
    if format is None:
        entries = _given(rows, conversations)
    else:
        no_prompts = bool(seen) and all(fields.get("prompt") is None for fields in seen)
        implicit = format == PREFERENCE and no_prompts
        options = ShapeOptions(pairs, strip_prompt, implicit)
        entries = _pairs(SHAPES[format](rows, options, conversations))
    if strict:
        entries = _strictly(entries, opened.name)
    return ResponseStream(opened.name, entries, conversations)


def _standard_input(named: Mapping[str, str | None]) -> Source:
    """Standard input as a source; it has none of what is named."""
    if given := [f"{key}={value!r}" for key, value in named.items() if value is not None]:
        raise DataError(f"{', '.join(given)}: standard input has none; leave it out")
    lines = numbered_lines(sys.stdin.buffer)  # type: ignore[arg-type]
    rows = (
        parse_line(number, line, too_long, STANDARD_INPUT_NAME)
        for number, line, too_long in lines
        if not line.isspace()
    )
    return Source(STANDARD_INPUT_NAME, rows)


def _told_format(seen: Sequence[Mapping[str, Any]], name: str) -> str | None:
    """The format whose columns the first rows have; None where they have responses of their own.

    Raises:
        DataError: they have neither.
    """
    there = dict.fromkeys(column for fields in seen for column in fields)
    if not there or any(column in there for column in OWN_COLUMNS):
        return None
    for format, columns in TELLING_COLUMNS.items():
        if all(column in there for column in columns):
            return format
    known = "; ".join([*OWN_COLUMNS, *(", ".join(each) for each in TELLING_COLUMNS.values())])
    raise DataError(
        f"{name}: its columns ({', '.join(map(str, there))}) hold no responses; expected {known}; "
        "name them with columns={...} (--columns response=answer)"
    )


def _given(rows: Iterable[SourceRow], conversations: Conversations) -> Iterator[ResponseEntry]:
    """Responses of rows that hold their own; preference rows may stand among them."""
    for row in rows:
        if row.fields is None:
            yield _set_aside(row)
            continue
        try:
            given = _responses_of(row.fields)
            prompt, texts = _as_text(row.fields, given, conversations)
        except RowFault as fault:
            yield _set_aside(row.set_aside(str(fault)))
        else:
            name = row_name(row.fields, row.number)
            yield tuple(
                ResponseRow(name, side, prompt, text)
                for side, text in zip(given, texts, strict=True)
            )


def _pairs(rows: Iterable[SourceRow]) -> Iterator[ResponseEntry]:
    """Both sides of rows that a format made into pairs."""
    for row in rows:
        fields = row.fields
        fault = "" if fields is None else text_fault(fields, ("prompt", CHOSEN, REJECTED))
        if fields is None or fault:
            yield _set_aside(row.set_aside(fault) if fault else row)
            continue
        name = row_name(fields, row.number)
        yield tuple(
            ResponseRow(name, side, fields["prompt"], fields[side]) for side in (CHOSEN, REJECTED)
        )


def _strictly(entries: Iterable[ResponseEntry], name: str) -> Iterator[ResponseEntry]:
    """The same entries up to the first that cannot be used, which raises."""
    for entry in entries:
        if isinstance(entry, SetAsideRow) and not leaves_out(entry.reason):
            raise DataError(
                f"{entry.file or name}: line {entry.number}: {entry.reason}; mend the row, or "
                "leave out --strict (strict=True) to set such rows aside"
            )
        yield entry


def _set_aside(row: SourceRow) -> SetAsideRow:
    return SetAsideRow(row.number, row.reason, row.file, row.kept())


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


def _as_text(
    fields: Mapping[str, Any], given: Mapping[str, Any], conversations: Conversations
) -> tuple[str, list[str]]:
    """Prompt and responses as text.

    Raises:
        RowFault: one is missing, empty, or neither text nor messages.
    """
    prompt, texts, system = fields.get("prompt"), list(given.values()), system_of(fields)
    if prompt and all(texts) and any(map(is_conversation, (prompt, *texts))):
        answers = [messages(_conversation(each, ASSISTANT)) for each in texts]
        prompt, texts = conversations.texts(messages(_conversation(prompt, USER), system), answers)
        system = None  # in the text now
    # Of a list the reasons name no number: equal faults are counted together.
    names = [side if side in (CHOSEN, REJECTED) else RESPONSE for side in given]
    for key, text in (("prompt", prompt), *zip(names, texts, strict=True)):
        if fault := text_fault({key: text}, (key,)):
            raise RowFault(fault)
    assert isinstance(prompt, str)  # text_fault has seen to it
    return with_system(prompt, system), texts


def _conversation(value: Any, role: str) -> Any:
    """Messages; a text becomes the one message of a role."""
    return value if is_conversation(value) else [{"role": role, "content": value}]
