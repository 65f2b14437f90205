"""Formats of rows, as TRL documents them, each made into rows with prompt, chosen and rejected.

Every shape is a generator of rows from rows. Text and conversations are told apart by the values.
Layouts of known data sets become rows of these formats first.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from coala_jax.data._message import ASSISTANT
from coala_jax.data._options import WINNER, Format, RowOptions
from coala_jax.data._shapes._conversation import Conversations
from coala_jax.data._shapes._openai import OUTPUTS, openai_rows
from coala_jax.data._shapes._preference import preference_rows
from coala_jax.data._shapes._ranked import ANSWERS, ranked_rows
from coala_jax.data._shapes._scored import scored_rows
from coala_jax.data._shapes._unpaired import unpaired_rows
from coala_jax.data._shapes._winner import has_winner, winner_rows
from coala_jax.data._sources._row import SourceRow, each_row

Shape = Callable[[Iterable[SourceRow], RowOptions, Conversations], Iterator[SourceRow]]
Layout = Callable[[Iterable[SourceRow], RowOptions], Iterator[SourceRow]]


def _first(layout: Layout, shape: Shape) -> Shape:
    """The shape of rows that a layout makes."""

    def rows_of(
        rows: Iterable[SourceRow], options: RowOptions, conversations: Conversations
    ) -> Iterator[SourceRow]:
        return shape(each_row(layout(rows, options), _spoken), options, conversations)

    return rows_of


def _spoken(row: SourceRow, fields: Mapping[str, Any]) -> list[SourceRow]:
    """A row whose answers are messages where its prompt is."""
    if not isinstance(fields.get("prompt"), list):
        return [row]

    def answer(value: Any) -> Any:
        return [{"role": ASSISTANT, "content": value}] if isinstance(value, str) else value

    made = {side: answer(fields[side]) for side in ("chosen", "rejected") if side in fields}
    if isinstance(several := fields.get("completions"), list):
        made["completions"] = list(map(answer, several))
    return [row._replace(fields={**fields, **made}, content=row.kept())]


SHAPES: Mapping[Format, Shape] = {
    "preference": preference_rows,
    "unpaired": unpaired_rows,
    "scored": scored_rows,
    "winner": _first(winner_rows, preference_rows),
    "ranked": _first(ranked_rows, scored_rows),
    "openai": _first(openai_rows, preference_rows),
}
# The columns by which a format is known; data sets call those of a winner otherwise too.
TELLING_COLUMNS: Mapping[Format, tuple[str, ...]] = {
    "preference": ("chosen", "rejected"),
    "scored": ("completions", "scores"),
    "unpaired": ("completion", "label"),
    "openai": tuple(OUTPUTS.values()),
    "ranked": (ANSWERS,),
    "winner": ("response_a", "response_b", WINNER),
}


def told_format(columns: Collection[str], least: int | None = None) -> Format | None:
    """The format that has these columns, or the first ``least`` of its own; None where none has."""
    for format, telling in TELLING_COLUMNS.items():
        if all(column in columns for column in telling[:least]):
            return format
    return "winner" if has_winner(columns) else None


__all__ = ["SHAPES", "TELLING_COLUMNS", "Conversations", "told_format"]
