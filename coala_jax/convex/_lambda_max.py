"""lambda_max: the group-lasso strength at which the optimal network vanishes.

With g_i = X^T D_i S^T (-grad l(0)) it is max_i max(||Pi_{K_i}(g_i)||, ||Pi_{K_i}(-g_i)||): zero is
optimal exactly where every block of F^T S^T r lies within lambda_g of the polar cone of K_i. The
familiar max_i ||g_i|| ignores the cones and is several times too large; without cones it is exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax.convex._linear_system import LinearSystem
from coala_jax.convex._program import Program, block_norms, column_products, output_adjoint
from coala_jax.convex._projection import cones_of, project_onto_cones

# The strength is a fraction of this value: one digit would do. Measured on the shared features,
# 150 steps are within 0.3 %.
_TOLERANCE = 1e-4
_MAX_ITERATIONS = 150


def norm_bound(program: Program) -> jax.Array:
    """max_i ||g_i||, an upper bound of lambda_max that ignores the cones: a scalar."""
    return jnp.max(block_norms(_gradients_at_zero(program)))


def lambda_max(program: Program, system: LinearSystem) -> jax.Array:
    """Smallest strength with a zero optimum, from above: a scalar.

    The multipliers of the projection bound its norm from above whatever their accuracy, so zero
    is certainly optimal at the value returned.
    """
    if not program.has_cones:
        return norm_bound(program)
    points = _gradients_at_zero(program)
    # At the best multipliers the norm does not change with them (Danskin): gradients hold them.
    multipliers = project_onto_cones(
        *lax.stop_gradient((cones_of(program, system), points)),
        tolerance=_TOLERANCE,
        max_iterations=_MAX_ITERATIONS,
    ).multipliers
    projected = points + column_products(program.features, program.signs * multipliers)
    return jnp.max(block_norms(projected))


def _gradients_at_zero(program: Program) -> jax.Array:
    """F^T S^T r at the zero network, that is g_i and -g_i: (H, P, D)."""
    return output_adjoint(program, program.dual_point(jnp.zeros_like(program.labels)))
