"""What is known of a data set by name."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from coala_jax.data._options import Format
from coala_jax.data._sources._row import SourceRow


class KnownSet(NamedTuple):
    """A data set on the hub, and how its rows become preference pairs.

    Attributes:
        name: for the command line.
        hub_id: its repository.
        layouts: the columns that are read, with what they hold; of one layout all must be there.
        pairs: how many pairs the COALA paper (arXiv 2605.23244) counts.
        rows: makes them of the rows of the hub; takes the attribute by which responses are judged.
        config: its configuration there; None where it has one alone.
        split: the split that the paper takes.
        format: what its rows are in the end.
        attributes: those there are; the first is the paper's. Empty where there is no choice.
    """

    name: str
    hub_id: str
    layouts: tuple[Mapping[str, str], ...]
    pairs: int
    rows: Callable[[Iterator[SourceRow], str], Iterator[SourceRow]]
    config: str | None = None
    split: str = "train"
    format: Format = "preference"
    attributes: tuple[str, ...] = ()
