"""Formats of rows, as TRL documents them, each made into rows with prompt, chosen and rejected.

Every shape is a generator of rows from rows. Text and conversations are told apart by the values.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from coala_jax.data._shapes._conversation import Conversations
from coala_jax.data._shapes._options import PAIRINGS, ShapeOptions
from coala_jax.data._shapes._preference import preference_rows
from coala_jax.data._shapes._scored import TIED, scored_rows
from coala_jax.data._shapes._unpaired import unpaired_rows
from coala_jax.data._sources._row import SourceRow

PREFERENCE, UNPAIRED, SCORED = "preference", "unpaired", "scored"
Shape = Callable[[Iterable[SourceRow], ShapeOptions, Conversations], Iterator[SourceRow]]
SHAPES: Mapping[str, Shape] = {
    PREFERENCE: preference_rows,
    UNPAIRED: unpaired_rows,
    SCORED: scored_rows,
}
# The columns by which a format is known.
TELLING_COLUMNS: Mapping[str, tuple[str, ...]] = {
    PREFERENCE: ("chosen", "rejected"),
    SCORED: ("completions", "scores"),
    UNPAIRED: ("completion", "label"),
}
# How reasons begin that find no partner for a sound response.
LEFT_OVER = "left over: "


def leaves_out(reason: str) -> bool:
    """Whether a reason leaves out what is sound: counted and kept aside, but no fault."""
    return reason == TIED or reason.startswith(LEFT_OVER)


__all__ = [
    "LEFT_OVER",
    "PAIRINGS",
    "PREFERENCE",
    "SHAPES",
    "TELLING_COLUMNS",
    "Conversations",
    "ShapeOptions",
    "leaves_out",
]
