"""A figure with its interval, as the reports for people say it."""

from __future__ import annotations

from coala_jax._intervals import Interval


def interval_text(
    interval: Interval, digits: int = 2, *, unit: str = "", scale: float = 1.0, alone: str = ""
) -> str:
    """A mean with the ends of its interval; "unknown" where there is no mean.

    Ends that are the mean, since all values are alike, are said to be none.

    Args:
        interval: whose ends are NaN where a single cluster allows none.
        digits: behind the point.
        unit: that stands behind the mean.
        scale: a share in percent takes 100.
        alone: what stands in the place of ends that are not there.
    """
    mean, low, high = (scale * end for end in interval)
    if mean != mean:
        return "unknown"
    if low == high:
        ends = " (all alike, no interval)"
    else:
        ends = f" [{low:.{digits}f}, {high:.{digits}f}]" if low == low else alone and f" ({alone})"
    return f"{mean:.{digits}f}{unit}{ends}"
