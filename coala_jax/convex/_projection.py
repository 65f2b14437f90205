"""Projection onto the cones K_i = {v : E_i X v >= 0}, and strictly feasible points inside them.

min ||v - p||^2 / 2 subject to E_i X v >= 0 is solved for many blocks at once by ADMM on
s = E X v, with penalties Sigma / shift of its rows: the v-step is then one solve with
shift I + X^T Sigma X, by a prepared inverse on the residual of the last v, so that what the inverse
is off by is gone in the next step. By Moreau's decomposition v = p + X^T E alpha at the optimum,
with multipliers alpha >= 0; any alpha >= 0 bounds the norm of the projection from above, and any
point of the cone from below.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax.convex._linear_system import (
    LinearSystem,
    RowPenalties,
    precondition,
    tight_penalties,
    uniform_penalties,
    with_share,
)
from coala_jax.convex._program import Program
from coala_jax.convex._rows import Rows, column_products, is_there, row_products

# Over-relaxation of every ADMM here; 1.5 to 1.8 is the textbook range, 1.9 measured worse.
RELAXATION = 1.6
# Shift of the projection's own system, as a share of m. Measured for lambda_max: on hidden states
# of Gemma (condition number 138) the norms are within 0.1 % after 50 steps with 0.3, 400 with 0.03
# and 300 with 3; on MiniLM features after 20, 100 and 100.
PROJECTION_SHARE = 0.3
# Feasible points are pushed inside by this share more than rounding needs: a dot product of
# D <= 4096 float32 terms is off by a few times 1e-7 of its scale.
_ROUNDING_SHARE = 4.0
# Interior points are sought until every row has this margin (1 is asked for, of rows whose
# products with the gate are about sqrt(D)). Measured on the shared features: 10 to 60 steps.
_INTERIOR_MARGIN = 0.25
_INTERIOR_ITERATIONS = 60
# A gate's own margin is stretched to this one: deeper points are sought near it, and in a narrow
# cone none has a margin of 1 that is not long.
_OWN_MARGIN = 0.03
# Penalty of tight rows. Measured where ADMM has 0.995 of what can be explained: three rounds of 50
# steps from its tight rows give .990 on alpaca_eval_v2 and .980 on expert_small with 30, and a
# fourth .989; with 100 three give .990 on both, but on hidden states of Gemma the fifth diverges.
PROJECTION_TIGHT_PENALTY = 30.0
# Steps between two updates of row penalties, where a projection has its own.
_ROUND = 50


class Cones(NamedTuple):
    """The cones K_i of a program.

    Attributes:
        features: (m, D) rows X.
        signs: (P, m) of +-1, E.
        interior: (P, D) points with E_i X v >= 1, or zeros where there is none.
        system: Gram matrix and shift of the projection.
        rows: penalties Sigma of the rows, with the inverses of shift I + X^T Sigma_i X.
    """

    features: Rows
    signs: jax.Array
    interior: jax.Array
    system: LinearSystem
    rows: RowPenalties

    def products(self, points: jax.Array) -> jax.Array:
        """E_i X v of every block: (..., P, D) -> (..., P, m)."""
        return self.signs * row_products(self.features, points)

    def least(self, products: jax.Array) -> jax.Array:
        """The least of products E_i X v of every block: (..., P, m) -> (..., P)."""
        return jnp.min(jnp.where(is_there(self.features), products, jnp.inf), axis=-1)


def cones_of(program: Program, system: LinearSystem, gates: jax.Array) -> Cones:
    """The cones of a program.

    Args:
        program: the program.
        system: of its features.
        gates: (P, D) gate vectors of its patterns.
    """
    x, signs = program.features, program.signs
    start = Cones(x, signs, gates, system, uniform_penalties(system))
    interior = jnp.zeros_like(gates)
    if program.has_cones:
        interior = interior_points(start, gates)
    stiff = with_share(system.gram, PROJECTION_SHARE, system.mesh)
    return Cones(x, signs, interior, stiff, uniform_penalties(stiff))


class Projection(NamedTuple):
    """Result of `project_onto_cones`.

    Attributes:
        weights: (..., P, D) approximate projections.
        multipliers: (..., P, m) non-negative multipliers alpha.
        iterations: scalar int32, steps taken.
    """

    weights: jax.Array
    multipliers: jax.Array
    iterations: jax.Array


def project_with_row_penalties(
    cones: Cones,
    points: jax.Array,
    *,
    floor: float | jax.Array = 0.0,
    tolerance: float,
    max_iterations: int,
) -> Projection:
    """`project_onto_cones` of (H, P, D) points from nothing, to a tight tolerance.

    In rounds, after each of which tight rows get a high penalty and slack ones a low one: one
    inverse a block each time.
    """

    def unfinished(state: tuple[Projection, jax.Array]) -> jax.Array:
        last, steps = state
        return (last.iterations >= _ROUND) & (steps < max_iterations)

    def follow(state: tuple[Projection, jax.Array]) -> tuple[Projection, jax.Array]:
        last, steps = state
        rows = tight_rows(cones, last.multipliers)
        return go_on(cones._replace(rows=rows), last.multipliers, steps)

    def go_on(
        cones: Cones, multipliers: jax.Array | None, steps: jax.Array | int
    ) -> tuple[Projection, jax.Array]:
        found = project_onto_cones(
            cones,
            points,
            multipliers=multipliers,
            floor=floor,
            tolerance=tolerance,
            max_iterations=_ROUND,
        )
        return found, steps + found.iterations

    found, steps = lax.while_loop(unfinished, follow, go_on(cones, None, 0))
    return found._replace(iterations=steps)


def tight_rows(cones: Cones, multipliers: jax.Array) -> RowPenalties:
    """Penalties of a projection whose tight rows have these multipliers (H, P, m)."""
    return tight_penalties(cones.features, cones.system, multipliers, PROJECTION_TIGHT_PENALTY)


class _Split(NamedTuple):
    """Iterate of ADMM on s = E X v: (..., P, D) v, and (..., P, m) E X v, s, scaled multiplier."""

    points: jax.Array
    products: jax.Array
    slack: jax.Array
    dual: jax.Array


def project_onto_cones(
    cones: Cones,
    points: jax.Array,
    *,
    multipliers: jax.Array | None = None,
    floor: float | jax.Array = 0.0,
    tolerance: float | jax.Array = 0.0,
    max_iterations: int | jax.Array,
) -> Projection:
    """Project every block onto its cone, or onto {v : E_i X v >= floor}.

    Args:
        cones: K_i.
        points: (..., P, D) points p.
        multipliers: (..., P, m) non-negative warm start, or None for zeros.
        floor: scalar or (..., P, m), non-negative.
        tolerance: stop when, in every block, neither the worst violation nor the last change of
            a slack exceeds this share of the largest |X v|.
        max_iterations: cap of steps.
    """

    def unfinished(state: tuple[_Split, jax.Array, jax.Array]) -> jax.Array:
        _, residual, iterations = state
        return (residual > tolerance) & (iterations < max_iterations)

    def step(state: tuple[_Split, jax.Array, jax.Array]) -> tuple[_Split, jax.Array, jax.Array]:
        split, _, iterations = state
        new = _split_step(cones, points, split, floor)
        residual = _residual(new.products, floor, jnp.abs(new.slack - split.slack))
        return new, residual, iterations + 1

    first = _start(cones, points, multipliers, floor)
    infinite = jnp.full((), jnp.inf, points.dtype)
    none = jnp.zeros((), jnp.int32)
    split, _, iterations = lax.while_loop(unfinished, step, (first, infinite, none))
    return Projection(split.points, _multipliers(cones, split), iterations)


def _start(
    cones: Cones, points: jax.Array, multipliers: jax.Array | None, floor: float | jax.Array
) -> _Split:
    """At p + X^T E alpha, where the projection is if alpha is right."""
    if multipliers is None:
        multipliers = jnp.zeros_like(cones.products(points))
    moved = points + column_products(cones.features, cones.signs * multipliers)
    products = cones.products(moved)
    dual = -cones.system.shift * multipliers / cones.rows.penalty
    return _Split(moved, products, jnp.maximum(products, floor), dual)


def _multipliers(cones: Cones, split: _Split) -> jax.Array:
    return -cones.rows.penalty * split.dual / cones.system.shift


def _split_step(cones: Cones, target: jax.Array, last: _Split, floor: float | jax.Array) -> _Split:
    """One step of ADMM on s = E X v >= floor with ||v - target||^2."""
    gap = cones.rows.penalty * (last.slack - last.dual - last.products)
    right = cones.system.shift * (target - last.points)
    right = right + column_products(cones.features, cones.signs * gap)
    points = last.points + precondition(cones.rows, right)
    products = cones.products(points)
    relaxed = relax(products, last.slack) + last.dual
    slack = jnp.maximum(relaxed, floor)
    return _Split(points, products, slack, relaxed - slack)


def relax(new: jax.Array, old: jax.Array) -> jax.Array:
    """RELAXATION new + (1 - RELAXATION) old: over-relaxed ADMM."""
    return RELAXATION * new + (1 - RELAXATION) * old


def _residual(products: jax.Array, floor: float | jax.Array, change: jax.Array) -> jax.Array:
    """Largest violation or change of a slack, relative to its block's products: scalar."""
    worst = jnp.max(jnp.maximum(floor - products, change), axis=-1)
    largest = jnp.max(jnp.abs(products), axis=-1)
    return jnp.max(jnp.where(largest > 0, worst / jnp.where(largest > 0, largest, 1), 0))


