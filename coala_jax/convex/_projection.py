"""Projection onto the cones K_i = {v : E_i X v >= 0}, and strictly feasible points inside them.

min ||v - p||^2 / 2 subject to E_i X v >= 0 is solved for many blocks at once by ADMM on
s = E X v. The inverse of K = shift I + X^T X that the main iteration uses serves here too: with
penalty 1/shift the v-step is one solve with K. By Moreau's decomposition v = p + X^T E alpha at
the optimum, with multipliers alpha >= 0; any alpha >= 0 bounds the norm of the projection.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax.convex._linear_system import LinearSystem, solve_blocks
from coala_jax.convex._program import Program, column_products, row_products

# Over-relaxation of every ADMM here; 1.5 to 1.8 is the textbook range, 1.9 measured worse.
RELAXATION = 1.6
# Feasible points are pushed inside by this share more than rounding needs: a dot product of
# D <= 4096 float32 terms is off by a few times 1e-7 of its scale.
_ROUNDING_SHARE = 4.0
# Interior points are sought until every row has this margin (1 is asked for). Measured on the
# shared features: up to 140 steps, where 0.9 takes 230 for points a third shorter.
_INTERIOR_MARGIN = 0.5
_INTERIOR_ITERATIONS = 500


class Cones(NamedTuple):
    """The cones K_i of a program.

    Attributes:
        features: (m, D) rows X.
        signs: (P, m) of +-1, E.
        system: Gram matrix and inverse of X.
    """

    features: jax.Array
    signs: jax.Array
    system: LinearSystem

    def products(self, points: jax.Array) -> jax.Array:
        """E_i X v of every block: (..., P, D) -> (..., P, m)."""
        return self.signs * row_products(self.features, points)


def cones_of(program: Program, system: LinearSystem) -> Cones:
    """The cones of a program, with the system of its features."""
    return Cones(program.features, program.signs, system)


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
    slack = jnp.maximum(cones.products(points), floor)
    start = jnp.zeros_like(slack) if multipliers is None else -cones.system.shift * multipliers
    zero = jnp.zeros((), jnp.int32)

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        *_, residual, iterations = state
        return (residual > tolerance) & (iterations < max_iterations)

    def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        _, slack, dual, _, iterations = state
        weights, products, new_slack, dual = _split_step(cones, points, slack, dual, floor)
        residual = _residual(products, floor, jnp.abs(new_slack - slack))
        return weights, new_slack, dual, residual, iterations + 1

    first: tuple[jax.Array, ...] = (points, slack, start, jnp.full((), jnp.inf, points.dtype), zero)
    weights, _, dual, _, iterations = lax.while_loop(unfinished, step, first)
    return Projection(weights, -dual / cones.system.shift, iterations)


def _split_step(
    cones: Cones,
    target: jax.Array,
    slack: jax.Array,
    dual: jax.Array,
    floor: float | jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """One step of ADMM on s = E X v >= floor with ||v - target||^2: (v, E X v, s, multiplier)."""
    system = cones.system
    pull = column_products(cones.features, cones.signs * (slack - dual))
    points = solve_blocks(system, system.shift * target + pull)
    products = cones.products(points)
    relaxed = relax(products, slack) + dual
    slack = jnp.maximum(relaxed, floor)
    return points, products, slack, relaxed - slack


def relax(new: jax.Array, old: jax.Array) -> jax.Array:
    """RELAXATION new + (1 - RELAXATION) old: over-relaxed ADMM."""
    return RELAXATION * new + (1 - RELAXATION) * old


def _residual(products: jax.Array, floor: float | jax.Array, change: jax.Array) -> jax.Array:
    """Largest violation or change of a slack, relative to its block's products: scalar."""
    worst = jnp.max(jnp.maximum(floor - products, change), axis=-1)
    largest = jnp.max(jnp.abs(products), axis=-1)
    return jnp.max(jnp.where(largest > 0, worst / jnp.where(largest > 0, largest, 1), 0))


def interior_points(cones: Cones, gates: jax.Array) -> jax.Array:
    """A point of every cone with E_i X v >= 1, of small norm: (P, D).

    Proximal ADMM on the feasibility problem from the origin. A least-norm point (a support vector
    machine on the gate's own pattern) is a third shorter and takes ten times as many steps. Where
    the steps do not suffice the gate vector itself is scaled, which lies inside by definition but
    close to the boundary. A gate with a row exactly on its hyperplane has no such point and gets
    zeros: its blocks are then only feasible as far as they were projected.
    """

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        *_, least, iterations = state
        return (jnp.min(least) < _INTERIOR_MARGIN) & (iterations < _INTERIOR_ITERATIONS)

    def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        points, slack, dual, _, iterations = state
        points, products, slack, dual = _split_step(cones, points, slack, dual, 1.0)
        return points, slack, dual, jnp.min(products, axis=-1), iterations + 1

    first: tuple[jax.Array, ...] = (
        jnp.zeros_like(gates),
        jnp.ones_like(cones.signs),
        jnp.zeros_like(cones.signs),
        jnp.zeros_like(gates[:, 0]),
        jnp.zeros((), jnp.int32),
    )
    found, *_ = lax.while_loop(unfinished, step, first)

    def scaled(points: jax.Array) -> jax.Array:
        least = jnp.min(cones.products(points), axis=-1, keepdims=True)
        return jnp.where(least > 0, points / jnp.where(least > 0, least, 1), 0)

    candidate, fallback = scaled(found), scaled(gates)
    works = jnp.any(candidate != 0, axis=-1, keepdims=True)
    return jnp.where(works, candidate, fallback)


def push_inside(cones: Cones, interior: jax.Array, weights: jax.Array) -> jax.Array:
    """Make nearly feasible blocks feasible in floating point; zero blocks stay zero.

    Adds the interior point times the worst violation plus a rounding allowance:
    (..., P, D) -> (..., P, D).
    """
    products = cones.products(weights)
    worst = jnp.max(jnp.maximum(-products, 0), axis=-1)
    largest = jnp.max(jnp.abs(products), axis=-1)
    allowance = _ROUNDING_SHARE * jnp.finfo(weights.dtype).eps * largest
    return weights + (worst + allowance)[..., None] * interior
