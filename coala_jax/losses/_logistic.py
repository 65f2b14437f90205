"""Logistic loss log(1 + exp(-y z)) on labels y = +-1."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax.losses._base import Loss, scaled_dual
from coala_jax.losses._softplus import entropy_dual, entropy_scale, softplus_prox


def _value(z: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.sum(weight * jax.nn.softplus(-labels * z))


def _negative_gradient(z: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return weight * labels * jax.nn.sigmoid(-labels * z)


def _prox(z: jax.Array, labels: jax.Array, step: jax.Array) -> jax.Array:
    return labels * softplus_prox(labels * z, jnp.zeros_like(z), step)


def _probability(r: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    """q_j = y_j r_j / weight_j, the dual point as a probability."""
    return labels * scaled_dual(r, weight)


def _dual_value(r: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return entropy_dual(_probability(r, labels, weight), jnp.zeros_like(r), weight)


def _best_scale(r: jax.Array, labels: jax.Array, weight: jax.Array, cap: jax.Array) -> jax.Array:
    return entropy_scale(_probability(r, labels, weight), jnp.zeros_like(r), weight, cap)


LOGISTIC = Loss(_value, _negative_gradient, _prox, _dual_value, _best_scale, curvature=0.25)
