"""How far the Phase II objective can be above its optimum, as floating point proves it.

The objective is mean_j w_j softplus(t_j) + mu / 2 ||theta||^2 with t_j = o_j - beta a_j theta. Its
dual has a point p_j in [0, 1] a row, and the gap between the two at p_j = sigmoid(s_j) is

    ||mu theta - beta mean_j w_j p_j a_j||^2 / (2 mu) + mean_j w_j B(t_j, s_j)

where B <= (t - s)^2 / 8 is the Bregman divergence of softplus. At s = t it is ||g||^2 / (2 mu),
which strong convexity gives too (Nesterov 2018, theorem 2.1.10). A loss of groups has the same
bound with outputs for logits, its gradient for p and its curvature for 1 / 8: its conjugate too is
met at a gradient. Here s_j is the logit as computed:
what rounding does to it counts by its square. What rounding does to the sum over the rows is
bounded and added to the norm (Higham 2002, sections 3.1 and 4.2): a norm below that would prove
nothing. Neurons, offsets and weights count as exact.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._roundoff import relative_error
from coala_jax._types import Params
from coala_jax.preference._objective import Problem

# Roundings of one term beside those of its sum: sigmoid (at most 8 units in the last place), the
# products with weight, row, beta and 1 / m, the ridge and the difference.
_OF_A_TERM = 16
# A norm of its own rounding, in a bound that adds that rounding once more and squares.
_AT_ROUNDING = 4
# For the rounding of the bounds themselves.
_MARGIN = 1.01


class BlockedRows(NamedTuple):
    """Rows, or groups, of the regression in b blocks of s, b and s about the root of m.

    Sums of blocks, and then over blocks, round in proportion to b + s instead of m.

    Attributes:
        problem: (b, s, k) design, (b, s) offset and weight, or (b, s, g, k) and (b, s, g) of
            groups; rows that fill the last block are zero.
        lengths: (b, s) or (b, s, g) Euclidean norms of the rows that have weight, else 0.
        rows: m.
        neurons: scalar, columns that are not zero.
    """

    problem: Problem
    lengths: jax.Array
    rows: int
    neurons: jax.Array


class Excess(NamedTuple):
    """What is certified at some theta2; scalars.

    Attributes:
        bound: objective - optimum is at most this.
        resolution: what the bound would be if the gradient were computed as zero.
        gradient_norm: Euclidean norm of the gradient as computed.
        is_rounding: whether its share of the bound is at most four resolutions, as it is where
            the norm is below its rounding error.
    """

    bound: jax.Array
    resolution: jax.Array
    gradient_norm: jax.Array
    is_rounding: jax.Array


def in_blocks(problem: Problem, parts: int = 1) -> BlockedRows:
    """The rows of a problem, prepared for `excess_bound`.

    Args:
        problem: of Phase II.
        parts: in how many its rows lie on devices; no block has rows of two.
    """
    rows = problem.weight.shape[0]
    here = rows // parts
    size = min(math.isqrt(rows - 1) + 1, here)
    blocks = -(-here // size)

    def split(leaf: jax.Array) -> jax.Array:
        by_part = leaf.reshape(parts, here, *leaf.shape[1:])
        filled = jnp.pad(by_part, [(0, 0), (0, blocks * size - here), *[(0, 0)] * (leaf.ndim - 1)])
        return filled.reshape(parts * blocks, size, *leaf.shape[1:])

    blocked = jax.tree.map(split, problem)
    lengths = jnp.where(blocked.weight > 0, _norm(blocked.design), 0)
    neurons = jnp.sum(jnp.any(problem.design != 0, axis=tuple(range(problem.design.ndim - 1))))
    return BlockedRows(blocked, lengths, rows, neurons)


def excess_bound(
    params: Params, blocked: BlockedRows, theta2: jax.Array, value: jax.Array
) -> Excess:
    """Bound objective - optimum at (k,) theta2.

    Args:
        params: `beta` and `ridge` are read.
        blocked: rows of the problem.
        theta2: (k,).
        value: objective there; it is a bound too, since no objective is below zero.
    """
    pulled, gradient = _gradient(params, blocked, theta2)
    gradient_norm = _norm(gradient)
    in_sums, in_logits = _rounding(params, blocked, theta2, pulled)
    in_sums = in_sums + relative_error(_OF_A_TERM, theta2.dtype) * gradient_norm
    root = jnp.sqrt(2 * params.ridge)
    by_gradient = ((gradient_norm + in_sums) / root) ** 2
    resolution = (in_sums / root) ** 2 + in_logits
    return Excess(
        bound=_MARGIN * jnp.minimum(by_gradient + in_logits, value),
        resolution=resolution,
        gradient_norm=gradient_norm,
        is_rounding=by_gradient <= _AT_ROUNDING * resolution,
    )


def _gradient(
    params: Params, blocked: BlockedRows, theta2: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Minus the loss's slope of every output, w_j p_j of pairs, and the gradient, (k,)."""
    problem = blocked.problem
    design = problem.design
    with jax.default_matmul_precision("highest"):
        outputs = params.beta * jnp.einsum("...k,k->...", design, theta2)
        # Blocks are no groups of the loss.
        rows = [x.reshape(-1, *x.shape[2:]) for x in (outputs, problem.labels, problem.weight)]
        pulled = problem.loss.negative_gradient(*rows).reshape(outputs.shape)
        by_block = pulled.reshape(len(pulled), -1), design.reshape(len(pulled), -1, len(theta2))
        # The barrier keeps XLA from making one sum of the two.
        sums = lax.optimization_barrier(jnp.einsum("bs,bsk->bk", *by_block))
    return pulled, params.ridge * theta2 - params.beta * jnp.sum(sums, axis=0) / blocked.rows


def _rounding(
    params: Params, blocked: BlockedRows, theta2: jax.Array, pulled: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Bounds of the error of the gradient's sums in norm, and of mean_j w_j (t_j - s_j)^2 / 8."""
    problem, loss = blocked.problem, blocked.problem.loss
    weight, labels = problem.weight, jnp.abs(problem.labels)
    blocks, block, *members = weight.shape
    dtype, size = theta2.dtype, _norm(theta2)
    slopes, curvature, reach = pulled, loss.curvature / 2, labels
    if loss.grouped:
        # A slope is a target less a share, or as many of them as there are draws.
        draws = members[0] if loss.staged else 1
        slopes = jnp.abs(pulled) + 2 * weight * (draws if loss.staged else labels)
        curvature, reach = loss.curvature * draws, jnp.zeros_like(labels)
    pull = params.beta * jnp.sum(slopes * blocked.lengths) / blocked.rows
    terms = blocks + block * math.prod(members) + sum(members) + _OF_A_TERM
    in_sums = relative_error(terms, dtype) * (pull + params.ridge * size)
    reach = reach + params.beta * blocked.lengths * size
    moved = relative_error(blocked.neurons + _OF_A_TERM, dtype) * jnp.where(weight > 0, reach, 0)
    return in_sums, curvature * jnp.sum(weight * moved**2) / blocked.rows


def _norm(rows: jax.Array) -> jax.Array:
    """Euclidean norms along the last axis, whose squares may overflow or vanish."""
    tiny = float(jnp.finfo(rows.dtype).tiny)
    unit = jnp.clip(jnp.max(jnp.abs(rows), axis=-1), tiny, 1 / tiny)
    return unit * jnp.linalg.norm(rows / unit[..., None], axis=-1)
