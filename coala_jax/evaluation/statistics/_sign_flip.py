"""Sign-flip tests of a mean difference, and Holm's correction over several."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.statistics._two_way import numbered

DRAWS = 10_000
# Up to so many clusters all 2^n flips are made and the p-value is exact.
EXACT_CLUSTERS = 13
# Held in memory together: 8 MB.
MOST_SIGNS = 1_000_000
# Sums that differ by rounding alone are equal.
ROUNDING = 1e-9


def sign_flip_p(
    differences: np.ndarray, clusters: Sequence[str], *, draws: int = DRAWS, seed: int = 0
) -> float:
    """Two-sided p-value of a sum of differences, by flipping the signs of whole clusters.

    Where the two systems are exchangeable in every cluster, each flip is as likely as what was
    seen. Up to `EXACT_CLUSTERS` clusters all flips are made; of more, ``draws`` of them, and what
    was seen counts as one (Phipson & Smyth 2010), so that the test never rejects too often.

    Args:
        differences: (n,) such as 0.5, 0 and -0.5 for a choice of the first, a tie, of the second.
        clusters: (n,) names of what is flipped together: prompts, or participants.
        draws: how many flips.
        seed: of the flips.

    Raises:
        EvaluationError: no differences, or not as many names.

    Example:
        >>> import numpy as np
        >>> from coala_jax.evaluation.statistics import sign_flip_p
        >>> sign_flip_p(np.array([0.5, 0.5, 0.5, 0.5, 0.5]), ["a", "b", "c", "d", "e"])
        0.0625
    """
    if not len(differences) or len(differences) != len(clusters):
        raise EvaluationError(
            f"differences: {len(differences)} of them and {len(clusters)} clusters; expected as "
            "many, and at least one"
        )
    totals = np.bincount(numbered(clusters), differences)
    seen = abs(totals.sum()) - ROUNDING
    if len(totals) <= EXACT_CLUSTERS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(totals))))
        return float((np.abs(signs @ totals) >= seen).mean())
    rng = np.random.default_rng(seed)
    as_far = 1
    for first in range(0, draws, block := max(1, MOST_SIGNS // len(totals))):
        signs = rng.integers(0, 2, (min(block, draws - first), len(totals))) * 2.0 - 1
        as_far += int((np.abs(signs @ totals) >= seen).sum())
    return as_far / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979): the k-th smallest of m times (m - k + 1), never falling.

    Args:
        p_values: of the tests of one family.

    Returns:
        Adjusted p-values in the same order, at most 1; rejecting those at most alpha keeps the
        chance of any false rejection at alpha. NaN counts as a test of the family and stays NaN.

    Example:
        >>> from coala_jax.evaluation.statistics import holm
        >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [float("nan")] * len(p_values), 0.0
    known = [place for place, p_value in enumerate(p_values) if not np.isnan(p_value)]
    for rank, place in enumerate(sorted(known, key=lambda place: p_values[place])):
        largest = min(1.0, max(largest, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
