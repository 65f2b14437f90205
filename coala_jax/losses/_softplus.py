"""What the logistic and the Bradley-Terry loss share: l(z) = softplus(offset - z), row by row."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import entr, xlog1py, xlogy

# Halvings of the bracket of a scalar root: 2^-40 of the bracket is below float32 and near
# float64 resolution of quantities that only scale a bound.
_BISECTIONS = 40
# Newton on the prox converges monotonically from the point of the bracket nearest to zero; each
# early step gains about one unit of a logarithm, so twenty reach round-off for steps up to 1e4.
_PROX_STEPS = 20


def softplus_prox(z: jax.Array, offset: jax.Array, step: jax.Array) -> jax.Array:
    """Prox of step softplus(offset - z): x = s + step sigmoid(-x), both relative to the offset.

    The root lies in [s, s + step]. The residual is convex below zero and concave above it, so
    Newton cannot overshoot.
    """
    target = z - offset

    def newton(_: int, x: jax.Array) -> jax.Array:
        slope = jax.nn.sigmoid(-x)
        residual = x - target - step * slope
        return x - residual / (1 + step * slope * (1 - slope))

    start = jnp.clip(0, target, target + step)
    return offset + lax.fori_loop(0, _PROX_STEPS, newton, start)


def entropy_dual(q: jax.Array, offset: jax.Array, weight: jax.Array) -> jax.Array:
    """Sum of weight (offset q + H(q)), H the binary entropy; -inf where a q is no probability."""
    # No entr(1 - q): where q is small 1 - q is rounded by more than the entropy is.
    value = jnp.sum(weight * (offset * q + entr(q) - xlog1py(1 - q, -q)))
    return jnp.where(jnp.all((q >= 0) & (q <= 1)), value, -jnp.inf)


def entropy_scale(q: jax.Array, offset: jax.Array, weight: jax.Array, cap: jax.Array) -> jax.Array:
    """The t in [0, cap] with the largest `entropy_dual` of t q, which is concave: a scalar.

    It rises until sum_j weight_j q_j (offset_j - logit(t q_j)) = 0: bisect for that t.
    """
    largest = jnp.max(q)
    limit = jnp.minimum(cap, 1 / jnp.where(largest > 0, largest, 1))

    def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bracket
        t = 0.5 * (low + high)
        logit = xlogy(q, t * q) - xlogy(q, jnp.maximum(1 - t * q, 0))
        rises = jnp.sum(weight * (offset * q - logit)) > 0
        return jnp.where(rises, t, low), jnp.where(rises, high, t)

    low, _ = lax.fori_loop(0, _BISECTIONS, halve, (jnp.zeros_like(limit), limit))
    return low
