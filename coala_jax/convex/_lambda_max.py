"""lambda_max: the group-lasso strength at which the optimal network vanishes.

With g_i = X^T D_i S^T (-grad l(z)), z the output of the zero network (that of its linear path, else
0), it is max_i max(||Pi_{K_i}(g_i)||, ||Pi_{K_i}(-g_i)||): zero is
optimal exactly where every block of F^T S^T r lies within lambda_g of the polar cone of K_i. The
familiar max_i ||g_i|| ignores the cones and is several times too large; without cones it is exact.

Multipliers bound every block's norm from above and a point of its cone bounds it from below, so
only the blocks whose upper bound exceeds the best lower one are followed to the end.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax.convex._linear_system import tight_penalties
from coala_jax.convex._program import (
    Program,
    block_norms,
    path_output,
    row_values,
)
from coala_jax.convex._projection import Cones, project_onto_cones, push_inside
from coala_jax.convex._rounding import bounded_column_products, plain_products_error
from coala_jax.convex._rows import Rows, column_products

# Steps of all blocks, and of those that are followed, a few at a time with penalties of their own.
_FIRST_STEPS = 30
_STEPS = 20
_FOLLOWED = 8
_ROUNDS = 60


class Interval(NamedTuple):
    """Bounds of lambda_max; scalars.

    Attributes:
        lower: largest g^T v / ||v|| of a v in its cone.
        upper: a strength at which zero is certainly optimal.
    """

    lower: jax.Array
    upper: jax.Array


def norm_bound(program: Program, linear: jax.Array | None = None) -> Interval:
    """Bounds of max_i ||g_i||, an upper bound of lambda_max that ignores the cones.

    Args:
        program: the program.
        linear: (d,) of the zero network's linear path; None without one.
    """
    unit, values = _values_at_zero(program, linear)
    return _interval(program, unit, values, None)


def lambda_max(
    program: Program,
    cones: Cones,
    linear: jax.Array | None = None,
    *,
    tolerance: jax.Array | float,
    adapt_rows: bool,
) -> Interval:
    """Smallest strength with a zero optimum, from both sides.

    Its gradient is that of the upper bound with the multipliers held, and as near to that of
    lambda_max as the bounds are to each other.

    Args:
        program: the program.
        cones: of the program.
        linear: (d,) of the zero network's linear path; None without one.
        tolerance: relative distance of the bounds at which the search ends, if its steps do not
            run out before.
        adapt_rows: whether the blocks that are followed get row penalties of their own.
    """
    unit, values = _values_at_zero(program, linear)
    if not program.has_cones:
        return _interval(program, unit, values, None)
    points = bounded_column_products(program.features, values, program.parts).products
    held = lax.stop_gradient((cones, points, tolerance))
    multipliers, lower = _search(*held, adapt_rows)
    # At the best multipliers the norm does not change with them (Danskin): gradients hold them.
    return _interval(program, unit, values + program.signs * multipliers, lower)


def _interval(
    program: Program, unit: jax.Array, values: jax.Array, lower: jax.Array | None
) -> Interval:
    """Bounds with the rounding of the products of values (H, P, m) allowed for.

    What is below the rounding of the steps' own products pulls at nothing: the lower bound is 0.

    Args:
        program: the program.
        unit: scalar, of the values.
        values: of which X^T makes the blocks that the upper bound is the largest norm of.
        lower: lower bound in exact arithmetic, None for the same norm.
    """
    pulled = bounded_column_products(program.features, values, program.parts)
    upper = jnp.max(block_norms(pulled.products))
    of_steps = jnp.max(plain_products_error(program.features, values))
    lower = upper if lower is None else lower
    lower = jnp.maximum(lower - of_steps, 0)
    return Interval(unit * lower, unit * (upper + jnp.max(pulled.error)))


def _values_at_zero(program: Program, linear: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """A unit, and in it the values of which X^T makes g_i and -g_i: scalar and (H, P, m).

    In units of the largest residual no square underflows.
    """
    residual = program.dual_point(path_output(program, linear))
    largest = lax.stop_gradient(jnp.max(jnp.abs(residual)))
    unit = jnp.where(largest > 0, largest, 1)
    return unit, row_values(program, residual / unit)


class _Search(NamedTuple):
    """Last and best multipliers (2 P, m) and bounds (2 P,) of every block, and rounds so far."""

    multipliers: jax.Array
    best: jax.Array
    lower: jax.Array
    upper: jax.Array
    rounds: jax.Array


def _search(
    cones: Cones, points: jax.Array, tolerance: jax.Array | float, adapt_rows: bool
) -> tuple[jax.Array, jax.Array]:
    """Multipliers (H, P, m) and the largest lower bound of (H, P, D) blocks."""
    flat = points.reshape(-1, points.shape[-1])
    first = project_onto_cones(cones, points, max_iterations=_FIRST_STEPS)
    signs = jnp.tile(cones.signs, (points.shape[0], 1))
    interior = jnp.tile(cones.interior, (points.shape[0], 1))
    everything = cones._replace(signs=signs, interior=interior)
    multipliers = first.multipliers.reshape(signs.shape)
    followed = min(_FOLLOWED, len(flat))

    def unfinished(search: _Search) -> jax.Array:
        wide = jnp.max(search.upper) > (1 + tolerance) * jnp.max(search.lower)
        return wide & (search.rounds < _ROUNDS)

    def follow(search: _Search) -> _Search:
        _, index = lax.top_k(search.upper, followed)
        some = cones._replace(signs=signs[index], interior=interior[index])
        start = search.multipliers[index]
        if adapt_rows:
            rows = tight_penalties(cones.features, cones.system, start[None])
            some = some._replace(rows=rows)
        found = project_onto_cones(
            some, flat[index][None], multipliers=start[None], max_iterations=_STEPS
        )
        multipliers = found.multipliers[0]
        upper = _upper(cones.features, some.signs, flat[index], multipliers)
        multipliers = jnp.where(jnp.isfinite(upper)[:, None], multipliers, start)
        upper = jnp.where(jnp.isfinite(upper), upper, jnp.inf)
        better = upper < search.upper[index]
        best = jnp.where(better[:, None], multipliers, search.best[index])
        lower = _lower(some, flat[index], found.weights[0])
        return _Search(
            search.multipliers.at[index].set(multipliers),
            search.best.at[index].set(best),
            search.lower.at[index].max(lower),
            search.upper.at[index].min(upper),
            search.rounds + 1,
        )

    start = _Search(
        multipliers,
        multipliers,
        _lower(everything, flat, first.weights.reshape(flat.shape)),
        _upper(cones.features, signs, flat, multipliers),
        jnp.zeros((), jnp.int32),
    )
    last = lax.while_loop(unfinished, follow, start)
    return last.best.reshape(*points.shape[:2], -1), jnp.max(last.lower)


def _upper(
    features: Rows, signs: jax.Array, points: jax.Array, multipliers: jax.Array
) -> jax.Array:
    """||g + X^T E alpha|| of every block: (..., P)."""
    return block_norms(points + column_products(features, signs * multipliers))[..., 0]


def _lower(cones: Cones, points: jax.Array, weights: jax.Array) -> jax.Array:
    """g^T v / ||v|| of every block at the nearest v inside its cone: (P,)."""
    inside = push_inside(cones, weights)
    feasible = jnp.all(cones.products(inside) >= 0, axis=-1)
    along = jnp.sum(points * inside, axis=-1) / block_norms(inside, at_zero=1)[..., 0]
    # A point that is no number, as where a weight dominates in float32, bounds nothing.
    return jnp.where(feasible & (along > 0), along, 0)
