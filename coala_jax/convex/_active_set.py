"""The equations that hold at an optimum of program (3), on its active set.

Blocks that are zero stay zero, and rows that are tight stay tight; on what is left the objective
is smooth, and the optimum solves

    grad f(u) = G_T^T alpha,    G_T u = 0,    f(u) = l(S F u) + lambda_g sum_i ||u_i||,

T the tight rows; the linear path w, with its ridge, is free. `newton` solves them from a point
nearby to the accuracy of the arithmetic, and `solve_adjoint` their transposed linearisation, which
implicit differentiation needs. Per block the orthogonal projector onto the null space of the tight
rows is formed once, so that conjugate gradients on that subspace do both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.sparse.linalg import cg

from coala_jax.convex._program import (
    Program,
    block_norms,
    network_output,
    output_adjoint,
    path_adjoint,
    path_output,
)
from coala_jax.convex._rows import row_products

# Eigenvalues of the Gram matrix of the tight rows below this many roundings of the largest one
# are zero: their eigenvectors span the null space.
_RANK_ROUNDINGS = 100.0
_NEWTON_STEPS = 6
# Guesses of the tight rows after ADMM's own.
_GUESSES = 10
# The optimality equations must hold to this power of the dtype's resolution, and no multiplier or
# slack of the wrong sign may exceed it.
_TRUST_POWER = 0.4
# Conjugate gradients stop at this many roundings of the right side.
_ACCURACY = 10.0
_CG_STEPS_PER_UNKNOWN = 2


class Weights(NamedTuple):
    """All unknowns of a program.

    Attributes:
        blocks: (H, P, D) u.
        linear: (d,) w of the linear path; None without one.
    """

    blocks: jax.Array
    linear: jax.Array | None


class ActiveSet(NamedTuple):
    """What is free to move at an optimum.

    Attributes:
        blocks: (H, P) booleans, blocks that are not zero.
        tight: (H, P, m) booleans, rows of those blocks on the boundary of their cone.
        null: (H, P, D, D) orthogonal projectors onto the null space of the tight rows; zero for a
            zero block.
        inverse: (H, P, D, D) pseudo-inverses of X_T^T X_T.
    """

    blocks: jax.Array
    tight: jax.Array
    null: jax.Array
    inverse: jax.Array


class Optimum(NamedTuple):
    """A solution of the optimality equations.

    Attributes:
        weights: u and w.
        multipliers: (H, P, m) alpha, zero where a row is not tight.
        residual: scalar, ||grad f - G_T^T alpha|| over lambda_g sqrt(active blocks).
    """

    weights: Weights
    multipliers: jax.Array
    residual: jax.Array


def find_active_set(program: Program, weights: jax.Array, slack: jax.Array) -> ActiveSet:
    """The active set that ADMM has identified.

    Args:
        program: the program.
        weights: (H, P, D) split v, whose zero blocks are exactly zero.
        slack: (H, P, m) split s, exactly zero on tight rows; not read without cones.
    """
    return active_set(program, jnp.any(weights != 0, axis=-1), (slack == 0) & program.has_cones)


def active_set(program: Program, blocks: jax.Array, tight: jax.Array) -> ActiveSet:
    """An active set from its (H, P) blocks and the (H, P, m) rows that are tight in them."""
    features = program.features
    assert isinstance(features, jax.Array)  # compact rows have no gradients
    width = features.shape[1]
    tight = tight & blocks[..., None]

    def one_block(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        picked = jnp.where(rows[:, None], features, 0)
        values, vectors = jnp.linalg.eigh(picked.T @ picked)
        cut = _RANK_ROUNDINGS * jnp.finfo(values.dtype).eps * jnp.max(values)
        zero = values <= cut
        null = (vectors * zero) @ vectors.T
        return null, (vectors * jnp.where(zero, 0, 1 / jnp.where(zero, 1, values))) @ vectors.T

    null, inverse = lax.map(one_block, tight.reshape(-1, tight.shape[-1]))
    shape = (*blocks.shape, width, width)
    null = jnp.where(blocks[..., None, None], null.reshape(shape), 0)
    return ActiveSet(blocks, tight, null, inverse.reshape(shape))


def gradient(program: Program, weights: Weights) -> Weights:
    """Gradient of f on the blocks that are not zero, zero on the others, and on the path."""
    blocks, linear = weights
    point = program.dual_point(_output(program, weights))
    used = jnp.any(blocks != 0, axis=-1, keepdims=True)
    lasso = program.strength * blocks / block_norms(blocks, at_zero=1)
    slope = jnp.where(used, lasso - output_adjoint(program, point), 0)
    if linear is None or program.linear_ridge is None:
        return Weights(slope, None)
    return Weights(slope, program.linear_ridge * linear - path_adjoint(program, point))


def newton(program: Program, active: ActiveSet, weights: Weights) -> Optimum:
    """Solve the optimality equations from weights near their solution."""

    def step(_: int, weights: Weights) -> Weights:
        residual = gradient(program, weights)
        return _minus(weights, _solve(program, active, weights, residual))

    start = _project(active, weights)
    found = lax.fori_loop(0, _NEWTON_STEPS, step, start)
    slope = gradient(program, found)
    size = program.strength * jnp.sqrt(jnp.maximum(jnp.sum(active.blocks), 1))
    residual = _norm(_project(active, slope)) / size
    return Optimum(found, tight_values(program, active, slope.blocks), residual)


def locate(
    program: Program, weights: Weights, slack: jax.Array
) -> tuple[ActiveSet, Optimum, jax.Array]:
    """The optimum near an iterate of ADMM, by the primal-dual active set method.

    Newton on a guess of the tight rows, then a better guess: rows with a multiplier of the wrong
    sign are let go, rows outside their cone are made tight (Hintermüller, Ito & Kunisch 2002). A
    block that vanishes, and that ADMM had nearly at zero, is zero.

    Args:
        program: the program.
        weights: split v, whose zero blocks are exactly zero, and w.
        slack: (H, P, m) split s, exactly zero on tight rows.

    Returns:
        The active set, the optimum, and whether all conditions of an optimum hold on its blocks.
    """
    trust = jnp.finfo(slack.dtype).eps ** _TRUST_POWER
    first = find_active_set(program, weights.blocks, slack)
    norms = block_norms(weights.blocks)[..., 0]
    nearly_zero = norms <= trust * jnp.max(norms)

    def vanished(active: ActiveSet, optimum: Optimum) -> jax.Array:
        return active.blocks & ~jnp.any(optimum.weights.blocks != 0, axis=-1)

    def violations(optimum: Optimum) -> tuple[jax.Array, jax.Array]:
        products = program.signs * row_products(program.features, optimum.weights.blocks)
        outside = products < -trust * jnp.max(jnp.abs(products))
        return outside & program.has_cones, optimum.multipliers < -trust * program.strength

    def unfinished(state: tuple[ActiveSet, Optimum, jax.Array, jax.Array]) -> jax.Array:
        _, _, found, guesses = state
        return ~found & (guesses < _GUESSES)

    def guess(
        state: tuple[ActiveSet, Optimum, jax.Array, jax.Array],
    ) -> tuple[ActiveSet, Optimum, jax.Array, jax.Array]:
        active, optimum, _, guesses = state
        outside, pulled = violations(optimum)
        blocks = active.blocks & ~(vanished(active, optimum) & nearly_zero)
        active = active_set(program, blocks, (active.tight & ~pulled) | outside)
        return judged(active, guesses + 1)

    def judged(
        active: ActiveSet, guesses: jax.Array
    ) -> tuple[ActiveSet, Optimum, jax.Array, jax.Array]:
        optimum = newton(program, active, weights)
        outside, pulled = violations(optimum)
        right = ~jnp.any(outside) & ~jnp.any(pulled) & ~jnp.any(vanished(active, optimum))
        found = right & (optimum.residual <= trust)
        return active, optimum, found, guesses

    state = judged(first, jnp.zeros((), jnp.int32))
    active, optimum, found, _ = lax.while_loop(unfinished, guess, state)
    return active, optimum, found


def solve_adjoint(
    program: Program, active: ActiveSet, optimum: Optimum, right: Weights
) -> tuple[Weights, jax.Array]:
    """(p, q) with Hess f p + G_T^T q = right on the active blocks and G_T p = 0.

    Args:
        program: the program.
        active: the active set.
        optimum: from `newton`.
        right: shaped as the weights.

    Returns:
        p, shaped as the weights, and q, (H, P, m).
    """
    weights = optimum.weights
    p = _solve(program, active, weights, right)
    rest = _minus(right, _hessian(program, weights)(p))
    return p, tight_values(program, active, rest.blocks)


def tight_values(program: Program, active: ActiveSet, blocks: jax.Array) -> jax.Array:
    """Least-squares q on the tight rows with G_T^T q = blocks: (H, P, D) -> (H, P, m)."""
    pulled = jnp.einsum("hpde,hpe->hpd", active.inverse, blocks)
    return jnp.where(active.tight, program.signs * row_products(program.features, pulled), 0)


def _output(program: Program, weights: Weights) -> jax.Array:
    """S (F u + X w), one value a label."""
    output = network_output(program, row_products(program.features, weights.blocks))
    return output + path_output(program, weights.linear)


def _project(active: ActiveSet, weights: Weights) -> Weights:
    return weights._replace(blocks=jnp.einsum("hpde,hpe->hpd", active.null, weights.blocks))


def _minus(first: Weights, second: Weights) -> Weights:
    return jax.tree.map(jnp.subtract, first, second)


def _times(scale: jax.Array, weights: Weights) -> Weights:
    return jax.tree.map(lambda leaf: scale * leaf, weights)


def _norm(weights: Weights) -> jax.Array:
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(weights)))


def _hessian(program: Program, weights: Weights) -> Callable[[Weights], Weights]:
    """Hess f at weights as a function of a direction; zero blocks are left alone."""
    output = _output(program, weights)
    used = jnp.any(weights.blocks != 0, axis=-1, keepdims=True)
    norms = block_norms(weights.blocks, at_zero=1)
    unit = weights.blocks / norms

    def apply(direction: Weights) -> Weights:
        _, change = jax.jvp(program.dual_point, (output,), (_output(program, direction),))
        along = jnp.sum(unit * direction.blocks, axis=-1, keepdims=True)
        lasso = program.strength / norms * (direction.blocks - along * unit)
        blocks = jnp.where(used, lasso - output_adjoint(program, change), 0)
        if direction.linear is None or program.linear_ridge is None:
            return Weights(blocks, None)
        linear = program.linear_ridge * direction.linear - path_adjoint(program, change)
        return Weights(blocks, linear)

    return apply


def _solve(program: Program, active: ActiveSet, weights: Weights, right: Weights) -> Weights:
    """Minimiser of p^T Hess p / 2 - right^T p in the null space of the tight rows."""
    hessian = _hessian(program, weights)

    def apply(p: Weights) -> Weights:
        inside = _project(active, p)
        # The rest of the space keeps its own, so that rounding outside is no null direction.
        outside = _times(program.strength, _minus(p, inside))
        return jax.tree.map(jnp.add, _project(active, hessian(inside)), outside)

    # A right side that is nearly all outside is known to its own rounding, not to its share inside.
    size = _norm(right)
    size = jnp.where(size > 0, size, 1)
    solution, _ = cg(
        apply,
        _times(1 / size, _project(active, right)),
        tol=0.0,
        atol=_ACCURACY * float(jnp.finfo(size.dtype).eps),
        maxiter=_CG_STEPS_PER_UNKNOWN * sum(leaf.size for leaf in jax.tree.leaves(right)),
    )
    return _times(size, _project(active, solution))
