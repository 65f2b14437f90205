"""The regression of style control: Newton's method, and its covariance clustered by question."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from coala_jax.evaluation._errors import EvaluationError

# Of Newton's method; a separated model takes one a unit of logits.
MOST_STEPS = 100
# Of the gradient a game, which is at most 1: far below what a printed digit shows.
TOLERANCE = 1e-10
# In units of logits.
LONGEST_STEP = 4.0


class Design(NamedTuple):
    """Rows of the regression.

    Attributes:
        place: (n,) int, number of a row's model; that of no model for the baseline itself.
        features: (n, 4) float64, of zero mean and unit variance over the games as they count.
        win: (n,) float64.
        cluster: (n,) int.
        models: how many.
    """

    place: np.ndarray
    features: np.ndarray
    win: np.ndarray
    cluster: np.ndarray
    models: int


def _logits(design: Design, solution: np.ndarray) -> np.ndarray:
    strengths = np.append(solution[: design.models], 0.0)  # the baseline against itself
    return strengths[design.place] + design.features @ solution[design.models :]


def _loss(design: Design, weight: np.ndarray, solution: np.ndarray) -> float:
    logits = _logits(design, solution)
    return float(weight @ (np.logaddexp(0, logits) - design.win * logits))


def fit_strengths(
    design: Design, weight: np.ndarray, start: np.ndarray | None = None
) -> np.ndarray:
    """Newton's method on the cross-entropy; (models + 4,) strengths and coefficients."""
    solution = np.zeros(design.models + design.features.shape[1]) if start is None else start
    loss = _loss(design, weight, solution)
    for _ in range(MOST_STEPS):
        chance = expit(_logits(design, solution))
        gradient = _sums(design, weight * (chance - design.win))
        if np.abs(gradient).max() <= TOLERANCE * weight.sum():
            return solution
        hessian = _hessian(design, weight * chance * (1 - chance))
        step = -np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        step *= min(1.0, LONGEST_STEP / np.abs(step).max())
        # A loss that only rounding moves is no reason to halve.
        slack = np.finfo(float).eps * abs(loss) * len(weight)
        while (tried := _loss(design, weight, solution + step)) > loss + slack:
            step /= 2
        solution, loss = solution + step, tried
    raise EvaluationError(
        f"style control: no optimum after {MOST_STEPS} steps of Newton; a feature decides all "
        "games, so that no finite coefficient fits"
    )


def _sums(design: Design, values: np.ndarray) -> np.ndarray:
    """X'values of the rows X of the design."""
    by_model = np.bincount(design.place, values, design.models + 1)[: design.models]
    return np.concatenate([by_model, values @ design.features])


def _hessian(design: Design, curvature: np.ndarray) -> np.ndarray:
    """X' diag(curvature) X."""
    weighted = design.features * curvature[:, None]
    crossed = np.stack(
        [np.bincount(design.place, column, design.models + 1) for column in weighted.T], axis=1
    )[: design.models]
    diagonal = np.bincount(design.place, curvature, design.models + 1)[: design.models]
    return np.block([[np.diag(diagonal), crossed], [crossed.T, weighted.T @ design.features]])


def clustered_covariance(design: Design, weight: np.ndarray, solution: np.ndarray) -> np.ndarray:
    """Sandwich covariance clustered by question: H^-1 (sum of s_g s_g') H^-1 * G / (G - 1).

    Source: Liang & Zeger 1986, Biometrika 73; s_g is the sum of a question's gradients.
    """
    chance = expit(_logits(design, solution))
    residual = weight * (chance - design.win)
    count, width = int(design.cluster.max()) + 1, design.models + 1
    cell = design.cluster * width + design.place
    by_model = np.bincount(cell, residual, count * width).reshape(count, width)
    by_feature = [
        np.bincount(design.cluster, residual * column, count) for column in design.features.T
    ]
    scores = np.concatenate([by_model[:, :-1], np.stack(by_feature, axis=1)], axis=1)
    bread = np.linalg.pinv(_hessian(design, weight * chance * (1 - chance)), hermitian=True)
    covariance: np.ndarray = bread @ (scores.T @ scores) @ bread * count / (count - 1)
    return covariance


def refitted(
    design: Design, weight: np.ndarray, solution: np.ndarray, draws: int, seed: int
) -> np.ndarray:
    """Solutions of resampled games, each as often as it counts; the features stay as they are."""
    rng, total = np.random.default_rng(seed), int(weight.sum())
    drawn = rng.multinomial(total, weight / total, size=draws).astype(float)
    return np.array([fit_strengths(design, each, solution) for each in drawn])
