"""Reward differences as probabilities: a temperature, the log loss, how far they are off."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize_scalar

from coala_jax._accuracy import margin_accuracy

# Temperatures are sought within these factors of the differences' own root mean square.
_TEMPERATURES = (1e-2, 1e4)
# Bins of confidence from a half to one, of equal width (Guo et al. 2017).
BINS = 10


def log_losses(margins: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """log(1 + exp(-margin / T)) of every pair: (n,) -> (n,) float64, nats."""
    losses: np.ndarray = np.logaddexp(0, -np.asarray(margins, np.float64) / temperature)
    return losses


def given_temperature(beta: float, after_phase2: bool) -> float:
    """The temperature of a head that no left-out pairs have fitted one for.

    The loss of Phase II has log-odds beta times reward differences; without it these are log-odds.
    NaN for a beta that cannot be, for which a solve has a status.
    """
    if not after_phase2:
        return 1.0
    return 1 / beta if beta > 0 else math.nan


def fit_temperature(margins: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The temperature T with the least mean of log(1 + exp(-margin / T)) (Guo et al. 2017).

    Args:
        margins: (n,) reward differences, chosen less rejected, of pairs that the head was not
            trained on.
        weight: (n,) weights of the pairs, or None for 1 each.

    Returns:
        T > 0; where differences order pairs no better than chance, so large that all
        probabilities are a half. 1 where all differences are zero.
    """
    size = float(np.sqrt(np.average(np.float64(margins) ** 2, weights=weight)))
    if not size:
        return 1.0
    units = np.asarray(margins, np.float64) / size

    def loss(log_temperature: float) -> float:
        losses = log_losses(units, math.exp(log_temperature))
        return float(np.average(losses, weights=weight))

    bounds = tuple(math.log(end) for end in _TEMPERATURES)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return size * math.exp(found.x)


def calibration_error(
    margins: np.ndarray, temperature: float = 1.0, weight: np.ndarray | None = None
) -> float:
    """Expected calibration error: mean over bins of |share ordered right - mean confidence|.

    A pair's confidence is sigmoid(|margin| / T), from a half to one, in ten bins of equal width
    (Guo et al. 2017, eq 3). Of n pairs some 0.4 sqrt(bins in use / n) of it is chance.

    Args:
        margins: (n,) reward differences, chosen less rejected, of unseen pairs.
        temperature: T.
        weight: (n,) weights of the pairs, or None for 1 each.
    """
    margins = np.asarray(margins, np.float64)
    weight = np.ones_like(margins) if weight is None else np.asarray(weight, np.float64)
    confidence, place = confidence_bins(margins, temperature)
    right = margin_accuracy(margins)
    off = np.bincount(place, weight * (right - confidence))
    return float(np.abs(off).sum() / weight.sum())


def confidence_bins(margins: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """(n,) confidence sigmoid(|margin| / T) of every pair, and (n,) number of its bin of `BINS`."""
    confidence = np.exp(-log_losses(np.abs(np.asarray(margins, np.float64)), temperature))
    return confidence, np.minimum((2 * BINS * (confidence - 0.5)).astype(int), BINS - 1)
