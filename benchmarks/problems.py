"""Convex programs to compare solvers on: real features, made ones, and tiny ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from contenders.protocol import Problem

from coala_jax.convex._gates import sample_gates
from coala_jax.convex._standardize import fit_standardization, standardize

SHARED = ("alpaca_eval_v2", "qa_feedback")
SHARED_GATES = 16
# Strength as a share of max_i ||X^T D_i y||, the bound that ignores the cones: 0.05 of it is about
# a quarter of the true lambda_max on the shared features.
STRENGTH = 0.05
# Singular values of made features fall like j^-0.5; those of the standardised qa_feedback do so
# overall (232 to 12.3 from the first to the 301st), more slowly before the 100th.
SPECTRUM_EXPONENT = 0.5
# Standard deviation of the teacher's scores, in units of the noise that is added to them.
SIGNAL = 1.0
TEACHER_NEURONS = 8


class Size(NamedTuple):
    """Rows (two a pair), features and gates of a made problem."""

    rows: int
    width: int
    gates: int


TINY = Size(60, 4, 6)
MADE = {
    f"made-{rows}x{width}x{gates}": Size(rows, width, gates)
    for rows in (2000, 20_000)
    for width in (384, 1024)
    for gates in (8, 32)
}
TINY_SEEDS = {f"tiny-{seed}": seed for seed in range(3)}
NAMES = (*TINY_SEEDS, *SHARED, *MADE)


def load_problem(name: str, features: Path, say: Callable[[str], None]) -> Problem | None:
    """The problem of a name, or None, and a line that says so, where its file is missing."""
    if name in TINY_SEEDS:
        return _made(TINY, TINY_SEEDS[name])
    if name in MADE:
        return _made(MADE[name], seed=0)
    path = features / f"{name}.npz"
    if not path.exists():
        say(f"{name}: skipped, no {path}")
        return None
    with np.load(path) as arrays:
        return _problem(arrays["chosen"], arrays["rejected"], SHARED_GATES, seed=0)


def small_enough_for_cone_solvers(problem: Problem) -> bool:
    """Whether an interior-point method can hold the program."""
    return 2 * problem.patterns.size <= 10_000


def _made(size: Size, seed: int) -> Problem:
    """Pairs ranked by a two-layer teacher with noise, on features with a power-law spectrum."""
    rng = np.random.default_rng(seed)
    pairs = size.rows // 2
    rotation, _ = np.linalg.qr(rng.standard_normal((size.width, size.width)))
    spectrum = np.arange(1, size.width + 1) ** -SPECTRUM_EXPONENT
    rows = rng.standard_normal((2, pairs, size.width)) * spectrum @ rotation.T
    rows = rows / rows.std(axis=(0, 1))
    first = rng.standard_normal((size.width, TEACHER_NEURONS))
    score = np.maximum(rows @ first, 0) @ rng.standard_normal(TEACHER_NEURONS)
    score = SIGNAL * score / score.std() + rng.standard_normal(score.shape)
    swap = (score[0] < score[1])[:, None]
    return _problem(np.where(swap, rows[1], rows[0]), np.where(swap, *rows), size.gates, seed)


def _problem(chosen: np.ndarray, rejected: np.ndarray, gates: int, seed: int) -> Problem:
    """Rows as `coala_jax.cronos` makes them, its gates, and the strength."""
    both = np.stack([chosen, rejected], axis=1).reshape(-1, chosen.shape[1])
    rows = jnp.asarray(both, jnp.float32)
    x = standardize(rows, fit_standardization(rows, jnp.ones(len(rows))))
    vectors, patterns, _ = map(np.asarray, sample_gates(jax.random.key(seed), gates, x))
    y = np.tile(np.array([1, -1], np.float32), len(chosen))
    x = np.asarray(x)
    largest = np.linalg.norm((patterns * y) @ x, axis=1).max()
    return Problem(x, patterns, vectors, y, float(STRENGTH * largest))
