"""Shares of the variance of single choices that are people's and prompts'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coala_jax.evaluation.statistics._two_way import numbered, two_way_error


class VarianceShares(NamedTuple):
    """Intraclass correlations, as `Protocol` takes them.

    Attributes:
        participant: correlation of two choices of one person about different prompts.
        prompt: correlation of two people's choices about one prompt.
    """

    participant: float
    prompt: float


def variance_shares(
    values: np.ndarray, participants: Sequence[str], prompts: Sequence[str]
) -> VarianceShares:
    """Estimate how much of a choice is the person's and how much the prompt's.

    The moment estimate of a crossed design: the mean product of the residuals of two choices that
    share a person, or a prompt, over the mean square; to both the variance of the mean is added,
    which residuals lack. Each person judges a prompt at most once.

    Args:
        values: (n,) such as 1, 0.5 and 0.
        participants: (n,) names.
        prompts: (n,) names.

    Returns:
        Shares of at least 0; NaN where all values are the same, or no two choices share anything.

    Example:
        >>> import numpy as np
        >>> from coala_jax.evaluation.statistics import variance_shares
        >>> values = np.array([1, 1, 1, 0, 0, 0.5, 1, 1, 0])
        >>> shares = variance_shares(values, list("AAABBBCCC"), list("xyzxyzxyz"))
        >>> round(shares.participant, 2), round(shares.prompt, 2)
        (0.48, 0.0)
    """
    residual = np.asarray(values, np.float64) - np.mean(values)
    of_mean = float(two_way_error(residual / len(residual), participants, prompts)) ** 2
    variance = float(np.mean(residual**2)) + of_mean
    return VarianceShares(
        *(
            _share(_mean_product(residual, numbered(names)) + of_mean, variance)
            for names in (participants, prompts)
        )
    )


def _share(part: float, whole: float) -> float:
    return max(part / whole, 0.0) if whole > 0 and part == part else float("nan")


def _mean_product(residual: np.ndarray, clusters: np.ndarray) -> float:
    """Mean product of two residuals of one cluster; NaN where no cluster has two."""
    sizes = np.bincount(clusters)
    pairs = float(sizes @ sizes - len(residual))
    products = float(np.square(np.bincount(clusters, residual)).sum() - residual @ residual)
    return products / pairs if pairs else float("nan")
