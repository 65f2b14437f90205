"""Bounds of program (3) from both sides.

Primal: the objective at weights inside the cones; outside them it bounds nothing. Dual: with
r = -grad l(z) and alpha >= 0, (t r, t alpha) is feasible while
t ||block of F^T S^T r + G^T alpha|| <= lambda_g for every block, and -l*(-t r) is then a lower
bound. Both belong to the program with these gates, not to every two-layer ReLU network. Both carry
an allowance for rounding, so that they are bounds in the arithmetic that they are computed in.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax._roundoff import unit_roundoff
from coala_jax.convex._program import (
    Program,
    block_norms,
    network_output,
    row_products,
    row_values,
)
from coala_jax.convex._rounding import bounded_column_products, chunked_sum, sum_error

# Standard deviations of the rounding of outputs, taken as independent from row to row (Higham &
# Mary 2019), that the primal bound allows for.
_DEVIATIONS = 6.0


class Primal(NamedTuple):
    """A feasible point.

    Attributes:
        weights: (H, P, D) weights inside the cones.
        output: S F u, one value a label.
        value: objective (3) from above, scalar.
    """

    weights: jax.Array
    output: jax.Array
    value: jax.Array


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


def evaluated(program: Program, weights: jax.Array) -> Primal:
    """(H, P, D) weights with the value of (3) from above; infinite where they leave their cones."""
    products = row_products(program.features, weights)
    inside = jnp.all(program.signs * products >= 0) if program.has_cones else jnp.array(True)
    output = network_output(program, products)
    value = objective_from_above(program, weights, output)
    return Primal(weights, output, jnp.where(inside, value, jnp.inf))


def zero_network(program: Program) -> Primal:
    """Zero weights, (H, P, D), which are inside any cones."""
    output = jnp.zeros_like(program.labels)
    shape = (len(program.halves), len(program.patterns), program.features.shape[1])
    value = chunked_sum(program.loss.value, output, program.labels, program.row_weight)
    value = value * (1 + sum_error(len(program.features), value.dtype))
    return Primal(jnp.zeros(shape, output.dtype), output, value)


def objective_from_above(program: Program, weights: jax.Array, output: jax.Array) -> jax.Array:
    """The value of (3), scalar, rounding allowed for.

    Of sums in the worst case, of the products in `output` as independent errors of each row.
    """
    rows, width = program.features.shape
    norms = jnp.sum(block_norms(weights))
    value = chunked_sum(program.loss.value, output, program.labels, program.row_weight)
    value = (value + program.strength * norms) * (1 + sum_error(rows, output.dtype))
    unit = unit_roundoff(output.dtype)
    error = width**0.5 * unit * norms * jnp.sqrt(jnp.max(jnp.sum(program.features**2, axis=1)))
    return value + _DEVIATIONS * error * jnp.linalg.norm(program.dual_point(output))


def feasible_dual(program: Program, point: jax.Array, multipliers: jax.Array) -> Dual:
    """Scale (r, alpha) to the best dual feasible multiple.

    Args:
        program: the program.
        point: dual point r, one value a label.
        multipliers: (H, P, m) non-negative alpha; not read without cones.
    """
    # The conjugate of a row without weight is infinite but at zero.
    point = jnp.where(program.row_weight > 0, point, 0)
    # Any multiple of (r, alpha) does. In units of the largest number no square underflows, as it
    # would where every row is fitted and r is next to zero.
    unit = jnp.max(jnp.abs(point))
    if program.has_cones:
        unit = jnp.maximum(unit, jnp.max(multipliers))
    unit = jnp.where(unit > 0, unit, 1)
    point, multipliers = point / unit, multipliers / unit
    values = row_values(program, point)
    if program.has_cones:
        values = values + program.signs * multipliers
    pulled = bounded_column_products(program.features, values)
    largest = jnp.max(block_norms(pulled.products)[..., 0] + pulled.error)
    shrink = 1 - sum_error(len(point), point.dtype)
    cap = shrink * program.strength / jnp.maximum(largest, jnp.finfo(point.dtype).tiny)
    scale = program.loss.best_scale(point, program.labels, program.row_weight, cap)
    return Dual(scale * point, scale * multipliers, dual_from_below(program, scale * point))


def dual_from_below(program: Program, point: jax.Array) -> jax.Array:
    """-l*(-r) less what rounding may have added: scalar.

    Its terms are r y and a conjugate that is zero at zero, so that their magnitudes sum to at most
    |-l*(-r)| + 2 sum |r y|.
    """
    value = chunked_sum(program.loss.dual_value, point, program.labels, program.row_weight)
    terms = jnp.abs(value) + 2 * jnp.vdot(jnp.abs(point), jnp.abs(program.labels))
    return jnp.where(jnp.isfinite(value), value - sum_error(len(point), value.dtype) * terms, value)


def better_dual(first: Dual, second: Dual) -> Dual:
    """The one with the larger bound; NaN loses."""
    better = (second.value > first.value) | jnp.isnan(first.value)
    return jax.tree.map(lambda a, b: jnp.where(better, b, a), first, second)


def better_primal(first: Primal, second: Primal) -> Primal:
    """The one with the smaller value; NaN loses."""
    better = (second.value < first.value) | jnp.isnan(first.value)
    return jax.tree.map(lambda a, b: jnp.where(better, b, a), first, second)


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
