"""Logistic loss log(1 + exp(-y z)) on labels y = +-1."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import entr, xlogy

from coala_jax.convex.losses.base import Loss, scaled_dual

# Halvings of the bracket of a scalar root: 2^-40 of the bracket is below float32 and near
# float64 resolution of quantities that only scale a bound.
_BISECTIONS = 40
# Newton on the prox converges monotonically from the end of the bracket nearest to zero; each
# early step gains about one unit of a logarithm, so twenty reach round-off for steps up to 1e4.
_PROX_STEPS = 20


def _value(z: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.sum(weight * jax.nn.softplus(-labels * z))


def _negative_gradient(z: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return weight * labels * jax.nn.sigmoid(-labels * z)


def _prox(z: jax.Array, labels: jax.Array, step: jax.Array) -> jax.Array:
    """Solve x = s + step sigmoid(-x) for x = y * prox, s = y z: the root lies in [s, s + step].

    The residual is convex below zero and concave above it, so Newton cannot overshoot.
    """
    target = labels * z

    def newton(_: int, x: jax.Array) -> jax.Array:
        slope = jax.nn.sigmoid(-x)
        residual = x - target - step * slope
        return x - residual / (1 + step * slope * (1 - slope))

    start = jnp.clip(0, target, target + step)
    return labels * lax.fori_loop(0, _PROX_STEPS, newton, start)


def _probability(r: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    """q_j = y_j r_j / weight_j, the dual point as a probability; zero where there is no weight."""
    return labels * scaled_dual(r, weight)


def _dual_value(r: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    q = _probability(r, labels, weight)
    entropy = jnp.sum(weight * (entr(q) + entr(1 - q)))
    return jnp.where(jnp.all((q >= 0) & (q <= 1)), entropy, -jnp.inf)


def _best_scale(r: jax.Array, labels: jax.Array, weight: jax.Array, cap: jax.Array) -> jax.Array:
    """The entropy of t q rises until sum_j weight_j q_j logit(t q_j) = 0: bisect for that t."""
    q = _probability(r, labels, weight)
    largest = jnp.max(q)
    limit = jnp.minimum(cap, 1 / jnp.where(largest > 0, largest, 1))

    def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bracket
        t = 0.5 * (low + high)
        slope = -jnp.sum(weight * (xlogy(q, t * q) - xlogy(q, jnp.maximum(1 - t * q, 0))))
        return jnp.where(slope > 0, t, low), jnp.where(slope > 0, high, t)

    low, _ = lax.fori_loop(0, _BISECTIONS, halve, (jnp.zeros_like(limit), limit))
    return low


LOGISTIC = Loss(_value, _negative_gradient, _prox, _dual_value, _best_scale, curvature=0.25)
