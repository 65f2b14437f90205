"""Squared loss (z - y)^2 / 2, the loss of the paper (eq 4; Algorithm 2 fixes the factor 1/2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax.losses._base import Loss, scaled_dual


def _value(z: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(weight * (z - labels) ** 2)


def _negative_gradient(z: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return weight * (labels - z)


def _prox(z: jax.Array, labels: jax.Array, step: jax.Array) -> jax.Array:
    return (z + step * labels) / (1 + step)


def _squared_norm(r: jax.Array, weight: jax.Array) -> jax.Array:
    """sum_j r_j^2 / weight_j, where a row without weight has r_j = 0."""
    return jnp.sum(r * scaled_dual(r, weight))


def _dual_value(r: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.vdot(r, labels) - 0.5 * _squared_norm(r, weight)


def _best_scale(r: jax.Array, labels: jax.Array, weight: jax.Array, cap: jax.Array) -> jax.Array:
    norm = _squared_norm(r, weight)
    return jnp.clip(jnp.vdot(r, labels) / jnp.where(norm > 0, norm, 1), 0, cap)


SQUARED = Loss(
    _value,
    _negative_gradient,
    _prox,
    _dual_value,
    _best_scale,
    curvature=1.0,
    isotropic=True,
)
