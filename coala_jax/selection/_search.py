"""The search: linear paths at every ridge, networks along strengths while they get better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from coala_jax.selection._choice import Grid
from coala_jax.selection._left_out import LeftOut, Paths
from coala_jax.selection._scores import Scored, Strengths

# Every other strength is tried first, until so many in a row were no better than the best before;
# then the neighbours of the best.
_STRIDE = 2
_PATIENCE = 2
Judge = Callable[[np.ndarray, Strengths], Scored]


def linear_candidates(left_out: LeftOut, judge: Judge, grid: Grid) -> list[Scored]:
    """The linear path alone at every ridge."""
    found = left_out.linear(grid.linear_ridges)
    return [
        judge(margins, Strengths(math.inf, ridge, None))
        for ridge, margins in zip(grid.linear_ridges, found, strict=True)
    ]


def network_candidates(
    left_out: LeftOut, judge: Judge, grid: Grid, simplest: Sequence[Scored]
) -> list[Scored]:
    """Networks along the strengths, with and without Phase II, in order of growing complexity.

    First every other strength, until two of them in a row were no better than the best before,
    each from the networks of the one before it; then the neighbours of the best, from its own.

    Args:
        left_out: folds.
        judge: of margins.
        grid: what is tried.
        simplest: the best linear path, beside whose ridge they are; none without a path.
    """
    linear_ridge = simplest[0].candidate.linear_ridge if simplest else None
    least = simplest[0].candidate.log_loss if simplest else math.inf
    tried: dict[int, list[Scored]] = {}

    def attempt(index: int, start: Paths | None) -> tuple[Paths, float]:
        strength = grid.strengths[index]
        paths, found = left_out.network(start, strength, linear_ridge, grid.ridges)
        tried[index] = [
            judge(margins, Strengths(strength, linear_ridge, ridge))
            for ridge, margins in zip((None, *grid.ridges), found, strict=True)
        ]
        return paths, min(each.candidate.log_loss for each in tried[index])

    best: tuple[int, Paths] | None = None
    paths, waited = None, 0
    for index in range(0, len(grid.strengths), _STRIDE):
        paths, loss = attempt(index, paths)
        waited = 0 if loss < least else waited + 1
        if not waited:
            least, best = loss, (index, paths)
        if waited == _PATIENCE:
            break
    if best is not None:
        around, paths = best
        for index in (around - 1, around + 1):
            if index in range(len(grid.strengths)):
                attempt(index, paths)
    return [each for index in sorted(tried) for each in tried[index]]
