"""Features of an experiment where they are worked on, and the rows that they belong to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from coala_jax._group_inputs import map_arrays
from coala_jax._inputs import PairArrays, prepare_features
from coala_jax._row_mesh import on_host
from coala_jax._shard_rows import split_rows
from coala_jax._stored_rows import StoredRows


class OnDevices(NamedTuple):
    """Features of the n rows of all processes.

    Attributes:
        features: on one device, or over all where there are several.
        compact: whether they are to stay in the dtype that they have.
        place: (n,) where each row stands in them; None where they are as they are.
        copy_of: (N,) number of the row that stands at each place; None likewise.
    """

    features: Any
    compact: bool = False
    place: np.ndarray | None = None
    copy_of: np.ndarray | None = None

    def keys(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Keys of rows as keys of places: (n,) -> (N,)."""
        return tuple(keys) if self.copy_of is None else tuple(keys[row] for row in self.copy_of)

    def to_places(self, values: np.ndarray) -> np.ndarray:
        """Values of rows at their places, zero at others: (n,) -> (N,)."""
        if self.place is None or self.copy_of is None:
            return values
        placed = np.zeros(len(self.copy_of), values.dtype)
        placed[self.place] = values
        return placed

    def of_rows(self, values: jax.Array | np.ndarray) -> np.ndarray:
        """Values at places as values of rows, in every process: (N, ...) -> (n, ...)."""
        host = on_host(values) if isinstance(values, jax.Array) else values
        return host if self.place is None else host[self.place]

    def pairs(self) -> PairArrays:
        """The pairs that these features are, as the solver takes them."""
        return prepare_features(self.features, compact=self.compact)

    def of_sides(
        self, function: Callable[..., jax.Array], *given: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """A function of features, (b, d) -> (b,), of the chosen and of the rejected: (n,) each.

        Args:
            function: of what is given and the features, which are in the solver's dtype.
            given: pytrees.
        """
        chosen, rejected = _of_sides(function, self.pairs(), *given)
        return self.of_rows(chosen), self.of_rows(rejected)


@functools.partial(jax.jit, static_argnums=0)
def _of_sides(
    function: Callable[..., jax.Array], pairs: PairArrays, *given: Any
) -> tuple[jax.Array, ...]:
    def of_some(some: Any) -> tuple[jax.Array, ...]:
        return tuple(function(*given, side) for side in some.responses_by_side)

    return map_arrays(of_some, pairs)


def on_devices(features: Any, *, compact: bool) -> OnDevices:
    """The rows of this process and of all others, over all devices where there are several.

    Args:
        features: arrays, or `StoredRows` in their place, which go to the devices block by block.
        compact: whether they are to stay in the dtype that they have.
    """
    if jax.process_count() > 1 or len(jax.devices()) > 1:
        split = split_rows(features, None)
        return OnDevices(split.features, compact, split.place, split.copy_of)
    placed = {
        name: value.on_device() if isinstance(value, StoredRows) else value
        for name, value in features._asdict().items()
    }
    return OnDevices(type(features)(**placed), compact)
