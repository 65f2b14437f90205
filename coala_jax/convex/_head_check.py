"""Whether the head in hand is the network that was certified: `confirmed_status`.

A certificate speaks of weights on standardised rows. The head runs on raw ones instead, with the
scale folded in, and on some data rounding makes it another network: a row on a gate's hyperplane
may be on either side of it, or a weight overflows. What counts is what the head gives.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax._status import Status
from coala_jax._types import Params
from coala_jax.convex._certificate import zero_network
from coala_jax.convex._certified_loop import CronosResult
from coala_jax.convex._program import (
    Program,
    from_rows,
    loss_curvature,
    spread_to_rows,
)
from coala_jax.convex._rows import map_rows, row_products

# Outputs may be off by this share, both in root mean square; in float32 they are off by 1e-7.
_OUTPUT_SHARE = 1e-3
# The objective may rise by this share of what the tolerances of gap and explained share allow.
_TOLERANCE_SHARE = 0.01
# A row is next to a gate where the product is less than so many times sqrt(D) roundings of terms
# of its size: a sum of D terms is off by sqrt(D) of them or so.
_ROUNDINGS = 4.0
_CLAIMS = (Status.SOLVED, Status.SOLVED_INACCURATE, Status.SOLVED_WITHOUT_GAP)


def claims_a_network(status: jax.Array) -> jax.Array:
    """Whether a status says that the network was solved for, in whatever way."""
    return jnp.isin(status, jnp.asarray(_CLAIMS))


def confirmed_status(
    params: Params, program: Program, result: CronosResult, rewards: jax.Array, doubt: jax.Array
) -> jax.Array:
    """The status of a result, or `HEAD_DIFFERS` where its head does not bear the claim out.

    Args:
        params: `gap_tolerance` and `explained_minimum` are read.
        program: the program.
        result: of it, with a status that claims something.
        rewards: (m,) what the head gives the raw rows, those of pairs without weight too.
        doubt: how far outputs may move, from `doubt_at_gates`.
    """
    counts = program.row_weight > 0
    certified = jnp.where(counts, result.primal.output, 0)
    output = jnp.where(counts, from_rows(program, rewards), 0)
    doubt = jnp.where(counts, doubt, 0)
    off = jnp.abs(output - certified) + doubt
    near = jnp.linalg.norm(off) <= _OUTPUT_SHARE * jnp.linalg.norm(certified)
    rise = _most_rise(program, certified, output, doubt)
    confirmed = near & (rise <= _TOLERANCE_SHARE * _allowance(params, program, result))
    return jnp.where(confirmed, result.status, Status.HEAD_DIFFERS).astype(jnp.int32)


def doubt_at_gates(program: Program, gates: jax.Array, weights: jax.Array) -> jax.Array:
    """How far an output may move where rounding opens or closes a gate: one value a label.

    On which side of a hyperplane a row next to it is may depend on the rows beside it in a batch.
    A ReLU network is continuous there, a gated one is not.

    Args:
        program: the program.
        gates: (P, D) gate vectors.
        weights: (H, P, D) weights.
    """
    if program.has_cones:
        return jnp.zeros_like(program.labels)
    width = program.features.shape[1]
    rounding = _ROUNDINGS * jnp.finfo(weights.dtype).eps * jnp.sqrt(width)

    def moves(x: jax.Array) -> jax.Array:
        sizes = jnp.sqrt(row_products(x**2, gates**2))
        near = jnp.abs(row_products(x, gates)) < rounding * sizes
        return jnp.sum(jnp.where(near, jnp.abs(row_products(x, weights[0])), 0), axis=0)

    moved = map_rows(program.features, moves)
    if program.loss.grouped:
        member = program.row_weight > 0
        by_group = jnp.where(member, moved.reshape(program.labels.shape), 0)
        count = jnp.maximum(jnp.sum(member, axis=1, keepdims=True), 1)
        return by_group + jnp.sum(by_group, axis=1, keepdims=True) / count
    # With the sign of its side: the doubts of a pair add up.
    return from_rows(program, moved * spread_to_rows(program, jnp.ones_like(program.labels)))


def _most_rise(
    program: Program, certified: jax.Array, output: jax.Array, doubt: jax.Array
) -> jax.Array:
    """How much the loss may rise from the certified outputs to others that are in doubt: scalar."""
    if not program.loss.grouped:
        ends = (_rises(program, certified, end) for end in (output - doubt, output + doubt))
        return jnp.sum(jnp.maximum(*ends))
    # Members move each other's slopes, by no more than the curvature lets them.
    off = jnp.abs(output - certified) + doubt
    steeper = 2 * loss_curvature(program) * jnp.sum(off, axis=1, keepdims=True)
    slope = jnp.abs(program.dual_point(output)) + program.row_weight * steeper
    return jnp.sum(slope * off)


def _rises(program: Program, certified: jax.Array, output: jax.Array) -> jax.Array:
    """Upper bounds of how much each label's loss rises from one output to another.

    A convex l rises by at most l'(output) (output - certified), which does not cancel as the
    difference of two sums of losses does.
    """
    return program.dual_point(output) * (certified - output)


def _allowance(params: Params, program: Program, result: CronosResult) -> jax.Array:
    """How far above its bound the tolerances let the objective be: a scalar."""
    bound, zero_value = result.dual.value, zero_network(program).value
    gap = params.gap_tolerance * jnp.abs(bound)
    unexplained = (1 - params.explained_minimum) * (zero_value - bound)
    # Without a strength there is no bound but zero.
    without_gap = params.gap_tolerance * zero_value
    return jnp.where(program.strength == 0, without_gap, jnp.minimum(gap, unexplained))