def interior_points(cones: Cones, gates: jax.Array) -> jax.Array:
    """A point of every cone with E_i X v >= 1: (P, D).

    ADMM on the feasibility problem from the gate. The gate itself, which lies inside by definition
    but close to the boundary, is scaled and taken where it is shorter than what the steps found. A
    gate with a row exactly on its hyperplane has no such point and gets zeros: its blocks are then
    only feasible as far as they were projected.

    Args:
        cones: their own interior points are not read.
        gates: (P, D) gate vectors.
    """
    norms = jnp.linalg.norm(gates, axis=-1, keepdims=True)
    units = jnp.sqrt(gates.shape[-1]) * gates / jnp.where(norms > 0, norms, 1)
    own = cones.least(cones.products(units))[..., None]
    target = units * jnp.maximum(1, _OWN_MARGIN / jnp.where(own > 0, own, _OWN_MARGIN))

    def unfinished(state: tuple[_Split, jax.Array, jax.Array]) -> jax.Array:
        _, least, iterations = state
        return (jnp.min(least) < _INTERIOR_MARGIN) & (iterations < _INTERIOR_ITERATIONS)

    def step(state: tuple[_Split, jax.Array, jax.Array]) -> tuple[_Split, jax.Array, jax.Array]:
        split = _split_step(cones, target, state[0], 1.0)
        return split, cones.least(split.products), state[2] + 1

    products = cones.products(target)
    first = _Split(target, products, jnp.maximum(products, 1.0), jnp.zeros_like(products))
    least = jnp.full_like(target[:, 0], -jnp.inf)
    split, *_ = lax.while_loop(unfinished, step, (first, least, jnp.zeros((), jnp.int32)))

    def scaled(points: jax.Array) -> jax.Array:
        least = cones.least(cones.products(points))[..., None]
        return jnp.where(least > 0, points / jnp.where(least > 0, least, 1), 0)

    def length(points: jax.Array) -> jax.Array:
        """Norms, infinite where there is no point."""
        norms = jnp.linalg.norm(points, axis=-1, keepdims=True)
        return jnp.where(norms > 0, norms, jnp.inf)

    candidate, fallback = scaled(split.points), scaled(target)
    return jnp.where(length(candidate) < length(fallback), candidate, fallback)


def push_inside(cones: Cones, weights: jax.Array) -> jax.Array:
    """Make nearly feasible blocks feasible in floating point; zero blocks stay zero.

    Adds as much of the interior point as the worst row needs, plus a rounding allowance:
    (..., P, D) -> (..., P, D).
    """
    products, margins = cones.products(weights), cones.products(cones.interior)
    # Without an interior point nothing is added, whatever its length.
    needed = -products / jnp.where(margins > 0, margins, 1)
    length = jnp.maximum(jnp.max(needed, axis=-1), 0)
    reach = jnp.max(jnp.abs(products), axis=-1) + length * jnp.max(margins, axis=-1)
    allowance = _ROUNDING_SHARE * jnp.finfo(weights.dtype).eps * reach
    return weights + (length + allowance)[..., None] * cones.interior
