"""Tensors of a checkpoint before they are read."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class StoredTensor(NamedTuple):
    """A tensor of a checkpoint that has not been read.

    Attributes:
        shape: as a torch checkpoint has it.
        dtype: its name in the file.
        floating: whether that is a floating type.
        read: gives the values; to be called once, after which the tensor's memory is let go. See
            `for_reads`.
    """

    shape: tuple[int, ...]
    dtype: str
    floating: bool
    read: Callable[[], np.ndarray]


def for_reads(tensor: StoredTensor, reads: int) -> StoredTensor:
    """The tensor for several reads: its values are in memory from the first to the last of them."""
    left = [reads]
    values: list[np.ndarray] = []

    def read() -> np.ndarray:
        if not values:
            values.append(tensor.read())
        left[0] -= 1
        return values[0] if left[0] else values.pop()

    return tensor._replace(read=read)


def same_values(left: StoredTensor, right: StoredTensor) -> bool:
    """Whether two tensors are equal; reads both where their shapes are."""
    return left.shape == right.shape and bool(np.array_equal(left.read(), right.read()))
