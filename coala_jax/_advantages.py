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
    if kind == "rank":
        scores = -_places(scores, member)
    count = jnp.sum(member, axis=1, keepdims=True)
    several = jnp.maximum(count, 2)
    mean = jnp.sum(jnp.where(member, scores, 0), axis=1, keepdims=True) / jnp.maximum(count, 1)
    centered = jnp.where(member, scores - mean, 0)
    if kind == "standardized":
        square = jnp.sum(centered**2, axis=1, keepdims=True) / (several - 1)
        return centered / jnp.sqrt(jnp.where(square > 0, square, 1))
    if kind == "leave_one_out":
        return centered * several / (several - 1)
    if kind == "rank":
        return centered * 2 / (several - 1)
    return centered


def softmax_target(advantage: jax.Array, member: jax.Array, temperature: jax.Array) -> jax.Array:
    """softmax(A / temperature) over every group; at 0 all on the best, shared where they tie."""
    best = jnp.max(jnp.where(member, advantage, -jnp.inf), axis=1, keepdims=True)
    behind = jnp.where(member, advantage - best, 0)
    warm = jnp.where(temperature > 0, temperature, 1)
    share = jnp.where(temperature > 0, jnp.exp(behind / warm), behind == 0) * member
    total = jnp.sum(share, axis=1, keepdims=True)
    return jnp.where(member, share / jnp.where(total > 0, total, 1), 0)


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
