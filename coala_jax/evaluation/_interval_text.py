"""A figure with its interval, as the reports say it."""

from __future__ import annotations

from coala_jax._intervals import Interval

# Means of clusters that are all the same lie apart by rounding alone.
ROUNDING = 1e-9


def has_no_spread(interval: Interval) -> bool:
    """Whether the ends are the mean, up to rounding: each cluster has that mean.

    The values of a cluster may differ: grades 9 and 7 of each question have the mean 8.
    """
    return interval.high - interval.low <= ROUNDING


def same_for_every(cluster: str = "question") -> str:
    """What stands in the place of ends that are the mean, as each cluster has it."""
    return f"same for every {cluster}, no interval"


def interval_text(
    interval: Interval,
    digits: int = 2,
    *,
    unit: str = "",
    scale: float = 1.0,
    alone: str = "",
    cluster: str = "question",
) -> str:
    """A mean with the ends of its interval; "unknown" where there is no mean.

    Args:
        interval: whose ends are NaN where a single cluster allows none.
        digits: behind the point.
        unit: that stands behind the mean.
        scale: a share in percent takes 100.
        alone: what stands in the place of ends that are not there.
        cluster: over what the interval is, for ends that are the mean.
    """
    mean, low, high = (scale * end for end in interval)
    if mean != mean:
        return "unknown"
    if has_no_spread(interval):
        ends = f" ({same_for_every(cluster)})"
    else:
        ends = f" [{low:.{digits}f}, {high:.{digits}f}]" if low == low else alone and f" ({alone})"
    return f"{mean:.{digits}f}{unit}{ends}"
