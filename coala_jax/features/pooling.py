"""Pooling: hidden states of a response's tokens to one vector."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from coala_jax.features.errors import FeatureError

# Joins the names of several poolings, whose vectors are concatenated.
JOINT = "+"


def mean_of_response(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of the hidden states over the response tokens.

    Args:
        hidden: (batch, length, width).
        mask: (batch, length) booleans, true at response tokens.

    Returns:
        (batch, width) float32 at least; zeros for a row without response tokens.
    """
    weight = mask.astype(jnp.promote_types(hidden.dtype, jnp.float32))[..., None]
    # where, not only a product: what stands at padding must not reach the sum, NaN included.
    total = jnp.where(weight > 0, hidden, 0.0).astype(weight.dtype).sum(1)
    return total / jnp.maximum(weight.sum(1), 1.0)


def last_of_response(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    """Hidden state of the last response token.

    Args:
        hidden: (batch, length, width).
        mask: (batch, length) booleans, true at response tokens.

    Returns:
        (batch, width) float32 at least; the first position's for a row without response tokens.
    """
    last = (jnp.arange(mask.shape[1]) * mask).max(1)
    chosen = jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
    return chosen.astype(jnp.promote_types(hidden.dtype, jnp.float32))


POOLINGS: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "mean": mean_of_response,
    "last": last_of_response,
}


def pooling_parts(pooling: str) -> tuple[str, ...]:
    """The single poolings of a name such as ``mean+last``.

    Raises:
        FeatureError: a part that is unknown or named twice.
    """
    parts = tuple(pooling.split(JOINT))
    if any(part not in POOLINGS for part in parts) or len(set(parts)) < len(parts):
        raise FeatureError(
            f"pooling={pooling!r} is not known; choose {', '.join(POOLINGS)} or several, each "
            f"once, joined by {JOINT!r}, such as 'mean+last'"
        )
    return parts


def pool(hidden: jax.Array, mask: jax.Array, pooling: str) -> jax.Array:
    """One vector a row: the poolings' vectors, concatenated in the order they are named.

    Args:
        hidden: (batch, length, width).
        mask: (batch, length) booleans, true at response tokens.
        pooling: ``mean``, ``last`` or ``mean+last``.

    Returns:
        (batch, width times the number of poolings) float32 at least.

    Raises:
        FeatureError: an unknown pooling.
    """
    return jnp.concatenate([POOLINGS[part](hidden, mask) for part in pooling_parts(pooling)], -1)
