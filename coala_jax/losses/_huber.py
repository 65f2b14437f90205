"""Huber loss of z - y: squared up to THRESHOLD, linear beyond (Huber 1964)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax.losses._base import Loss, scaled_dual

# Labels are +-1: a row whose output is on the wrong side, further than zero is, pulls no harder.
THRESHOLD = 1.0


def _value(z: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    size = jnp.abs(z - labels)
    beyond = THRESHOLD * (size - 0.5 * THRESHOLD)
    return jnp.sum(weight * jnp.where(size <= THRESHOLD, 0.5 * size**2, beyond))


def _negative_gradient(z: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return weight * jnp.clip(labels - z, -THRESHOLD, THRESHOLD)


def _prox(z: jax.Array, labels: jax.Array, step: jax.Array) -> jax.Array:
    return z + step * jnp.clip((labels - z) / (1 + step), -THRESHOLD, THRESHOLD)


def _dual_value(r: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    """Sum of r y - r^2 / (2 weight) with |r| <= THRESHOLD weight."""
    q = scaled_dual(r, weight)
    value = r @ labels - 0.5 * jnp.sum(weight * q**2)
    return jnp.where(jnp.all(jnp.abs(q) <= THRESHOLD), value, -jnp.inf)


def _best_scale(r: jax.Array, labels: jax.Array, weight: jax.Array, cap: jax.Array) -> jax.Array:
    q = scaled_dual(r, weight)
    norm, largest = jnp.sum(weight * q**2), jnp.max(jnp.abs(q))
    # A few roundings below the threshold, so that the scaled point stays inside it.
    inside = (1 - 4 * jnp.finfo(r.dtype).eps) * THRESHOLD
    limit = jnp.minimum(cap, inside / jnp.where(largest > 0, largest, 1))
    return jnp.clip(r @ labels / jnp.where(norm > 0, norm, 1), 0, limit)


HUBER = Loss(_value, _negative_gradient, _prox, _dual_value, _best_scale, curvature=1.0)
