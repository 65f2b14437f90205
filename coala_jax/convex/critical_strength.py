"""The critical group-lasso strength at which the optimal network vanishes.

With g_i = X^T D_i (-grad l(0)) it is max_i max(||Pi_{K_i}(g_i)||, ||Pi_{K_i}(-g_i)||): zero is
optimal exactly where every block of F^T r lies within lambda_g of the polar cone of K_i. The
familiar bound max_i ||g_i|| ignores the cones and is several times too large.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax.convex.linear_system import LinearSystem
from coala_jax.convex.losses import Loss
from coala_jax.convex.program import Program, column_products, output_adjoint
from coala_jax.convex.projection import project_onto_cones

# The strength is a fraction of this value, so that three digits are plenty. 500 steps are twice
# what the shared features need.
_TOLERANCE = 3e-5
_MAX_ITERATIONS = 500


def critical_strength(program: Program, loss: Loss, system: LinearSystem) -> jax.Array:
    """Smallest strength with a zero optimum, from above: a scalar.

    The multipliers of the projection bound its norm from above whatever their accuracy, so zero
    is certainly optimal at the value returned.
    """
    zero = jnp.zeros_like(program.labels)
    dual_point = loss.negative_gradient(zero, program.labels, program.row_weight)
    points = output_adjoint(program, dual_point)
    signs = program.signs
    multipliers = project_onto_cones(
        program.features,
        signs,
        system,
        points,
        tolerance=_TOLERANCE,
        max_iterations=_MAX_ITERATIONS,
    ).multipliers
    projected = points + column_products(program.features, signs * multipliers)
    return jnp.max(jnp.linalg.norm(projected, axis=-1))
