"""The linear path of the program: a ridge-penalised linear reward beside the network.

`fit_path` finds the path of a given network output by Newton's method: of no output it is the
linear probe, from which the network starts to grow. In a step of ADMM the path is eliminated from
the linear system of the u-step, `PathSystem`; its dual is

    max over r   -l*(-r) - ||X^T S^T r||^2 / (2 mu)   with the network's constraints on r as before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve

from coala_jax._line_search import step_length
from coala_jax.convex._output_penalties import OutputPenalties, weighed
from coala_jax.convex._program import (
    Program,
    from_rows,
    path_adjoint,
    path_output,
    path_penalty,
    spread_to_rows,
)
from coala_jax.convex._rounding import plain_products_error
from coala_jax.convex._rows import column_products, sum_over_rows, whole_rows

# Newton's method stops at this many roundings of the gradient at zero, unless less is asked for.
_ACCURACY = 100.0
_MAX_STEPS = 50
_MAX_HALVINGS = 20
# Rounding of a value, which a step may raise it by without being too long.
_VALUE_ROUNDINGS = 30.0
# The shift of the path's system is at least this many roundings of its largest diagonal entry and
# size, so that its factor exists; what is added is a proximal term.
_LEAST_SHIFT = 1.0


def fit_path(
    program: Program,
    base: jax.Array,
    start: jax.Array | None = None,
    *,
    tolerance: float | None = None,
) -> jax.Array:
    """The w that minimises l(base + S X w) + mu / 2 ||w||^2, by damped Newton: (d,).

    Args:
        program: has a linear path.
        base: outputs of the network, one value a label.
        start: (d,) where to begin; zero if None.
        tolerance: largest gradient norm as a share of that at zero; None for some roundings of it.
    """
    ridge = _ridge(program)

    def value(linear: jax.Array) -> jax.Array:
        return program.value(base + path_output(program, linear)) + path_penalty(program, linear)

    def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        linear, slope, steps, _ = state
        direction = -cho_solve(cho_factor(_hessian(program, base, linear)), slope)
        here, along = value(linear), jnp.vdot(slope, direction)
        noise = _VALUE_ROUNDINGS * jnp.finfo(slope.dtype).eps * jnp.abs(here)

        def rise(length: jax.Array) -> jax.Array:
            return value(linear + length * direction) - here

        length, stalled = step_length(rise, along, _MAX_HALVINGS, noise)
        linear = jnp.where(stalled, linear, linear + length * direction)
        return linear, path_slope(program, base, linear), steps + 1, stalled

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        _, slope, steps, stalled = state
        return (jnp.linalg.norm(slope) > limit) & (steps < _MAX_STEPS) & ~stalled

    zero = jnp.zeros(program.features.shape[1] - 1, ridge.dtype)
    if tolerance is None:
        tolerance = _ACCURACY * float(jnp.finfo(ridge.dtype).eps)
    limit = tolerance * jnp.linalg.norm(path_slope(program, base, zero))
    begin = zero if start is None else start
    slope = path_slope(program, base, begin)
    first: tuple[jax.Array, ...] = (begin, slope, jnp.zeros((), jnp.int32), jnp.array(False))
    return lax.while_loop(unfinished, step, first)[0]


def path_of_zero_network(program: Program) -> jax.Array | None:
    """The path that is optimal where the network is zero, the linear probe: (d,).

    Its derivative is that of the implicit function theorem. Zero where what pulls at it is below
    the rounding of its sum; None for a program without a path.
    """
    if not program.has_path:
        return None
    zero, held = jnp.zeros_like(program.labels), lax.stop_gradient(program)
    linear = fit_path(held, zero)
    # One more Newton step, its Hessian held, has that derivative.
    factor = cho_factor(_hessian(held, zero, linear))
    linear = linear - cho_solve(factor, path_slope(program, zero, linear))
    values = spread_to_rows(held, held.dual_point(zero))
    rounding = plain_products_error(held.features, values)
    return jnp.where(jnp.linalg.norm(column_products(held.features, values)) > rounding, linear, 0)


def path_slope(program: Program, base: jax.Array, linear: jax.Array) -> jax.Array:
    """Gradient of l(base + S X w) + mu / 2 ||w||^2 in w: (d,)."""
    point = program.dual_point(base + path_output(program, linear))
    return _ridge(program) * linear - path_adjoint(program, point)


def _hessian(program: Program, base: jax.Array, linear: jax.Array) -> jax.Array:
    output = base + path_output(program, linear)

    def gram(some: Program, output: jax.Array) -> jax.Array:
        rows = _path_rows(some)
        if program.loss.grouped:
            _, slopes = jax.linearize(some.dual_point, output)
            changes = jax.vmap(slopes, -1, -1)(rows.reshape(*output.shape, -1))
            return -rows.T @ changes.reshape(rows.shape)
        # Losses are sums over labels: the Jacobian of the dual point is diagonal.
        _, curvature = jax.jvp(some.dual_point, (output,), (jnp.ones_like(output),))
        return (rows * -curvature[:, None]).T @ rows

    return _shifted(_sum_over_labels(program, gram, output), _ridge(program))


def _sum_over_labels(
    program: Program, function: Callable[..., jax.Array], *values: jax.Array
) -> jax.Array:
    """A function of the program of some rows, and of values of its labels, summed over all."""

    def of_some(
        x: jax.Array, labels: jax.Array, weight: jax.Array, *values: jax.Array
    ) -> jax.Array:
        some = dataclasses.replace(program, features=x, labels=labels, row_weight=weight)
        return function(some, *values)

    known = (program.labels, program.row_weight)
    found: jax.Array = sum_over_rows(program.features, of_some, *known, *values)
    return found


class PathSystem(NamedTuple):
    """The linear path in the u-step of ADMM.

    Given the network's part, the path minimises a quadratic. With C = (mu / rho) I + X^T S^T T S X
    its minimiser moves by C^-1 X^T S^T T times what the outputs are off by, which leaves the
    network a system with the penalties T - T S X C^-1 X^T S^T T instead of T.

    Attributes:
        gram: (d, d) X^T S^T T S X.
        shift: scalar mu / rho, never so small that C could not be factorised.
        inverse: (d, d) C^-1.
    """

    gram: jax.Array
    shift: jax.Array
    inverse: jax.Array


def path_system(program: Program, outputs: OutputPenalties, penalty: jax.Array) -> PathSystem:
    """The system of a program at a rho."""

    def gram(some: Program) -> jax.Array:
        rows = _path_rows(some)
        # T mixes the sides of a pair where the loss is isotropic.
        by_label = rows.reshape(*some.labels.shape, -1)
        weighted = jax.vmap(lambda column: weighed(some, outputs, column), -1, -1)(by_label)
        return rows.T @ weighted.reshape(rows.shape)

    return at_penalty(program, _sum_over_labels(program, gram), penalty)


def at_penalty(program: Program, gram: jax.Array, penalty: jax.Array) -> PathSystem:
    """The system of a Gram matrix at a rho."""
    shift = _ridge(program) / penalty
    shifted = _shifted(gram, shift)
    identity = jnp.eye(gram.shape[0], dtype=gram.dtype)
    return PathSystem(gram, shift, cho_solve(cho_factor(shifted), identity))


def path_move(
    program: Program,
    outputs: OutputPenalties,
    system: PathSystem,
    gap: jax.Array,
    linear: jax.Array | None = None,
) -> jax.Array:
    """How the path's minimiser moves where the outputs are off by `gap`: (d,).

    Args:
        program: the program.
        outputs: penalties T.
        system: of the path.
        gap: one value a label.
        linear: where the path is, whose penalty pulls; None for the move of the minimiser alone.
    """
    right = path_adjoint(program, weighed(program, outputs, gap))
    if linear is not None:
        right = right - system.shift * linear
    return right @ system.inverse


def with_path(
    program: Program, outputs: OutputPenalties, system: PathSystem | None, output: jax.Array
) -> tuple[jax.Array, jax.Array | None]:
    """What is left of outputs of the network once the path has moved against them, and that move.

    z - S X C^-1 X^T S^T T z, one value a label, and -C^-1 X^T S^T T z, (d,); z and None without a
    path.
    """
    if system is None:
        return output, None
    move = -path_move(program, outputs, system, output)
    return output + path_output(program, move), move


def _path_rows(program: Program) -> jax.Array:
    """S X of whole rows, without the column of ones: (l, d), a row for each of the l labels."""
    return from_rows(program, whole_rows(program.features)[:, :-1]).reshape(program.labels.size, -1)


def _shifted(gram: jax.Array, shift: jax.Array) -> jax.Array:
    """A positive semidefinite matrix plus a multiple of the identity that makes it definite."""
    size = gram.shape[0]
    rounding = _LEAST_SHIFT * size * jnp.finfo(gram.dtype).eps * jnp.max(jnp.diagonal(gram))
    return gram + jnp.maximum(shift, rounding) * jnp.eye(size, dtype=gram.dtype)


def _ridge(program: Program) -> jax.Array:
    assert program.linear_ridge is not None  # a program with a linear path
    return program.linear_ridge
