"""The linear system of the ADMM u-step: preconditioned conjugate gradients on half the unknowns.

With one penalty for all three splits the system is (S + G^T G + F^T F) u = b, S = shift I.
E_i^2 = I makes G^T G = I (x) X^T X, so that K = shift I + X^T X appears once per block, and in
the coordinates a = (v - w)/sqrt 2, b = (v + w)/sqrt 2 the output F sees a alone:

    K b_i = right side                        (a Cholesky solve)
    (I (x) K + 2 M^T M) a = right side        (conjugate gradients preconditioned by I (x) K)

with M a = sum_i D_i X a_i. The preconditioned condition number is at most 1 + 2 g, g the most
gates that are active on one row.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_solve

from coala_jax.convex.program import Program, column_products, row_products

# Weight of the split u = v relative to G u = s, as a share of the mean square of a standardised
# feature (m): measured on the shared features, 0.01 to 0.1 need the fewest steps, 0.03 the fewest
# CG steps as well.
SPLIT_SHARE = 0.03


class LinearSystem(NamedTuple):
    """Factorisation that all steps of one solve share; it does not depend on rho.

    Attributes:
        shift: scalar, SPLIT_SHARE * m.
        matrix: (D, D) K = shift I + X^T X.
        factor: (D, D) lower Cholesky factor of K.
    """

    shift: jax.Array
    matrix: jax.Array
    factor: jax.Array


def factorize(features: jax.Array) -> LinearSystem:
    """Gram matrix and Cholesky factor of (m, D) rows."""
    rows, width = features.shape
    shift = jnp.asarray(SPLIT_SHARE * rows, features.dtype)
    matrix = features.T @ features + shift * jnp.eye(width, dtype=features.dtype)
    return LinearSystem(shift, matrix, jnp.linalg.cholesky(matrix))


def solve_blocks(system: LinearSystem, right: jax.Array) -> jax.Array:
    """K^-1 on every block: (..., D) -> (..., D)."""
    flat = right.reshape(-1, right.shape[-1])
    return cho_solve((system.factor, True), flat.T).T.reshape(right.shape)


class CGResult(NamedTuple):
    """Solution (P, D) of the difference system and the conjugate-gradient steps it took."""

    solution: jax.Array
    iterations: jax.Array


def solve_differences(
    program: Program,
    system: LinearSystem,
    right: jax.Array,
    start: jax.Array,
    tolerance: jax.Array,
    max_iterations: int,
) -> CGResult:
    """Solve (I (x) K + 2 M^T M) a = right by conjugate gradients preconditioned by K.

    Args:
        program: the program whose patterns and features make M.
        system: factorisation of K.
        right: (P, D) right side.
        start: (P, D) warm start.
        tolerance: scalar; stops when the residual's K^-1 norm is below it.
        max_iterations: cap of steps.
    """

    def apply(a: jax.Array) -> jax.Array:
        output = jnp.sum(program.patterns * row_products(program.features, a), axis=0)
        coupled = column_products(program.features, program.patterns * output)
        return a @ system.matrix + 2 * coupled

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        *_, energy, iterations = state
        return (energy > tolerance**2) & (iterations < max_iterations)

    def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        a, residual, direction, energy, iterations = state
        image = apply(direction)
        length = energy / jnp.vdot(direction, image)
        a = a + length * direction
        residual = residual - length * image
        preconditioned = solve_blocks(system, residual)
        new_energy = jnp.vdot(residual, preconditioned)
        direction = preconditioned + new_energy / energy * direction
        return a, residual, direction, new_energy, iterations + 1

    residual = right - apply(start)
    preconditioned = solve_blocks(system, residual)
    energy = jnp.vdot(residual, preconditioned)
    first: tuple[jax.Array, ...] = (
        start,
        residual,
        preconditioned,
        energy,
        jnp.zeros((), jnp.int32),
    )
    a, _, _, _, iterations = lax.while_loop(unfinished, step, first)
    return CGResult(a, iterations)
