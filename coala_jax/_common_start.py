"""How far several sequences begin alike: texts, token ids, messages."""

from collections.abc import Sequence
from typing import Any


def common_length(first: Sequence[Any], *others: Sequence[Any]) -> int:
    """How many items all of them begin with, by halving: slices compare at the speed of memory."""
    low, high = 0, min(map(len, (first, *others)))
    while low < high:
        middle = (low + high + 1) // 2
        start = first[:middle]
        alike = all(other[:middle] == start for other in others)
        low, high = (middle, high) if alike else (low, middle - 1)
    return low
