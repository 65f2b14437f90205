"""Held-out pairs in bins: by reward difference, and by how sure the head is of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from coala_jax._accuracy import margin_accuracy
from coala_jax._calibration import BINS, confidence_bins
from coala_jax._intervals import share_interval
from coala_jax._verdict import Unseen
from coala_jax.study._round_steps import round_step

# Steps of a histogram of reward differences, at most.
_STEPS = 40
# The least and the largest of a hundred differences would decide the scale of all.
_TAILS = (0.5, 99.5)


def margin_histogram(margins: np.ndarray) -> dict[str, Any]:
    """How many pairs have a reward difference within each step.

    Args:
        margins: (n,) reward differences; what is not finite is not counted.

    Returns:
        ``edges``, (b + 1,), zero among them, so that pairs ordered right and wrong are apart; and
        ``pairs``, (b,) counts. What lies beyond the ends is counted in the outermost steps.
    """
    finite = margins[np.isfinite(margins)]
    low, high = np.percentile(finite, _TAILS) if len(finite) else (0.0, 0.0)
    low, high = min(low, 0.0), max(high, 0.0)
    step = round_step((high - low) / _STEPS)
    edges = step * np.arange(min(np.floor(low / step), -1), max(np.ceil(high / step), 1) + 1)
    counts = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)[0]
    return {"edges": edges.tolist(), "pairs": counts.tolist()}


def reliability(unseen: Unseen, temperature: float) -> list[dict[str, Any]]:
    """What a reliability diagram shows: the bins of `calibration_error` that hold pairs.

    Args:
        unseen: pairs that the head was not trained on.
        temperature: of the head.

    Returns:
        By bin: ``low`` and ``high`` of its confidences, ``pairs``, their mean ``confidence``, and
        the share of them that is ordered ``right``, with its interval clustered by key.
    """
    margins, keys, weight = unseen
    confidence, place = confidence_bins(margins, temperature)
    correct = margin_accuracy(margins)
    counted = np.ones(len(margins)) if weight is None else np.asarray(weight, np.float64)
    bins = []
    for number in range(BINS):
        rows = np.flatnonzero((place == number) & (counted > 0))
        if not len(rows):
            continue
        own = counted[rows]
        right = share_interval(correct[rows], [keys[row] for row in rows], own)
        bins.append(
            {
                "low": 0.5 + number / (2 * BINS),
                "high": 0.5 + (number + 1) / (2 * BINS),
                "pairs": len(rows),
                "confidence": float(np.average(confidence[rows], weights=own)),
                "right": right._asdict(),
            }
        )
    return bins
