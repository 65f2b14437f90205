"""Formats of rows, as TRL documents them, each made into rows with prompt, chosen and rejected.

Every shape is a generator of rows from rows. Text and conversations are told apart by the values.
Layouts of known data sets become rows of these formats first.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from coala_jax.data._options import WINNER, Format, RowOptions
from coala_jax.data._shapes._conversation import Conversations
from coala_jax.data._shapes._layouts import message_rows
from coala_jax.data._shapes._openai import OUTPUTS, openai_rows
from coala_jax.data._shapes._preference import preference_rows
from coala_jax.data._shapes._ranked import ANSWERS, ranked_rows
from coala_jax.data._shapes._rated import has_rating, rated_rows, rating_rows
from coala_jax.data._shapes._scored import scored_rows
from coala_jax.data._shapes._unpaired import unpaired_rows
from coala_jax.data._shapes._winner import has_winner, winner_rows
from coala_jax.data._sources._row import SourceRow

Shape = Callable[[Iterable[SourceRow], RowOptions, Conversations], Iterator[SourceRow]]
Layout = Callable[[Iterable[SourceRow], RowOptions], Iterator[SourceRow]]


def _shape(shape: Shape, layout: Layout | None = None) -> Shape:
    """A shape of rows that a layout makes, where there is one; messages are read before it."""

    def rows_of(
        rows: Iterable[SourceRow], options: RowOptions, conversations: Conversations
    ) -> Iterator[SourceRow]:
        made = rows if layout is None else layout(rows, options)
        return shape(message_rows(made), options, conversations)

    return rows_of


SHAPES: Mapping[Format, Shape] = {
    "preference": _shape(preference_rows),
    "unpaired": _shape(unpaired_rows),
    "scored": _shape(scored_rows),
    "rated": _shape(rated_rows, rating_rows),
    "winner": _shape(preference_rows, winner_rows),
    "ranked": _shape(scored_rows, ranked_rows),
    "openai": _shape(preference_rows, openai_rows),
}
# The columns by which a format is known; those of a winner and a rating have other names too.
TELLING_COLUMNS: Mapping[Format, tuple[str, ...]] = {
    "preference": ("chosen", "rejected"),
    "scored": ("completions", "scores"),
    "unpaired": ("completion", "label"),
    "rated": ("completion", "score"),
    "openai": tuple(OUTPUTS.values()),
    "ranked": (ANSWERS,),
    "winner": ("response_a", "response_b", WINNER),
}


def told_format(columns: Collection[str], least: int | None = None) -> Format | None:
    """The format that has these columns, or the first ``least`` of its own; None where none has."""
    for format, telling in TELLING_COLUMNS.items():
        if all(column in columns for column in telling[:least]):
            return format
    if has_winner(columns):
        return "winner"
    return "rated" if has_rating(columns) else None


__all__ = ["SHAPES", "TELLING_COLUMNS", "Conversations", "told_format"]
