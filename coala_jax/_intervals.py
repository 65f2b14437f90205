"""Confidence intervals of a mean over pairs that come in clusters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from coala_jax._errors import CoalaError

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean with its interval; the ends are NaN where a single cluster allows none."""

    mean: float
    low: float
    high: float


def cluster_interval(
    values: np.ndarray,
    clusters: Sequence[str],
    weight: np.ndarray | None = None,
    level: float = LEVEL,
) -> Interval:
    """Cluster-robust interval of a mean, with Student's t of (clusters - 1) degrees of freedom.

    Pairs of one cluster may depend on each other in any way; clusters are independent. With the
    cluster sums s_g of the values and n_g of the weights, m = sum s_g / sum n_g and

        variance = G / (G - 1) * sum (s_g - m n_g)^2 / (sum n_g)^2.

    A t interval, not a percentile bootstrap: it is exact arithmetic, needs no seed, and is less
    narrow where clusters are few. For a paired difference of two methods, give the differences.

    Args:
        values: (n,) such as 1, 0.5 or 0 for a pair ordered right, tied or wrong.
        clusters: (n,) names.
        weight: (n,) weights of the pairs, or None for 1 each.
        level: coverage.

    Returns:
        The mean and the interval, not clipped to [0, 1].

    Raises:
        CoalaError: no values, or another number of clusters.
    """
    mean, error, count = _clustered(values, clusters, weight)
    if count < 2:
        return Interval(mean, float("nan"), float("nan"))
    reach = float(stdtrit(count - 1, (1 + level) / 2) * error)
    return Interval(mean, mean - reach, mean + reach)


def cluster_standard_error(
    values: np.ndarray, clusters: Sequence[str], weight: np.ndarray | None = None
) -> float:
    """The root of the variance of `cluster_interval`; NaN of a single cluster."""
    return _clustered(values, clusters, weight)[1]


def _clustered(
    values: np.ndarray, clusters: Sequence[str], weight: np.ndarray | None
) -> tuple[float, float, int]:
    """Mean, standard error and number of clusters."""
    if len(values) == 0 or len(values) != len(clusters):
        raise CoalaError(f"{len(values)} values and {len(clusters)} clusters, expected as many")
    weight = np.ones(len(values)) if weight is None else np.asarray(weight, np.float64)
    counted = weight > 0  # clusters without weight are none
    weight = weight[counted]
    # Names may be long texts, one of which would give all of them its length in an array.
    numbers: dict[str, int] = {}
    names = itertools.compress(clusters, counted)
    place = np.array([numbers.setdefault(name, len(numbers)) for name in names], int)
    sums = np.bincount(place, weight * np.asarray(values, np.float64)[counted])
    sizes = np.bincount(place, weight)
    mean, count = float(sums.sum() / sizes.sum()), len(sums)
    if count < 2:
        return mean, float("nan"), count
    residual = sums - mean * sizes
    variance = count / (count - 1) * (residual @ residual) / sizes.sum() ** 2
    return mean, float(np.sqrt(variance)), count


def share_interval(
    values: np.ndarray, clusters: Sequence[str], weight: np.ndarray | None = None
) -> Interval:
    """`cluster_interval` of values from 0 to 1, its ends within what a share can be.

    Where all values are 0, or all 1, their spread says nothing: the interval is then the exact one
    of as many clusters (Clopper & Pearson 1934).
    """
    interval = cluster_interval(values, clusters, weight)
    if interval.mean in (0, 1) and interval.low == interval.high:
        counted = itertools.compress(clusters, itertools.repeat(True) if weight is None else weight)
        reach = ((1 - LEVEL) / 2) ** (1 / len(set(counted)))
        low, high = (reach, 1.0) if interval.mean else (0.0, 1 - reach)
        return Interval(interval.mean, low, high)
    return Interval(*(float(np.clip(end, 0.0, 1.0)) for end in interval))
