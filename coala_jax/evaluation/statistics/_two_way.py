"""Intervals of means over choices that share a participant, a prompt, or both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from coala_jax._intervals import LEVEL, Interval, share_interval
from coala_jax.evaluation._errors import EvaluationError


def two_way_interval(
    values: np.ndarray,
    participants: Sequence[str],
    prompts: Sequence[str],
    level: float = LEVEL,
) -> Interval:
    """Interval of a mean whose values depend on each other by participant and by prompt.

    With V_g the cluster-robust variance by one way of grouping, each with its factor G / (G - 1),

        V = V_participant + V_prompt - V_cell    (Cameron, Gelbach & Miller 2011, equation 2.6)

    and Student's t of min(participants, prompts) - 1 degrees of freedom. The difference can be too
    small, even negative: V is never taken below the larger of the two one-way variances (MacKinnon,
    Nielsen & Webb 2024).

    Args:
        values: (n,) such as 1, 0.5 or 0 for a choice of the first, a tie, a choice of the second.
        participants: (n,) names.
        prompts: (n,) names.
        level: coverage.

    Returns:
        The mean and the interval, not clipped; NaN ends of a single participant or prompt.

    Raises:
        EvaluationError: no values, or not as many names as values.

    Example:
        >>> import numpy as np
        >>> from coala_jax.evaluation.statistics import two_way_interval
        >>> values = np.array([1, 1, 0.5, 0, 1, 0.5, 1, 1, 0])
        >>> found = two_way_interval(values, list("AAABBBCCC"), list("xyzxyzxyz"))
        >>> [round(float(each), 2) for each in found]
        [0.67, -0.16, 1.49]
    """
    values = np.asarray(values, np.float64)
    if not len(values) == len(participants) == len(prompts) or not len(values):
        raise EvaluationError(
            f"values: {len(values)} of them, {len(participants)} participants and {len(prompts)} "
            "prompts; expected as many, and at least one"
        )
    mean = float(values.mean())
    error = float(two_way_error((values - mean) / len(values), participants, prompts))
    reach = t_quantile(level, degrees_of_freedom(participants, prompts)) * error
    return Interval(mean, mean - reach, mean + reach)


def two_way_share(
    values: np.ndarray,
    participants: Sequence[str],
    prompts: Sequence[str],
    level: float = LEVEL,
) -> Interval:
    """`two_way_interval` of values from 0 to 1, its ends within what a share can be.

    Where all values are 0, or all 1, their spread says nothing: the interval is then the exact one
    of as many trials as there are participants, or prompts if those are fewer.

    Example:
        >>> import numpy as np
        >>> from coala_jax.evaluation.statistics import two_way_share
        >>> found = two_way_share(np.ones(9), list("AAABBBCCC"), list("xyzxyzxyz"))
        >>> [round(float(each), 2) for each in found]
        [1.0, 0.29, 1.0]
    """
    interval = two_way_interval(values, participants, prompts, level)
    if interval.mean in (0, 1):
        fewer = min(participants, prompts, key=lambda names: len(set(names)))
        return share_interval(np.asarray(values), fewer)
    return Interval(*(float(np.clip(end, 0.0, 1.0)) for end in interval))


def two_way_p(
    differences: np.ndarray, participants: Sequence[str], prompts: Sequence[str]
) -> float:
    """Two-sided p-value of a mean difference of zero, by the t of `two_way_interval`.

    Args:
        differences: (n,) such as 0.5, 0 and -0.5.
        participants: (n,) names.
        prompts: (n,) names.

    Returns:
        The p-value; 1 where all differences are zero, NaN of a single participant or prompt.

    Example:
        >>> import numpy as np
        >>> from coala_jax.evaluation.statistics import two_way_p
        >>> differences = np.array([0.5, 0.5, 0, -0.5, 0.5, 0, 0.5, 0.5, -0.5])
        >>> round(two_way_p(differences, list("AAABBBCCC"), list("xyzxyzxyz")), 2)
        0.48
    """
    differences = np.asarray(differences, np.float64)
    mean = float(differences.mean())
    if not differences.any():
        return 1.0
    error = float(two_way_error((differences - mean) / len(differences), participants, prompts))
    if error == 0:  # unanimous: the spread says nothing, and the sign flips have to tell
        return 0.0
    return float(2 * stdtr(degrees_of_freedom(participants, prompts), -abs(mean) / error))


def two_way_error(
    influence: np.ndarray, participants: Sequence[str], prompts: Sequence[str]
) -> np.ndarray:
    """Standard errors of estimates from what each choice contributes to their errors.

    Args:
        influence: (n,) or (n, k); its sum over the choices is about zero. Of a mean,
            (value - mean) / n.
        participants: (n,) names.
        prompts: (n,) names.

    Returns:
        () or (k,) float64; NaN of a single participant or prompt.
    """
    people, items = numbered(participants), numbered(prompts)
    by_participant = clustered_variance(influence, people)
    by_prompt = clustered_variance(influence, items)
    by_cell = clustered_variance(influence, numbered(people * (items.max() + 1) + items))
    both = by_participant + by_prompt - by_cell
    return np.sqrt(np.maximum(both, np.maximum(by_participant, by_prompt)))


def degrees_of_freedom(
    participants: Sequence[str] | np.ndarray, prompts: Sequence[str] | np.ndarray
) -> int:
    """One less than the fewer of participants and prompts, by names or numbers."""
    return min(len(set(participants)), len(set(prompts))) - 1


def t_quantile(level: float, degrees: int) -> float:
    """How many standard errors a two-sided interval reaches; NaN without degrees of freedom."""
    return float(stdtrit(degrees, (1 + level) / 2)) if degrees > 0 else float("nan")


def numbered(names: Sequence[object] | np.ndarray) -> np.ndarray:
    """(n,) numbers of names, in the order in which they first appear."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], int)


def clustered_variance(influence: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Variances from (n,) or (n, k) influences, by (n,) numbers of clusters; NaN of one alone."""
    count = clusters.max() + 1
    if count < 2:
        return np.full(influence.shape[1:], np.nan)
    sums = np.zeros((count, *influence.shape[1:]))
    np.add.at(sums, clusters, influence)
    return np.asarray(count / (count - 1) * np.square(sums).sum(0))
