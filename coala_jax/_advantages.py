"""Scores of a group's members as advantages over the group, targets and levels: (n, k) arrays.

Members that are missing have 0 everywhere.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

Advantage = Literal["centered", "standardized", "leave_one_out", "rank"]


def advantages(scores: jax.Array, member: jax.Array, kind: Advantage) -> jax.Array:
    """Scores less what the group has, which sum to zero over every group.

    Args:
        scores: (n, k), finite where a member is.
        member: (n, k) booleans.
        kind: `"centered"`, less the mean (Dr. GRPO, arXiv 2503.20783); `"standardized"`, that over
            the sample standard deviation, of g - 1 degrees of freedom as TRL has it (GRPO, arXiv
            2402.03300), 0 where all are equal; `"leave_one_out"`, less the mean of the others
            (RLOO, arXiv 2402.14740); `"rank"`, by order alone, from 1 of the best to -1 of the
            last, the mean of their places for those that tie.
    """
    behind = behind_best(scores, member, kind)
    count = jnp.sum(member, axis=1, keepdims=True)
    mean = jnp.sum(behind, axis=1, keepdims=True) / jnp.maximum(count, 1)
    return jnp.where(member, behind - mean, 0)


def behind_best(scores: jax.Array, member: jax.Array, kind: Advantage) -> jax.Array:
    """`advantages` less that of the best of the group: their differences before a mean rounds them.

    A member that is far behind makes that mean large, and the others equal beside it.
    """
    if kind == "rank":
        scores = -_places(scores, member)
    several = jnp.maximum(jnp.sum(member, axis=1, keepdims=True), 2)
    best = jnp.max(jnp.where(member, scores, -jnp.inf), axis=1, keepdims=True)
    behind = jnp.where(member, scores - best, 0)
    if kind == "standardized":
        # In units of the largest one no square overflows or vanishes.
        unit = jnp.max(jnp.abs(behind), axis=1, keepdims=True)
        behind = behind / jnp.where(unit > 0, unit, 1)
        mean = jnp.sum(behind, axis=1, keepdims=True) / several
        square = jnp.sum(jnp.where(member, behind - mean, 0) ** 2, axis=1, keepdims=True)
        square = square / (several - 1)
        return behind / jnp.sqrt(jnp.where(square > 0, square, 1))
    if kind == "leave_one_out":
        return behind * (several / (several - 1))
    if kind == "rank":
        return behind * (2 / (several - 1))
    return behind


def softmax_target(
    behind: jax.Array, best: jax.Array, member: jax.Array, temperature: jax.Array
) -> jax.Array:
    """softmax(A / temperature) over every group; at 0 all on the best, shared where they tie.

    Args:
        behind: (n, k) from `behind_best`.
        best: (n, k) booleans, whose score none is above; what `behind` is may be too little to say.
        member: (n, k) booleans.
        temperature: scalar.
    """
    warm = jnp.where(temperature > 0, temperature, 1)
    share = jnp.where(temperature > 0, jnp.exp(behind / warm), best) * member
    total = jnp.sum(share, axis=1, keepdims=True)
    return share / jnp.where(total > 0, total, 1)


def less_group_mean(values: jax.Array, member: jax.Array) -> jax.Array:
    """Values of members less the mean of their group, 0 of who is missing: (n, k, ...), (n, k)."""
    member = member.reshape(*member.shape, *(1,) * (values.ndim - 2)).astype(values.dtype)
    count = jnp.maximum(jnp.sum(member, axis=1, keepdims=True), 1)
    return member * (values - jnp.sum(member * values, axis=1, keepdims=True) / count)


def ordered_members(level: Any, member: Any) -> Any:
    """Whether the first of two members has the higher score: (n, k) levels, booleans -> (n, k, k).

    Of arrays of numpy or jax, as booleans of the same.
    """
    above = level[:, :, None] < level[:, None, :]
    return above & member[:, :, None] & member[:, None, :]


def rank_levels(scores: Any, member: Any) -> Any:
    """How many different scores of a group are above each member's, 0 of the best: (n, k) integers.

    Of arrays of numpy by numpy, in their own precision.
    """
    xp: Any = np if isinstance(scores, np.ndarray) and isinstance(member, np.ndarray) else jnp
    above = member[:, None, :] & (scores[:, None, :] > scores[:, :, None])
    # Of members that tie the first one counts.
    k = scores.shape[1]
    same = scores[:, None, :] == scores[:, :, None]
    earlier = xp.tril(xp.ones((k, k), bool), -1) & same & member[:, None, :]
    first = member & ~xp.any(earlier, axis=2)
    return xp.where(member, xp.sum(above & first[:, None, :], axis=2), 0)


def _places(scores: jax.Array, member: jax.Array) -> jax.Array:
    """Places from 0 of the best, the mean of theirs for members that tie: (n, k) -> (n, k)."""
    others = member[:, None, :]
    above = jnp.sum(others & (scores[:, None, :] > scores[:, :, None]), axis=2)
    same = jnp.sum(others & (scores[:, None, :] == scores[:, :, None]), axis=2)
    return jnp.where(member, above + (same - 1) / 2, 0).astype(scores.dtype)
