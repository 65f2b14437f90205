"""Metrics of rewards on preference pairs, under TRL's names."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax._accuracy import pairwise_accuracy
from coala_jax._advantages import ordered_members
from coala_jax._group_inputs import GroupArrays
from coala_jax._relative_weights import over_their_mean
from coala_jax._solution import RewardMetrics


@jax.jit
def reward_metrics(
    chosen: jax.Array,
    rejected: jax.Array,
    *,
    loss: jax.Array,
    log_loss: jax.Array,
    beta: jax.Array | float,
    weight: jax.Array | None = None,
) -> RewardMetrics:
    """Metrics of (n,) rewards of chosen and rejected responses.

    Args:
        chosen: (n,) rewards, any floats.
        rejected: (n,) rewards.
        loss: scalar to be carried along, as rewards alone do not say it (`evaluate` does).
        log_loss: scalar to be carried along likewise.
        beta: reward scale inside the sigmoid.
        weight: (n,) weights of the pairs, or None for 1 each; as `PreferenceFeatures` has them.

    Returns:
        The metrics; those of rewards are NaN where a reward or the weights are.

    Example:
        >>> import jax.numpy as jnp
        >>> from coala_jax.preference import reward_metrics
        >>> chosen, rejected = jnp.array([1.0, 2.0]), jnp.array([0.0, 3.0])
        >>> metrics = reward_metrics(chosen, rejected, loss=jnp.inf, log_loss=jnp.inf, beta=1.0)
        >>> float(metrics.accuracy)
        0.5
    """
    weight = jnp.ones_like(chosen) if weight is None else over_their_mean(weight, chosen.dtype)
    return weighted_metrics(chosen, rejected, weight, loss=loss, log_loss=log_loss, beta=beta)


def ordered_metrics(
    rewards: jax.Array,
    groups: GroupArrays,
    *,
    loss: jax.Array,
    log_loss: jax.Array,
    beta: jax.Array | float,
) -> RewardMetrics:
    """`reward_metrics` of (n, g) rewards of groups, over pairs of members with different scores.

    Each group counts as much as its weight, whatever the number of its pairs.
    """
    ordered = ordered_members(groups.level, groups.member > 0)
    pairs = jnp.sum(ordered, axis=(1, 2))
    share = groups.weight / jnp.where(pairs > 0, pairs, 1)
    weight = jnp.where(ordered, share[:, None, None], 0)
    better, worse = jnp.broadcast_arrays(rewards[:, :, None], rewards[:, None, :])
    # Weights of mean 1 over all places of a pair.
    weight = weight.ravel() * weight.size / jnp.sum(groups.weight)
    return weighted_metrics(
        better.ravel(), worse.ravel(), weight, loss=loss, log_loss=log_loss, beta=beta
    )


def weighted_metrics(
    chosen: jax.Array,
    rejected: jax.Array,
    weight: jax.Array,
    *,
    loss: jax.Array,
    log_loss: jax.Array,
    beta: jax.Array | float,
) -> RewardMetrics:
    """`reward_metrics` by (n,) weights of mean 1."""
    margin = jnp.mean(weight * (chosen - rejected))
    sigmoids = jax.nn.sigmoid(beta * chosen) - jax.nn.sigmoid(beta * rejected)
    accuracy = jnp.mean(weight * pairwise_accuracy(chosen, rejected))
    return RewardMetrics(
        loss=loss,
        log_loss=log_loss,
        reward_margin=margin,
        sigmoid_margin=jnp.mean(weight * sigmoids),
        # No order of NaN is a wrong one.
        accuracy=jnp.where(jnp.isnan(margin), margin, accuracy),
    )
