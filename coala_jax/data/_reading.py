"""Preference rows of any source: read, shaped, checked, counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from coala_jax.data._chat import ChatFormat, plain_chat
from coala_jax.data._column_names import named_rows
from coala_jax.data._errors import DataError
from coala_jax.data._options import Format, RowOptions, require_options
from coala_jax.data._rows import (
    PreferenceRow,
    RowFault,
    RowSet,
    SetAsideRow,
    lost_note,
    preference_row,
    require_sound,
    require_usable,
)
from coala_jax.data._shapes import SHAPES, TELLING_COLUMNS, Conversations, told_format
from coala_jax.data._sources import Source, open_source
from coala_jax.data._sources._row import SourceRow, columns_of, each_row, first_rows
from coala_jax.data._split import QUESTION_GROUP, question_group

REPEATED_ID = "id of an earlier row"


def read_rows(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    options: RowOptions = RowOptions(),
    chat: Callable[[], ChatFormat] = plain_chat,
) -> RowSet:
    """Read preference pairs; rows that cannot be used are set aside with their reason.

    The formats are ``preference`` (chosen, rejected, and prompt or a beginning that both share),
    ``unpaired`` (prompt, completion, label), ``rated`` (prompt, completion, score), ``scored``
    (prompt, completions, scores), ``winner`` (prompt, two responses and which is better),
    ``ranked`` (prompt, answers with ranks or scores) and ``openai`` (input, preferred_output,
    non_preferred_output), texts as text or messages in each.
    Of unpaired, rated, scored and ranked rows ``pairs`` makes one, each good response against one
    bad, the best against the worst; all, every better one against every worse; or whole groups, the
    best against each of the others, ties among them. A pair needs a prompt, a chosen and a rejected
    response that are not blank, the last two different. ``id`` (else ``line-<number>``),
    ``margin``, ``weight``, ``group`` and ``system`` are optional; all other columns become
    ``extra``.

    Args:
        source: a file, a folder, a hub id or records in memory, as `open_source` takes it.
        options: which rows, and how pairs are made of them.
        chat: gives the format that turns conversations into text; called at the first one.

    Returns:
        Usable rows in the order of the source, and what was set aside.

    Raises:
        DataError: a source that is missing, empty or unreadable, columns of no format, no usable
            row, or with ``strict`` any that is not.

    Example:
        >>> from coala_jax.data import read_rows
        >>> found = read_rows([
        ...     {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
        ...     {"prompt": "3 + 3?", "chosen": "6", "rejected": "6"}])
        >>> found.rows[0].id, found.rows[0].chosen
        ('line-1', '4')
        >>> found.set_aside_counts
        {'chosen equals rejected': 1}
    """
    require_options(options, RowOptions)
    return rows_of_source(open_source(source, options), options, chat)


def rows_of_source(
    source: Source, options: RowOptions, chat: Callable[[], ChatFormat] = plain_chat
) -> RowSet:
    """Preference rows of an open source, as `read_rows` reads them."""
    seen, rows = first_rows(named_rows(source, options.columns))
    format = options.format or _detected_format(seen, source.name)
    conversations = Conversations(chat)
    shaped = SHAPES[format](rows, options, conversations)
    usable, set_aside = _checked(shaped, source.name, options)
    require_usable(source.name, usable, set_aside)
    grouped, notes = _grouped(usable)
    read = RowSet(tuple(grouped), tuple(set_aside), conversations.chat_template)
    lost = lost_note(source.name, len(usable), read.set_aside_counts)
    return read._replace(notes=(*lost, *source.notes, *conversations.notes, *notes))


def _grouped(rows: list[PreferenceRow]) -> tuple[list[PreferenceRow], tuple[str, ...]]:
    """Rows of which all have a group where questions made some; and a note where that tells."""
    made = [row.group for row in rows if (row.group or "").startswith(QUESTION_GROUP)]
    if not made:
        return rows, ()
    filled = [
        row if row.group is not None else row._replace(group=question_group(row.prompt))
        for row in rows
    ]
    if len({(row.group, row.prompt) for row in filled}) == len({row.group for row in filled}):
        return filled, ()
    return filled, (
        "rows with the same first question are a group, which is never split: the same "
        "conversation at other turns, or below other system texts",
    )


def _detected_format(rows: Iterable[Mapping[str, Any]], name: str) -> Format:
    """The format whose columns the first rows have, all of them or else the first."""
    there = columns_of(rows)
    if not there:  # nothing was read: the reasons say more
        return "preference"
    if format := told_format(there) or told_format(there, 1):
        return format
    known = "; ".join(f"{format}: {', '.join(each)}" for format, each in TELLING_COLUMNS.items())
    raise DataError(
        f"{name}: its columns ({', '.join(map(str, there))}) are those of no format ({known}); "
        "name them with columns={...} (--columns chosen=best,rejected=other)"
    )


def _checked(
    rows: Iterator[SourceRow], name: str, options: RowOptions
) -> tuple[list[PreferenceRow], list[SetAsideRow]]:
    """Usable rows, and the others with their reasons."""
    usable: list[PreferenceRow] = []
    set_aside: list[SetAsideRow] = []
    ids: set[str] = set()

    def keep(row: SourceRow, fields: Mapping[str, Any]) -> tuple[()]:
        made = preference_row(fields, row.number)
        if fields.get("id") is not None and made.id in ids:
            raise RowFault(REPEATED_ID)
        ids.add(made.id)
        usable.append(made._replace(messages=row.messages) if options.keep_messages else made)
        return ()

    for row in each_row(rows, keep):
        set_aside.append(row.as_set_aside())
        if options.strict:
            require_sound(set_aside[-1], name)
    return usable, set_aside
