"""Gradients of the optimum of program (3) by implicit differentiation, gates held fixed."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax._gradients import once_differentiable
from coala_jax._row_blocks import NO_GRADIENT
from coala_jax.convex._active_set import Weights, gradient, locate, solve_adjoint
from coala_jax.convex._program import Program
from coala_jax.convex._rows import CompactRows, column_products, row_products


class Located(NamedTuple):
    """An optimum as ADMM found it.

    Attributes:
        weights: certified feasible weights.
        split: split v of the last step, whose zero blocks are exactly zero, and its path.
        slack: (H, P, m) split s of the last step, exactly zero on tight rows.
        solved: scalar boolean, whether the solve met its tolerances.
    """

    weights: Weights
    split: Weights
    slack: jax.Array
    solved: jax.Array


@jax.custom_vjp
def differentiable_weights(program: Program, located: Located) -> Weights:
    """The located weights as a function of the program, its strengths included.

    Their value is `located.weights`; their gradient is that of the optimum of (3) with respect to
    features, labels, row weights, strength and ridge, patterns and zero blocks held fixed. NaN
    where the solve was not converged or no optimum was found on the blocks that are not zero.
    """
    return located.weights


def _forward(program: Program, located: Located) -> tuple[Weights, tuple[Program, Located]]:
    return located.weights, once_differentiable((program, located))


def _backward(residuals: tuple[Program, Located], cotangent: Weights) -> tuple[Program, None]:
    if isinstance(residuals[0].features, CompactRows):
        raise TypeError(NO_GRADIENT)
    # Traced outside the solve's own precision: in TF32 the equations would not hold.
    with jax.default_matmul_precision("highest"):
        return _implicit_gradients(*residuals, cotangent)


def _implicit_gradients(
    program: Program, located: Located, cotangent: Weights
) -> tuple[Program, None]:
    active, optimum, found = locate(program, located.split, located.slack)
    p, q = solve_adjoint(program, active, optimum, cotangent)

    def equations(program: Program) -> jax.Array:
        """<p, grad f - G_T^T alpha> + <q, G_T u>, to be differentiated in the data."""
        slope = gradient(program, optimum.weights)
        pull = column_products(program.features, program.signs * optimum.multipliers)
        tight = program.signs * row_products(program.features, optimum.weights.blocks)
        total = jnp.vdot(p.blocks, slope.blocks - pull) + jnp.vdot(q, tight)
        if p.linear is not None and slope.linear is not None:
            total = total + jnp.vdot(p.linear, slope.linear)
        return total

    trusted = located.solved & found
    by_program = jax.tree.map(
        lambda g: jnp.where(trusted, -g, jnp.nan), jax.grad(equations)(program)
    )
    return dataclasses.replace(by_program, patterns=jnp.zeros_like(program.patterns)), None


differentiable_weights.defvjp(_forward, _backward)
