"""Gradients of the optimum of program (3) by implicit differentiation, gates held fixed."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax.convex._active_set import gradient, locate, solve_adjoint
from coala_jax.convex._program import Program, column_products, row_products
from coala_jax.convex.losses import Loss


class Located(NamedTuple):
    """An optimum as ADMM found it.

    Attributes:
        weights: (H, P, D) certified feasible weights.
        split: (H, P, D) split v of the last step, whose zero blocks are exactly zero.
        slack: (H, P, m) split s of the last step, exactly zero on tight rows.
        solved: scalar boolean, whether the solve met its tolerances.
    """

    weights: jax.Array
    split: jax.Array
    slack: jax.Array
    solved: jax.Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def differentiable_weights(
    loss: Loss, program: Program, strength: jax.Array, located: Located
) -> jax.Array:
    """The located weights as a function of the program and its strength: (H, P, D).

    Their value is `located.weights`; their gradient is that of the optimum of (3) with respect to
    features, labels, row weights and strength, patterns and zero blocks held fixed. NaN where the
    solve was not converged or no optimum was found on the blocks that are not zero.
    """
    return located.weights


def _forward(
    loss: Loss, program: Program, strength: jax.Array, located: Located
) -> tuple[jax.Array, tuple[Program, jax.Array, Located]]:
    return located.weights, (program, strength, located)


def _backward(
    loss: Loss, residuals: tuple[Program, jax.Array, Located], cotangent: jax.Array
) -> tuple[Program, jax.Array, None]:
    # Traced outside the solve's own precision: in TF32 the equations would not hold.
    with jax.default_matmul_precision("highest"):
        return _implicit_gradients(loss, *residuals, cotangent)


def _implicit_gradients(
    loss: Loss, program: Program, strength: jax.Array, located: Located, cotangent: jax.Array
) -> tuple[Program, jax.Array, None]:
    active, optimum, found = locate(program, loss, strength, located.split, located.slack)
    p, q = solve_adjoint(program, loss, strength, active, optimum, cotangent)

    def equations(program: Program, strength: jax.Array) -> jax.Array:
        """<p, grad f - G_T^T alpha> + <q, G_T u>, to be differentiated in the data."""
        slope = gradient(program, loss, strength, optimum.weights)
        pull = column_products(program.features, program.signs * optimum.multipliers)
        tight = program.signs * row_products(program.features, optimum.weights)
        return jnp.vdot(p, slope - pull) + jnp.vdot(q, tight)

    trusted = located.solved & found
    gradients = jax.grad(equations, argnums=(0, 1))(program, strength)
    by_program, by_strength = jax.tree.map(lambda g: jnp.where(trusted, -g, jnp.nan), gradients)
    held = {name: jnp.zeros_like(getattr(program, name)) for name in ("patterns", "halves")}
    return by_program._replace(**held), by_strength, None


differentiable_weights.defvjp(_forward, _backward)
