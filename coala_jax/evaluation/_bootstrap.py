"""Percentile intervals by resampling whole clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from coala_jax._intervals import LEVEL, Interval
from coala_jax.evaluation._errors import EvaluationError

DRAWS = 1000


def cluster_bootstrap(
    statistic: Callable[[np.ndarray], float],
    clusters: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The interval between quantiles of a statistic over resampled clusters.

    Clusters are drawn with replacement, as many as there are; a row counts as often as its cluster
    was drawn (Davison & Hinkley 1997, section 3.8).

    Args:
        statistic: of (n,) float64 multiplicities of the rows, to a number.
        clusters: (n,) names; rows of one cluster stay together.
        draws: how many.
        seed: of the draws.
        level: coverage.

    Returns:
        The statistic of all rows with its interval, NaN ends of a single cluster.

    Raises:
        EvaluationError: no rows.
    """
    if not len(clusters):
        raise EvaluationError("clusters: no rows to resample")
    names = dict.fromkeys(clusters)
    numbers = {name: number for number, name in enumerate(names)}
    place = np.array([numbers[name] for name in clusters])
    count = len(names)
    mean = float(statistic(np.ones(len(place))))
    if count < 2:
        return Interval(mean, float("nan"), float("nan"))
    chosen = cluster_draws(count, draws, seed)
    values = np.array([statistic(times[place]) for times in chosen])
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def cluster_draws(count: int, draws: int, seed: int) -> np.ndarray:
    """How often each of some clusters is drawn, (draws, count) float64."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
