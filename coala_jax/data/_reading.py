"""Preference rows of any source: read, shaped, checked, counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from coala_jax.data._chat import PLAIN, ChatFormat
from coala_jax.data._columns import check_columns, first_rows, named_rows
from coala_jax.data._errors import DataError
from coala_jax.data._rows import (
    PreferenceRow,
    RowSet,
    SetAsideRow,
    preference_row,
    require_usable,
    row_fault,
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
from coala_jax.data._sources import MAX_UNPACKED_BYTES, Source, open_source
from coala_jax.data._sources._row import SourceRow

REPEATED_ID = "id of an earlier row"


def read_rows(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    *,
    columns: Mapping[str, str] | None = None,
    format: str | None = None,
    pairs: str = "one",
    strict: bool = False,
    strip_prompt: bool = False,
    keep_messages: bool = False,
    chat: Callable[[], ChatFormat] = lambda: PLAIN,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    download: bool = False,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
) -> RowSet:
    """Read preference pairs; rows that cannot be used are set aside with their reason.

    A pair needs a prompt, a chosen and a rejected response that are not blank, the last two
    different. ``id`` (else ``line-<number>``), ``margin``, ``weight``, ``group`` and ``system`` are
    optional; all other columns become ``extra``.

    Args:
        source: a file, a folder, a hub id or records in memory, as ``open_source`` takes it.
        columns: a name here to the column's name there, such as ``{"prompt": "question"}``.
        format: ``preference`` (chosen, rejected, and prompt or a beginning that both share),
            ``unpaired`` (prompt, completion, label) or ``scored`` (prompt, completions, scores);
            None tells it by the columns. Texts may be text or messages in each.
        pairs: of unpaired and scored rows, ``one`` or ``all``, as `ShapeOptions` says.
        strict: raise at the first row that cannot be used.
        strip_prompt: take a prompt that a response repeats out of it, instead of refusing the row.
        keep_messages: keep the messages that texts were made of beside them, for ``write_rows`` to
            write; whatever reads those again chooses its own chat template.
        chat: gives the format that turns conversations into text; called at the first one.
        config: of a hub set, or a folder in a folder.
        split: of a hub set or a folder; None means ``train``.
        revision: of a hub set.
        download: whether a hub id may be fetched.
        max_unpacked_bytes: most that a compressed file may unpack to.

    Returns:
        Usable rows in the order of the source, and what was set aside.

    Raises:
        DataError: a source that is missing, empty or unreadable, an argument out of range, no
            usable row, or with ``strict`` any that is not.
    """
    opened = open_source(
        source,
        config=config,
        split=split,
        revision=revision,
        download=download,
        max_unpacked_bytes=max_unpacked_bytes,
    )
    return rows_of_source(
        opened,
        columns=columns or {},
        format=format,
        options=ShapeOptions(pairs, strip_prompt),
        strict=strict,
        keep_messages=keep_messages,
        chat=chat,
    )


def rows_of_source(
    source: Source,
    *,
    columns: Mapping[str, str],
    format: str | None,
    options: ShapeOptions,
    strict: bool,
    keep_messages: bool,
    chat: Callable[[], ChatFormat],
) -> RowSet:
    """Preference rows of an open source; the arguments are those of `read_rows`."""
    _check(format, options, columns)
    seen, rows = first_rows(named_rows(source, columns))
    format = format or _detected(seen, source.name)
    if format == PREFERENCE and seen and all(fields.get("prompt") is None for fields in seen):
        options = options._replace(implicit_prompt=True)
    conversations = Conversations(chat)
    shaped = SHAPES[format](rows, options, conversations)
    usable, set_aside = _checked(shaped, source.name, strict, keep_messages)
    require_usable(source.name, usable, set_aside)
    return RowSet(tuple(usable), tuple(set_aside), conversations.chat_template)


def _check(format: str | None, options: ShapeOptions, columns: Mapping[str, str]) -> None:
    if format is not None and format not in SHAPES:
        raise DataError(f"format={format!r} must be one of {', '.join(SHAPES)}")
    if options.pairs not in PAIRINGS:
        raise DataError(f"pairs={options.pairs!r} must be one of {', '.join(PAIRINGS)}")
    check_columns(columns)


def _detected(rows: Iterable[Mapping[str, Any]], name: str) -> str:
    """The format whose columns the first rows have, all of them or else the first."""
    there = dict.fromkeys(column for fields in rows for column in fields)
    for needed in (len, bool):  # all columns, one column
        for format, columns in TELLING_COLUMNS.items():
            if all(column in there for column in columns[: needed(columns)]):
                return format
    if not there:  # nothing was read: the reasons say more
        return PREFERENCE
    known = "; ".join(f"{format}: {', '.join(each)}" for format, each in TELLING_COLUMNS.items())
    raise DataError(
        f"{name}: its columns ({', '.join(map(str, there))}) are those of no format ({known}); "
        "name them with columns={...} (--columns chosen=best,rejected=other)"
    )


def _checked(
    rows: Iterator[SourceRow], name: str, strict: bool, keep_messages: bool
) -> tuple[list[PreferenceRow], list[SetAsideRow]]:
    """Usable rows, and the others with their reasons."""
    usable: list[PreferenceRow] = []
    set_aside: list[SetAsideRow] = []
    ids: set[str] = set()
    for row in rows:
        fields = row.fields
        reason = row.reason if fields is None else row_fault(fields)
        if fields is not None and not reason:
            made = preference_row(fields, row.number)
            if keep_messages:
                made = made._replace(messages=row.messages)
            if fields.get("id") is None or made.id not in ids:
                ids.add(made.id)
                usable.append(made)
                continue
            reason = REPEATED_ID
        if strict and not leaves_out(reason):
            raise DataError(
                f"{row.file or name}: line {row.number}: {reason}; mend the row, or leave out "
                "--strict (strict=True) to set such rows aside"
            )
        set_aside.append(SetAsideRow(row.number, reason, row.file, row.kept()))
    return usable, set_aside
