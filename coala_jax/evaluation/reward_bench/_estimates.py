"""Means of rows, weighted sums of them, and their intervals by clusters of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from coala_jax._intervals import (
    LEVEL,
    Interval,
    cluster_standard_error,
    effective_clusters,
    wilson_interval,
)
from coala_jax.evaluation.reward_bench._credit import (
    TIES_WEIGHTS,
    best_of_credit,
    pair_credit,
    ties_table,
)
from coala_jax.evaluation.reward_bench._published import TIES
from coala_jax.evaluation.reward_bench._rows import RewardBench, ties_number

# Rows that Agresti & Coull add, right and wrong.
_MORE_OF_EACH = 2


class Estimate(NamedTuple):
    """A figure, and how far each row moves it.

    Attributes:
        value: the figure.
        influence: (n,) of all n rows, adding up to 0: what a row adds to the figure's error. Of a
            mean over m rows, (credit - mean) / m of each of them.
        weight: (n,) of the rows in the figure; 0 of those that it is not of.
        unseen: variance that subsets whose rows are all right, or all wrong, do not show.
    """

    value: float
    influence: np.ndarray
    weight: np.ndarray
    unseen: float = 0.0

    @property
    def concerned(self) -> np.ndarray:
        """(n,) whether the figure is of the row."""
        return self.weight > 0


def estimates(bench: RewardBench, scores: Sequence[Sequence[float]]) -> dict[str, Estimate]:
    """The score of each subset that is there."""
    subsets = np.array([row.subset for row in bench.rows])
    found = {}
    for name in bench.counts:
        concerned = subsets == name
        own = np.flatnonzero(concerned)
        influence, unseen = np.zeros(len(subsets)), 0.0
        if name == TIES:
            value, influence[own] = _ties(bench, scores, own)
        else:
            credit = pair_credit if bench.published.version == 1 else best_of_credit
            credits = np.array([credit(scores[place]) for place in own.tolist()])
            value = float(credits.mean())
            influence[own] = (credits - value) / len(own)
            unseen = _unseen_variance(value, len({bench.rows[place].cluster for place in own}))
        found[name] = Estimate(value, influence, concerned / len(own), unseen)
    return found


def _ties(
    bench: RewardBench, scores: Sequence[Sequence[float]], own: np.ndarray
) -> tuple[float, np.ndarray]:
    """The score of Ties and the influence of its rows: that of a question on its first one."""
    rows = [bench.rows[place] for place in own.tolist()]
    numbers, table = ties_table(rows, [scores[place] for place in own.tolist()])
    means, counts = np.nanmean(table, axis=0), np.sum(~np.isnan(table), axis=0)
    by_question = dict(
        zip(numbers, np.nan_to_num((table - means) / counts) @ TIES_WEIGHTS, strict=True)
    )
    return float(means @ TIES_WEIGHTS), np.array(
        [by_question.pop(ties_number(row)[1], 0.0) for row in rows]
    )


def _unseen_variance(share: float, clusters: int) -> float:
    """Variance of a share of 0 or 1, whose rows show none; 0 of any other share.

    Of a few rows that are all right some may yet be wrong: the variance is that of two more rows
    right and two more wrong (Agresti & Coull 1998).
    """
    if 0 < share < 1:
        return 0.0
    smoothed = (share * clusters + _MORE_OF_EACH) / (clusters + 2 * _MORE_OF_EACH)
    return smoothed * (1 - smoothed) / clusters


def weighted_sum(parts: Mapping[str, Estimate], shares: Mapping[str, float]) -> Estimate:
    """A sum of figures by their shares; each keeps its number of rows, as in strata."""
    return Estimate(
        sum(share * parts[name].value for name, share in shares.items()),
        np.sum([share * parts[name].influence for name, share in shares.items()], axis=0),
        np.sum([share * parts[name].weight for name, share in shares.items()], axis=0),
        sum(share**2 * parts[name].unseen for name, share in shares.items()),
    )


def difference(first: Estimate, other: Estimate) -> Estimate:
    """How much a figure is above another one of the same rows."""
    return Estimate(
        first.value - other.value,
        first.influence - other.influence,
        first.weight,
        first.unseen + other.unseen,
    )


def interval(estimate: Estimate, clusters: Sequence[str], *, is_share: bool) -> Interval:
    """The figure with its cluster-robust interval, with Student's t.

    Rows of a cluster may depend on each other in any way, also across subsets. Shares have Wilson's
    interval, which stays within 0 and 1 and is none of width 0 where all rows are right.

    Args:
        estimate: the figure.
        clusters: (n,) names, of all rows.
        is_share: whether it is a mean of values from 0 to 1.

    Returns:
        NaN ends of a single cluster.
    """
    own = np.flatnonzero(estimate.concerned)
    names = [clusters[place] for place in own.tolist()]
    # Of values whose mean is the figure and whose residuals are the influences times their number.
    values = estimate.value + len(own) * estimate.influence[own]
    error, count = cluster_standard_error(values, names), len(set(names))
    error = math.hypot(error, math.sqrt(estimate.unseen))
    if count < 2:
        return Interval(estimate.value, math.nan, math.nan)
    if is_share:
        effective = effective_clusters(names, estimate.weight[own])
        return wilson_interval(estimate.value, error, count, effective)
    reach = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * error
    return Interval(estimate.value, estimate.value - reach, estimate.value + reach)
