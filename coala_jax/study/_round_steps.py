"""Steps of an axis or a histogram that people read easily: 1, 2 or 5 times a power of ten."""

import numpy as np

# Texts of more digits than that are written with an exponent.
_LARGEST, _SMALLEST = 1e5, 1e-4


def round_step(least: float) -> float:
    """The smallest such step that is no smaller; 1 where none is asked for."""
    if not (least > 0 and np.isfinite(least)):
        return 1.0
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least))


def round_ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """Round numbers within a range, at most so many and one, with the digits that they need."""
    step = round_step((high - low) / most)
    values = step * np.arange(np.ceil(low / step), np.floor(high / step) + 1) + 0.0  # no -0
    digits = max(0, -int(np.floor(np.log10(step))))
    plain = step >= _SMALLEST and max(abs(low), abs(high)) < _LARGEST
    return [(float(v), f"{v:,.{digits}f}" if plain else f"{v:.3g}") for v in values]
