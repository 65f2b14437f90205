"""Confidence intervals of a mean over pairs that come in clusters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from coala_jax._errors import CoalaError

LEVEL = 0.95
# Of p (1 - p): below it all values are 0, or all 1, up to the rounding of weighted sums.
_ALL_ALIKE = 1e-12


class Interval(NamedTuple):
    """A mean with its interval; the ends are NaN where a single cluster allows none."""

    mean: float
    low: float
    high: float

    def within(self, lowest: float, highest: float) -> Interval:
        """The same with ends no farther out than the mean can be; NaN stays."""
        if self.low != self.low:
            return self
        return Interval(self.mean, max(self.low, lowest), min(self.high, highest))


# Of nothing.
UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


def cluster_interval(
    values: np.ndarray,
    clusters: Sequence[str],
    weight: np.ndarray | None = None,
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

    Returns:
        The mean and the interval, not clipped to [0, 1].

    Raises:
        CoalaError: no values, or another number of clusters.
    """
    mean, error, count = _clustered(values, clusters, weight)
    if count < 2:
        return Interval(mean, float("nan"), float("nan"))
    reach = float(stdtrit(count - 1, (1 + LEVEL) / 2) * error)
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
    """Cluster-robust interval of a mean of values from 0 to 1, within what a share can be.

    `wilson_interval` by the standard error of `cluster_interval`.
    """
    mean, error, count = _clustered(values, clusters, weight)
    weight = np.ones(len(values)) if weight is None else np.asarray(weight, np.float64)
    return wilson_interval(mean, error, count, effective_clusters(clusters, weight))


def effective_clusters(clusters: Sequence[str], weight: np.ndarray) -> float:
    """Clusters of one weight that tell as much as these: (sum w)^2 / sum w^2 (Kish 1965).

    Args:
        clusters: (n,) names.
        weight: (n,) of the rows, not negative.
    """
    sums: dict[str, float] = {}
    for name, own in zip(clusters, weight.tolist(), strict=True):
        sums[name] = sums.get(name, 0.0) + own
    by_cluster = np.array(list(sums.values()))
    return float(by_cluster.sum() ** 2 / (by_cluster @ by_cluster))


def wilson_interval(share: float, error: float, clusters: int, effective: float) -> Interval:
    """Wilson's interval of a share for as many independent rows as have its standard error.

    With Student's t of (clusters - 1) degrees of freedom (Wilson 1927; Franco, Little, Louis and
    Slud 2019, Journal of Survey Statistics and Methodology 7, 334). Unlike that of a mean it covers
    near 0 and 1 too. Where all values are 0, or all 1, their spread says nothing: the interval is
    then the exact one of as many clusters as weigh the same (Clopper & Pearson 1934).

    Args:
        share: the mean.
        error: its standard error by clusters.
        clusters: how many.
        effective: `effective_clusters`.

    Returns:
        The share with its ends; they are NaN where a single cluster allows none.
    """
    if clusters < 2:
        return Interval(share, float("nan"), float("nan"))
    spread = share * (1 - share)
    if spread < _ALL_ALIKE:
        reach = ((1 - LEVEL) / 2) ** (1 / effective)
        low, high = (reach, 1.0) if share > 0.5 else (0.0, 1 - reach)
        return Interval(share, low, high)
    # In units of the squared quantile, of which a variance of 0 is infinitely many rows.
    shrunk = float(stdtrit(clusters - 1, (1 + LEVEL) / 2)) ** 2 * error**2 / spread
    center = (share + shrunk / 2) / (1 + shrunk)
    half_width = float(np.sqrt(shrunk * spread + shrunk**2 / 4)) / (1 + shrunk)
    return Interval(share, max(center - half_width, 0.0), min(center + half_width, 1.0))
