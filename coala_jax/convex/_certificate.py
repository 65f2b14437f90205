"""Bounds of program (3) from both sides.

Primal: the objective at weights inside the cones; outside them it bounds nothing. Dual: with
r = -grad l(z) and alpha >= 0, (t r, t alpha) is feasible while
t ||block of F^T S^T r + G^T alpha|| <= lambda_g for every block, and -l*(-t r) is then a lower
bound; with a linear path, that less ||t X^T S^T r||^2 / (2 mu). Both belong to the program with
these gates, not to every two-layer ReLU network. Both carry an allowance for rounding, so that they
are bounds in the arithmetic that they are computed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax._roundoff import relative_error, unit_roundoff
from coala_jax.convex._program import (
    Program,
    block_norms,
    inner_product,
    network_output,
    path_output,
    path_penalty,
    row_values,
    spread_to_rows,
)
from coala_jax.convex._rounding import (
    bounded_column_products,
    chunked_sum,
    sum_error,
)
from coala_jax.convex._rows import row_lengths, row_products
from coala_jax.losses._best_scale import best_scale

# Standard deviations of the rounding of outputs, taken as independent from row to row (Higham &
# Mary 2019), that the primal bound allows for.
_DEVIATIONS = 6.0
# Roundings of a member of a group beside those of three sums over it, shares that are clipped
# among them; and of a share.
_OF_A_MEMBER = 20
_OF_A_SHARE = 4


class Primal(NamedTuple):
    """A feasible point.

    Attributes:
        weights: (H, P, D) weights inside the cones.
        linear: (d,) weights of the linear path; None without one.
        output: S (F u + X w), one value a label.
        value: objective (3) from above, scalar.
    """

    weights: jax.Array
    linear: jax.Array | None
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


def evaluated(program: Program, weights: jax.Array, linear: jax.Array | None = None) -> Primal:
    """(H, P, D) weights with the value of (3) from above; infinite where they leave their cones.

    Args:
        program: the program.
        weights: (H, P, D).
        linear: (d,) of the linear path, None without one.
    """
    products = row_products(program.features, weights)
    inside = jnp.all(program.signs * products >= 0) if program.has_cones else jnp.array(True)
    output = network_output(program, products)
    if linear is not None:
        output = output + path_output(program, linear)
    value = objective_from_above(program, weights, linear, output)
    return Primal(weights, linear, output, jnp.where(inside, value, jnp.inf))


def zero_network(program: Program) -> Primal:
    """Zero weights, (H, P, D), which are inside any cones, and a linear path of zeros."""
    output = jnp.zeros_like(program.labels)
    shape = (len(program.halves), len(program.patterns), program.features.shape[1])
    value = _loss_by_chunks(program, program.loss.value, output)
    value = value * (1 + sum_error(len(program.features), value.dtype, program.parts))
    linear = jnp.zeros(shape[-1] - 1, output.dtype) if program.has_path else None
    return Primal(jnp.zeros(shape, output.dtype), linear, output, value)


def objective_from_above(
    program: Program, weights: jax.Array, linear: jax.Array | None, output: jax.Array
) -> jax.Array:
    """The value of (3), scalar, rounding allowed for.

    Of sums in the worst case, of the products in `output` as independent errors of each row.
    """
    rows, width = program.features.shape
    norms = jnp.sum(block_norms(weights))
    value = _loss_by_chunks(program, program.loss.value, output)
    value = value + program.strength * norms + path_penalty(program, linear)
    value = value * (1 + sum_error(rows, output.dtype, program.parts))
    if linear is not None:
        norms = norms + jnp.linalg.norm(linear)
    unit = unit_roundoff(output.dtype)
    error = width**0.5 * unit * norms * jnp.max(row_lengths(program.features))
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
    if program.loss.grouped:
        point = _summing_to_zero(point)
    values = row_values(program, point)
    if program.has_cones:
        values = values + program.signs * multipliers
    pulled = bounded_column_products(program.features, values, program.parts)
    of_point, of_labels = _centring_error(program, point)
    largest = jnp.max(block_norms(pulled.products)[..., 0] + pulled.error) + of_point
    shrink = 1 - sum_error(point.size, point.dtype, program.parts)
    allowed = jnp.maximum(program.strength - of_labels, 0)
    cap = shrink * allowed / jnp.maximum(largest, jnp.finfo(point.dtype).tiny)
    scale = program.loss.best_scale(point, program.labels, program.row_weight, cap)
    pull = path_pull(program, point)
    if program.has_path:
        scale = _best_scale_with_path(program, point, pull, scale)
    value = dual_from_below(program, scale * point, scale * (pull + of_point) + of_labels)
    return Dual(scale * point, scale * multipliers, value)


def _centring_error(program: Program, point: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How far rounding may have put F^T S^T of a dual point of groups: in its unit, and of labels.

    Its sums over groups are zero, and its shares probabilities, but for rounding. The point that
    the bound is of is another by some roundings of the point, in which scales multiply, and of what
    shares are left of: by its own of every member, and by all of a group's on any one of them.
    """
    zero = jnp.zeros((), point.dtype)
    if not program.loss.grouped:
        return zero, zero
    groups, members = point.shape
    roundings = 3 * members + _OF_A_MEMBER
    if program.loss.staged:  # the sum that each level leaves may be off by those of a sum
        roundings = roundings + 2 * members * (members + _OF_A_SHARE)
    error = relative_error(roundings, point.dtype)
    lengths = row_lengths(program.features).reshape(groups, members)

    def pulled(sizes: jax.Array) -> jax.Array:
        return error * jnp.vdot(jnp.sum(sizes, axis=1), jnp.max(lengths, axis=1))

    if program.loss.shares is None:
        return pulled(jnp.abs(point)), zero
    return pulled(jnp.abs(point)), pulled(program.loss.shares(program.labels, program.row_weight))


