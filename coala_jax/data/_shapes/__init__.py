"""Formats of rows, as TRL documents them, each made into rows with prompt, chosen and rejected.

Every shape is a generator of rows from rows. Text and conversations are told apart by the values.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from coala_jax.data._options import Format, RowOptions
from coala_jax.data._shapes._conversation import Conversations
from coala_jax.data._shapes._preference import preference_rows
from coala_jax.data._shapes._scored import scored_rows
from coala_jax.data._shapes._unpaired import unpaired_rows
from coala_jax.data._sources._row import SourceRow

Shape = Callable[[Iterable[SourceRow], RowOptions, Conversations], Iterator[SourceRow]]
SHAPES: Mapping[Format, Shape] = {
    "preference": preference_rows,
    "unpaired": unpaired_rows,
    "scored": scored_rows,
}
# The columns by which a format is known.
TELLING_COLUMNS: Mapping[Format, tuple[str, ...]] = {
    "preference": ("chosen", "rejected"),
    "scored": ("completions", "scores"),
    "unpaired": ("completion", "label"),
}


def told_format(columns: Collection[str], least: int | None = None) -> Format | None:
    """The format that has these columns, or the first ``least`` of its own; None where none has."""
    for format, telling in TELLING_COLUMNS.items():
        if all(column in columns for column in telling[:least]):
            return format
    return None


__all__ = ["SHAPES", "TELLING_COLUMNS", "Conversations", "told_format"]
