"""Arrays in the ``.npy`` format, written so that a full disk can be told."""

from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np


def save_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write an array in the ``.npy`` format; an error keeps its number."""
    np.lib.format.write_array(_Writer(file), array, allow_pickle=False)


class _Writer:
    """Hides from numpy that a file is one: ``tofile`` reports a full disk without its number."""

    def __init__(self, file: BinaryIO) -> None:
        self.write: Callable[[Any], int] = file.write
