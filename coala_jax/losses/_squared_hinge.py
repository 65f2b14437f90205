"""Squared hinge loss max(0, 1 - y z)^2 / 2 on labels y = +-1: nothing is asked beyond a margin."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax.losses._base import Loss, scaled_dual


def _shortfall(z: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.maximum(1 - labels * z, 0)


def _value(z: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(weight * _shortfall(z, labels) ** 2)


def _negative_gradient(z: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return weight * labels * _shortfall(z, labels)


def _prox(z: jax.Array, labels: jax.Array, step: jax.Array) -> jax.Array:
    return z + labels * step / (1 + step) * _shortfall(z, labels)


def _dual_value(r: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    """Sum of weight (q - q^2 / 2) with q = y r / weight >= 0."""
    q = labels * scaled_dual(r, weight)
    return jnp.where(jnp.all(q >= 0), jnp.sum(weight * (q - 0.5 * q**2)), -jnp.inf)


def _best_scale(r: jax.Array, labels: jax.Array, weight: jax.Array, cap: jax.Array) -> jax.Array:
    q = labels * scaled_dual(r, weight)
    norm = jnp.sum(weight * q**2)
    return jnp.clip(jnp.sum(weight * q) / jnp.where(norm > 0, norm, 1), 0, cap)


SQUARED_HINGE = Loss(_value, _negative_gradient, _prox, _dual_value, _best_scale, curvature=1.0)
