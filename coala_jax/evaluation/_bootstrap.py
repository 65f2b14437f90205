"""Draws for intervals by resampling whole clusters (Davison & Hinkley 1997, section 3.8)."""

from __future__ import annotations

import numpy as np

DRAWS = 1000


def cluster_draws(count: int, draws: int, seed: int) -> np.ndarray:
    """How often each of some clusters is drawn, (draws, count) float64."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
