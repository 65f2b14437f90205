"""Rows of features that lie in files or arrays, of which no more are read than are asked for."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

BFLOAT16 = np.dtype(jnp.bfloat16)
# What numpy calls bfloat16 in its files, two bytes of it knows not what.
_UNKNOWN = np.dtype("V2")
# Bytes that are read at a time: next to nothing beside rows that matter.
BLOCK_BYTES = 1 << 24


def as_floats(array: np.ndarray) -> np.ndarray:
    """The bfloat16 numbers of an array whose file says two bytes; any other array as it is."""
    return array.view(BFLOAT16) if array.dtype == _UNKNOWN else array


def is_float(dtype: np.dtype) -> bool:
    """Whether a dtype is floating point, bfloat16 among them, of which numpy knows nothing."""
    return dtype == BFLOAT16 or np.issubdtype(dtype, np.floating)


class ArrayFile(NamedTuple):
    """An (n, d) array in a ``.npy`` file."""

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype

    @classmethod
    def of(cls, path: Path) -> ArrayFile:
        """The array of a file, of which the first bytes alone are read."""
        found = _mapped(path)
        return cls(path, found.shape, found.dtype)

    def rows(self, places: np.ndarray) -> np.ndarray:
        """Some rows; the map ends here, and with it what of the file counts as memory in use."""
        return _mapped(self.path)[places]


class StoredRows:
    """(n, d) rows of several files or arrays, one after the other, or some of them in any order.

    An index other than a number gives `StoredRows` again, and `numpy.asarray` reads all.

    Args:
        pieces: (k, d) arrays, or files, of one width and dtype; at least one.
        places: (n,) numbers of the rows that are meant; None for all.
        dtype: that rows are given in; None for their own.
    """

    ndim = 2

    def __init__(
        self,
        pieces: Sequence[np.ndarray | ArrayFile],
        places: np.ndarray | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self._pieces = tuple(pieces)
        self._begins = np.cumsum([0, *(piece.shape[0] for piece in pieces)])
        self._places = np.arange(self._begins[-1]) if places is None else places
        self.dtype = np.dtype(pieces[0].dtype if dtype is None else dtype)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self._places), self._pieces[0].shape[1]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> StoredRows:
        """Some rows, by a slice, (n,) booleans or numbers of rows; nothing is read."""
        return StoredRows(self._pieces, self._places[index], self.dtype)

    def astype(self, dtype: DTypeLike) -> StoredRows:
        """The rows as they will be read in another dtype."""
        return StoredRows(self._pieces, self._places, dtype)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows that lie in files are copied where they are read")
        found = np.empty(self.shape, self.dtype)
        piece_of = np.searchsorted(self._begins, self._places, side="right") - 1
        for number in np.unique(piece_of):
            here, piece = piece_of == number, self._pieces[number]
            places = self._places[here] - self._begins[number]
            found[here] = piece[places] if isinstance(piece, np.ndarray) else piece.rows(places)
        return found if dtype is None else found.astype(dtype, copy=False)

    @classmethod
    def joined(cls, parts: Sequence[StoredRows]) -> StoredRows:
        """Rows of one width and dtype, one after the other."""
        before = np.cumsum([0, *(part._begins[-1] for part in parts)])
        places = [part._places + begin for part, begin in zip(parts, before, strict=False)]
        pieces = [piece for part in parts for piece in part._pieces]
        return cls(pieces, np.concatenate(places), parts[0].dtype)

    def only_file(self) -> ArrayFile | None:
        """The file whose rows these are, in its order and dtype; None of others."""
        first = self._pieces[0]
        if len(self._pieces) > 1 or not isinstance(first, ArrayFile) or self.dtype != first.dtype:
            return None
        in_order = np.array_equal(self._places, np.arange(first.shape[0]))
        return first if in_order else None

    def on_device(self, device: jax.Device | None = None) -> jax.Array:
        """The rows on a device, to which they go block by block; None for jax's default."""
        whole = jnp.zeros(self.shape, self.dtype, device=device)
        for begin, block in row_blocks(self):
            # One after the other, so that no more than one of them waits on the host.
            whole = jax.block_until_ready(_with_block(whole, block, np.int32(begin)))
        return whole


FeatureRows: TypeAlias = np.ndarray | StoredRows


def stored(rows: FeatureRows) -> StoredRows:
    """Rows of which parts can be named without a copy."""
    return rows if isinstance(rows, StoredRows) else StoredRows([rows])


def in_memory(rows: FeatureRows) -> np.ndarray:
    """All rows at once; those of a single file that are all meant stay memory-mapped."""
    if isinstance(rows, np.ndarray):
        return rows
    file = rows.only_file()
    return np.asarray(rows) if file is None else _mapped(file.path)


def row_blocks(rows: FeatureRows) -> Iterator[tuple[int, np.ndarray]]:
    """The rows, (b, d) at a time, each with the number of its first; of none, one block of none."""
    size = max(1, BLOCK_BYTES // max(1, rows.shape[1] * rows.dtype.itemsize))
    for begin in range(0, max(1, len(rows)), size):
        yield begin, np.asarray(rows[begin : begin + size])


def _mapped(path: Path) -> np.ndarray:
    return as_floats(np.load(path, mmap_mode="r", allow_pickle=False))


@functools.partial(jax.jit, donate_argnums=0)
def _with_block(whole: jax.Array, block: jax.Array, begin: jax.Array) -> jax.Array:
    """The array with some of its rows replaced, in place."""
    return lax.dynamic_update_slice_in_dim(whole, block, begin, 0)
