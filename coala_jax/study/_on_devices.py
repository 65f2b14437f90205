"""Features of an experiment where they are worked on, and the rows that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from coala_jax._row_mesh import on_host
from coala_jax._shard_rows import split_rows


class OnDevices(NamedTuple):
    """Features of the n rows of all processes.

    Attributes:
        features: as they are on one device; else `shard_rows` has put them over all.
        place: (n,) where each row stands in them; None where they are as they are.
        copy_of: (N,) number of the row that stands at each place; None likewise.
    """

    features: Any
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


def on_devices(features: Any) -> OnDevices:
    """The rows of this process and of all others, over all devices where there are several."""
    if jax.process_count() == 1 and len(jax.devices()) == 1:
        return OnDevices(features)
    return OnDevices(*split_rows(features, None))
