"""Bounds of program (3) from both sides.

Primal: the objective at weights inside the cones; outside them it bounds nothing. Dual: with
r = -grad l(z) and alpha >= 0, (t r, t alpha) is feasible while
t ||block of F^T S^T r + G^T alpha|| <= lambda_g for every block, and -l*(-t r) is then a lower
bound. Both belong to the program with these gates, not to every two-layer ReLU network.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax.convex._linear_system import LinearSystem
from coala_jax.convex._program import (
    Program,
    column_products,
    network_output,
    objective,
    output_adjoint,
    row_products,
)
from coala_jax.convex._projection import cones_of, project_onto_cones, push_inside

# Below this relative violation the push inside costs nothing worth another step.
_PROJECTION_TOLERANCE = 1e-6


class Primal(NamedTuple):
    """A feasible point.

    Attributes:
        weights: (H, P, D) weights inside the cones.
        output: S F u, one value a label.
        value: objective (3), scalar.
        multipliers: (H, P, m) of the projection, to warm-start the next one.
    """

    weights: jax.Array
    output: jax.Array
    value: jax.Array
    multipliers: jax.Array


class Dual(NamedTuple):
    """A dual feasible point.

    Attributes:
        point: scaled dual point t r, one value a label.
        multipliers: (H, P, m) scaled multipliers t alpha, non-negative.
        value: lower bound of the optimum of (3), scalar.
    """

    point: jax.Array
    multipliers: jax.Array
    value: jax.Array


def feasible_primal(
    program: Program,
    system: LinearSystem,
    interior: jax.Array,
    weights: jax.Array,
    multipliers: jax.Array,
    max_iterations: int | jax.Array,
) -> Primal:
    """Project weights onto the cones, push them inside and evaluate (3) there.

    Without cones any weights are feasible as they are.

    Args:
        program: the program.
        system: of the features.
        interior: (P, D) points from `interior_points`; not read without cones.
        weights: (H, P, D) any weights.
        multipliers: (H, P, m) warm start of the projection.
        max_iterations: cap of the projection's steps.
    """
    if not program.has_cones:
        output = network_output(program, row_products(program.features, weights))
        return Primal(weights, output, objective(program, weights, output), multipliers)
    cones = cones_of(program, system)
    projection = project_onto_cones(
        cones,
        weights,
        multipliers=multipliers,
        tolerance=_PROJECTION_TOLERANCE,
        max_iterations=max_iterations,
    )
    active = jnp.any(weights != 0, axis=-1, keepdims=True)
    feasible = push_inside(cones, interior, jnp.where(active, projection.weights, 0))
    products = row_products(program.features, feasible)
    inside = jnp.all(cones.signs * products >= 0)
    output = network_output(program, products)
    value = objective(program, feasible, output)
    return Primal(feasible, output, jnp.where(inside, value, jnp.inf), projection.multipliers)


def feasible_dual(program: Program, point: jax.Array, multipliers: jax.Array) -> Dual:
    """Scale (r, alpha) to the best dual feasible multiple.

    Args:
        program: the program.
        point: dual point r, one value a label.
        multipliers: (H, P, m) non-negative alpha; not read without cones.
    """
    # The conjugate of a row without weight is infinite but at zero.
    point = jnp.where(program.row_weight > 0, point, 0)
    blocks = output_adjoint(program, point)
    if program.has_cones:
        blocks = blocks + column_products(program.features, program.signs * multipliers)
    largest = jnp.max(jnp.linalg.norm(blocks, axis=-1))
    cap = program.strength / jnp.maximum(largest, jnp.finfo(point.dtype).tiny)
    scale = program.loss.best_scale(point, program.labels, program.row_weight, cap)
    scaled = scale * point
    value = program.loss.dual_value(scaled, program.labels, program.row_weight)
    return Dual(scaled, scale * multipliers, value)


def better_dual(first: Dual, second: Dual) -> Dual:
    """The one with the larger bound; NaN loses."""
    better = (second.value > first.value) | jnp.isnan(first.value)
    return jax.tree.map(lambda a, b: jnp.where(better, b, a), first, second)


def better_primal(first: Primal, second: Primal) -> Primal:
    """The one with the smaller value, with the newer multipliers; NaN loses."""
    better = (second.value < first.value) | jnp.isnan(first.value)
    best = jax.tree.map(lambda a, b: jnp.where(better, b, a), first, second)
    return best._replace(multipliers=second.multipliers)


def relative_gap(primal_value: jax.Array, dual_bound: jax.Array) -> jax.Array:
    """(P - D) / |D|; infinite where the bound is zero, but 0 where P equals it."""
    difference = primal_value - dual_bound
    return jnp.where(difference == 0, 0, difference / jnp.abs(dual_bound))


def explained_share(
    zero_value: jax.Array, primal_value: jax.Array, dual_bound: jax.Array
) -> jax.Array:
    """(P(0) - P) / (P(0) - D): share of the possible improvement over the zero network."""
    possible = zero_value - dual_bound
    return jnp.where(possible <= 0, 0, (zero_value - primal_value) / possible)