def _summing_to_zero(point: jax.Array) -> jax.Array:
    """The point less what its groups sum to, in proportion to its sizes: no sign changes."""
    sizes = jnp.abs(point)
    total = jnp.sum(sizes, axis=1, keepdims=True)
    share = jnp.sum(point, axis=1, keepdims=True) / jnp.where(total > 0, total, 1)
    return point - sizes * share


def path_pull(program: Program, point: jax.Array) -> jax.Array:
    """||X^T S^T r|| from above, without the column of ones: scalar, zero without a linear path."""
    if not program.has_path:
        return jnp.zeros((), point.dtype)
    values = spread_to_rows(program, point)
    pulled = bounded_column_products(program.features, values, program.parts)
    return jnp.linalg.norm(pulled.products[:-1]) + pulled.error


def _best_scale_with_path(
    program: Program, point: jax.Array, pull: jax.Array, most: jax.Array
) -> jax.Array:
    """The t in [0, most] with the largest bound at t r, which is concave in t.

    Without the term of the path the best t is at least as large, so that `most` may be that one.
    """

    def value(scale: jax.Array) -> jax.Array:
        loss = program.loss.dual_value(scale * point, program.labels, program.row_weight)
        return loss - _path_term(program, scale * pull)

    return best_scale(value, most)


def _path_term(program: Program, pull: jax.Array) -> jax.Array:
    """The conjugate of mu / 2 ||w||^2 at a gradient of this norm: scalar, zero without a path."""
    if program.linear_ridge is None:
        return jnp.zeros_like(pull)
    return pull**2 / (2 * program.linear_ridge)


def dual_from_below(program: Program, point: jax.Array, pull: jax.Array) -> jax.Array:
    """-l*(-r) - ||X^T S^T r||^2 / (2 mu) less what rounding may have added: scalar.

    The terms of the first are r y and a conjugate that is zero at zero, so that their magnitudes
    sum to at most |-l*(-r)| + 2 sum |r y|.

    Args:
        program: the program.
        point: r, one value a label.
        pull: ||X^T S^T r|| from above; not read without a linear path.
    """
    value = _loss_by_chunks(program, program.loss.dual_value, point)
    terms = jnp.abs(value) + 2 * inner_product(jnp.abs(point), jnp.abs(program.labels))
    path, error = _path_term(program, pull), sum_error(point.size, value.dtype, program.parts)
    return jnp.where(jnp.isfinite(value), value - path - error * (terms + path), value)


def _loss_by_chunks(
    program: Program, terms: Callable[..., jax.Array], values: jax.Array
) -> jax.Array:
    """A sum of terms of the loss over the labels, one value a label: scalar."""
    columns = (values, program.labels, program.row_weight)
    return chunked_sum(terms, *columns, parts=program.parts)


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
