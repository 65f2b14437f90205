"""What any weights are worth, whoever made them: `certify_weights`.

A stand-in with the signature of `coala_jax.convex.certify.certify_weights`; to be replaced by it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax.convex.certificate import (
    explained_share,
    feasible_dual,
    feasible_primal,
    relative_gap,
)
from coala_jax.convex.linear_system import factorize
from coala_jax.convex.losses import Loss
from coala_jax.convex.program import Program, output_adjoint, relative_violation, row_products
from coala_jax.convex.projection import interior_points, project_onto_cones

# Weights of a stranger bring no multipliers to start from, and a projection from zero is slow:
# Clarabel's optimum of a made problem of 500 rows, 20 features and 8 gates is certified to 7e-4
# after 1000 steps, the tiny ones to 1e-5 or better.
_TOLERANCE = 1e-7
_MAX_ITERATIONS = 1000


class Report(NamedTuple):
    """What weights are worth; scalars.

    Attributes:
        primal_value: objective (3) at the weights, projected onto the cones and pushed inside.
        dual_bound: lower bound of the optimum, from the residual of these weights alone.
        relative_gap: (primal_value - dual_bound) / |dual_bound|.
        explained: share of the possible improvement over the zero network.
        cone_violation: max(-G u)+ / max|X u| of the weights as they came.
    """

    primal_value: jax.Array
    dual_bound: jax.Array
    relative_gap: jax.Array
    explained: jax.Array
    cone_violation: jax.Array


def certify_weights(
    program: Program, gates: jax.Array, weights: jax.Array, strength: jax.Array, loss: Loss
) -> Report:
    """Bound the optimum of program (3) from both sides by any weights.

    The dual point is r = -grad l at the projected output. For a given r the best multipliers are
    those of projecting F^T r onto the cones: they make every block's norm as small as it can be.

    Args:
        program: the program.
        gates: (P, D) gate vectors of its patterns.
        weights: (2, P, D) weights (v, w), inside the cones or not.
        strength: absolute group-lasso strength.
        loss: the program's loss.
    """
    return _certify(program, gates, weights, strength, loss)


def _project(program: Program, system, points: jax.Array) -> jax.Array:
    """Multipliers of the projection of every block."""
    return project_onto_cones(
        program.features,
        program.signs,
        system,
        points,
        tolerance=_TOLERANCE,
        max_iterations=_MAX_ITERATIONS,
    ).multipliers


def _certify(program, gates, weights, strength, loss) -> Report:
    system = factorize(program.features)
    interior = interior_points(program.features, program.signs, system, gates)
    start = _project(program, system, weights)
    primal = feasible_primal(program, loss, strength, system, interior, weights, start)
    point = loss.negative_gradient(primal.output, program.labels, program.row_weight)
    multipliers = _project(program, system, output_adjoint(program, point))
    dual = feasible_dual(program, loss, strength, point, multipliers)
    zero = loss.value(jnp.zeros_like(point), program.labels, program.row_weight)
    return Report(
        primal_value=primal.value,
        dual_bound=dual.value,
        relative_gap=relative_gap(primal.value, dual.value),
        explained=explained_share(zero, primal.value, dual.value),
        cone_violation=relative_violation(program.signs * row_products(program.features, weights)),
    )


_certify = jax.jit(_certify, static_argnames="loss")
