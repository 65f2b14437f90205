"""Damped Newton steps in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from adversary.losses import Array

_STEPS = 100
_HALVINGS = 40


def minimiser(
    value: Callable[[Array], float], step: Callable[[Array], Array], start: Array
) -> Array:
    """Where steps that lower a convex function lead, each halved until it does."""
    point, least = start, value(start)
    for _ in range(_STEPS):
        full = step(point)
        moves = (point + size * full for size in 0.5 ** np.arange(_HALVINGS))
        moved = next((move for move in moves if value(move) < least), None)
        if moved is None:
            break
        point, least = moved, value(moved)
    return point
