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
        read: gives the values; to be called once, after which the tensor's memory is let go.
    """

    shape: tuple[int, ...]
    dtype: str
    floating: bool
    read: Callable[[], np.ndarray]
