"""Exact L1 logistic fits from a near start, many at once, for resampled intervals.

liblinear stops at a tolerance and fits one set at a time; it is kept for the published rate.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_expit

# Of weights whose unit is a logit: far below what moves a win rate.
TOLERANCE = 1e-8
# Newton takes five or so; sweeps over three coordinates of a quadratic take thirty or so.
MOST_STEPS, MOST_SWEEPS, MOST_HALVINGS = 100, 10_000, 40


def newton_fits(
    features: np.ndarray, target: np.ndarray, weight: np.ndarray, strength: float, start: np.ndarray
) -> np.ndarray:
    """Weights w that minimise abs(w)_1 + strength sum_i weight_i loss_i, the log loss of row i.

    Proximal Newton (Lee, Sun & Saunders 2014): the quadratic model with the penalty is minimised by
    coordinates, and the step halved until the objective does not rise.

    Args:
        features: (b, m, k) float64: b sets of m rows.
        target: (m,) float64 in [0, 1].
        weight: (b, m) float64, at least 0.
        strength: the inverse of the penalty.
        start: (k,) weights to start from.

    Returns:
        (b, k) float64; NaN of a set that does not settle.
    """

    def objective(at: np.ndarray) -> np.ndarray:
        logits = _logits(features, at)
        losses = logits * (1 - target) - log_expit(logits)
        return np.asarray(np.abs(at).sum(axis=1) + strength * (weight * losses).sum(axis=1))

    weights = np.tile(start, (len(features), 1))
    value = objective(weights)
    for _ in range(MOST_STEPS):
        probability = expit(_logits(features, weights))
        slope = strength * weight * (probability - target)
        gradient = (slope[:, None] @ features)[:, 0]
        curvature = strength * weight * probability * (1 - probability)
        hessian = np.swapaxes(features * curvature[:, :, None], 1, 2) @ features
        step = _quadratic_minimum(hessian, gradient, weights) - weights
        for _ in range(MOST_HALVINGS):
            candidate = objective(weights + step)
            rises = candidate > value + np.spacing(value)
            if not rises.any():
                break
            step[rises] /= 2
        weights, value = weights + step, candidate
        if np.abs(step).max() <= TOLERANCE:
            return weights
    unsettled = np.abs(step).max(axis=tuple(range(1, step.ndim))) > TOLERANCE
    return np.where(unsettled[:, None], np.nan, weights)


def _logits(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.asarray((features @ weights[:, :, None])[:, :, 0])


def _quadratic_minimum(hessian: np.ndarray, gradient: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The v of least gradient (v - at) + (v - at) hessian (v - at) / 2 + abs(v)_1, for each set."""
    linear = gradient - (hessian @ at[:, :, None])[:, :, 0]
    point = at.copy()
    for _ in range(MOST_SWEEPS):
        before = point.copy()
        for place in range(point.shape[1]):
            own = hessian[:, place, place]
            pull = own * point[:, place] - linear[:, place]
            pull -= (hessian[:, place] * point).sum(axis=1)
            shrunk = np.sign(pull) * np.maximum(np.abs(pull) - 1, 0)
            # A feature of zeros has no curvature, and its weight is 0.
            point[:, place] = np.divide(shrunk, own, out=np.zeros_like(own), where=own > 0)
        if np.abs(point - before).max() <= TOLERANCE / 10:
            break
    return point
