"""How the head's scores move the candidates' probabilities (COALA, appendix H.3)."""

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


def log_reweight(scores: jax.Array, inside: jax.Array, scale: jax.Array) -> jax.Array:
    """What guidance adds to the log probabilities of a pool: p becomes p (1 + lambda s').

    Args:
        scores: (rows, size) float32 rewards, of which s' are the normalised ones.
        inside: (rows, size) booleans, true at candidates.
        scale: (rows,) float32 guidance scale lambda; 0 adds nothing.

    Returns:
        (rows, size) float32.
    """
    return jnp.log1p(scale[:, None] * normalise_scores(scores, inside))
