"""What a token adds to a reward as colour: few levels, each with its number in the legend."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MINUS = "\N{MINUS SIGN}"
# A level begins at so many units of change: changes are many small ones and few large.
LEVELS = (1, 2, 4)
# The strongest colour is for the largest tenth of changes, however large the largest is.
STRONGEST = 0.9


class RewardColours(NamedTuple):
    """The scale of a page.

    Attributes:
        unit: the smallest change that has a colour; 1, 2 or 5 times a power of ten.
        decimals: of numbers that tell levels apart.
    """

    unit: float
    decimals: int

    def number(self, change: float) -> str:
        """A change with its sign, rounded."""
        return signed(change, self.decimals)

    def level(self, change: float) -> int:
        """From -3 to 3: the level of what `number` shows; 0 has no colour."""
        size = round(abs(change), self.decimals)
        # The rounded number and the bound may differ in their last bit.
        reached = sum(size > (bound - 1e-6) * self.unit for bound in LEVELS)
        return reached if change > 0 else -reached


def colours_for(changes: Sequence[float] | np.ndarray) -> RewardColours:
    """A scale on which these changes are told apart; symmetric about 0."""
    sizes = np.abs(np.asarray(changes, np.float64))
    sizes = sizes[sizes > 0]
    if not sizes.size:
        return RewardColours(1.0, 2)
    unit = _round_number(float(np.quantile(sizes, STRONGEST)) / LEVELS[-1])
    return RewardColours(unit, max(2, 1 - math.floor(math.log10(unit) + 1e-9)))


def signed(value: float, decimals: int = 3) -> str:
    """A number with its sign, and none where it rounds to 0."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def _round_number(value: float) -> float:
    """The nearest of 1, 2, 5, 10, ... times a power of ten, by ratio."""
    power = 10.0 ** math.floor(math.log10(value))
    return power * min((1, 2, 5, 10), key=lambda digit: abs(math.log(digit * power / value)))
