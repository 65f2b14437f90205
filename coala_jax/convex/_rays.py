"""The program restricted to rays inside its cones: a lasso with non-negative unknowns.

With v_i = a_i e_i and w_i = b_i f_i, e_i and f_i unit vectors of cone i, program (3) becomes

    min over a, b >= 0   l(S F (a e, b f)) + lambda_g sum_i (a_i + b_i),

2 P numbers. The interior points of the cones are such rays: no solve ends worse than its optimum on
them. Where rows are many and features few the cones are narrow, all points of one have nearly its
direction, and their lengths are most of what is to be found.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax.convex._program import (
    Program,
    block_norms,
    from_rows,
    loss_curvature,
    path_output,
)
from coala_jax.convex._rows import row_products

# Proximal gradient steps with momentum (Beck & Teboulle 2009), restarted where it points uphill
# (O'Donoghue & Candes 2015). A start or a polish: what is left is what the steps of ADMM improve.
_STEPS = 100


def best_lengths(
    program: Program,
    weights: jax.Array,
    linear: jax.Array | None = None,
    *,
    start: float = 1.0,
) -> jax.Array:
    """Weights (H, P, D) of the same directions, zero blocks left zero, with the best lengths.

    Args:
        program: the program.
        weights: (H, P, D).
        linear: (d,) of the linear path, which stays; None without one.
        start: lengths that the search starts from, as a multiple of those of the weights.
    """
    products = row_products(program.features, weights)
    outputs = program.halves[:, None, None] * program.patterns * products
    columns = jax.vmap(lambda row: from_rows(program, row))(outputs.reshape(-1, outputs.shape[-1]))
    columns = columns.reshape(len(columns), -1)
    norms = block_norms(weights)[..., 0]
    base = path_output(program, linear)
    factors = _lasso(program, base, columns, norms.ravel(), start).reshape(norms.shape)
    return factors[..., None] * weights


def _lasso(
    program: Program, base: jax.Array, columns: jax.Array, norms: jax.Array, start: float
) -> jax.Array:
    """Minimise l(base + c columns) + lambda_g norms^T c over c >= 0: (k, l) columns -> (k,)."""
    size = jnp.linalg.norm(columns, axis=1)
    used = size > 0
    unit = columns / jnp.where(used, size, 1)[:, None]
    weighted = unit * jnp.sqrt(program.row_weight).ravel()
    # Along a step of length 1 that of groups is twice what it is along half a difference.
    most = (2 if program.loss.grouped else 1) * loss_curvature(program)
    curvature = most * jnp.linalg.eigvalsh(weighted @ weighted.T)[-1]
    length = jnp.where(curvature > 0, 1 / jnp.where(curvature > 0, curvature, 1), 0)
    threshold = length * program.strength * norms / jnp.where(used, size, 1)

    def step(
        _: int, state: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        last, ahead, momentum = state
        slope = -unit @ program.dual_point(base + (ahead @ unit).reshape(base.shape)).ravel()
        new = jnp.maximum(ahead - length * slope - threshold, 0)
        grown = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        uphill = jnp.vdot(ahead - new, new - last) > 0
        factor = jnp.where(uphill, 0, (momentum - 1) / grown)
        return new, new + factor * (new - last), jnp.where(uphill, 1, grown)

    found = lax.fori_loop(0, _STEPS, step, (start * size, start * size, jnp.ones_like(length)))[0]
    return jnp.where(used, found / jnp.where(used, size, 1), 0)
