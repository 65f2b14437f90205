"""How the head's scores move the candidates' probabilities (COALA, appendix H.3)."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

# Scores that differ by less of their size than this are equal: what is left is rounding, and
# min-max normalisation would make a decision of it.
EQUAL_SCORES = 1e-6


def normalise_scores(scores: jax.Array, inside: jax.Array) -> jax.Array:
    """Min-max normalisation over the pool: 0 for the lowest score, 1 for the highest.

    Args:
        scores: (rows, size) float32 rewards.
        inside: (rows, size) booleans, true at candidates.

    Returns:
        (rows, size) float32 in [0, 1]; 0 where all scores of a row are equal, and outside.
    """
    low = jnp.where(inside, scores, jnp.inf).min(-1, keepdims=True)
    high = jnp.where(inside, scores, -jnp.inf).max(-1, keepdims=True)
    size = jnp.maximum(jnp.abs(low), jnp.abs(high))
    spread = high - low
    told_apart = spread > EQUAL_SCORES * size
    scaled = (scores - low) / jnp.where(told_apart, spread, 1)
    return jnp.where(inside & told_apart, scaled, 0)


def _linear(scores: jax.Array, inside: jax.Array, scale: jax.Array) -> jax.Array:
    return jnp.log1p(scale * normalise_scores(scores, inside))


def _exponential(scores: jax.Array, inside: jax.Array, scale: jax.Array) -> jax.Array:
    return scale * normalise_scores(scores, inside)


def _raw(scores: jax.Array, inside: jax.Array, scale: jax.Array) -> jax.Array:
    return jnp.where(inside, scale * scores, 0)


# What is added to log p of a candidate with score s, normalised s', under the scale lambda.
REWEIGHT: Mapping[str, Callable[[jax.Array, jax.Array, jax.Array], jax.Array]] = {
    # p (1 + lambda s'): the paper's.
    "linear": _linear,
    # p exp(lambda s').
    "exponential": _exponential,
    # p exp(lambda s): the policy that maximises reward less KL / lambda over the pool.
    "raw": _raw,
}


def log_reweight(
    scores: jax.Array, inside: jax.Array, scale: jax.Array, reweighting: str
) -> jax.Array:
    """What guidance adds to the log probabilities of a pool.

    Args:
        scores: (rows, size) float32 rewards.
        inside: (rows, size) booleans, true at candidates.
        scale: (rows,) float32 guidance scale; 0 adds nothing.
        reweighting: a key of ``REWEIGHT``.

    Returns:
        (rows, size) float32.
    """
    return REWEIGHT[reweighting](scores, inside, scale[:, None])
