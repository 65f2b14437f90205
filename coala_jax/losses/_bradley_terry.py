"""Bradley-Terry loss log(1 + exp(offset - z)) on reward differences z of pairs (COALA eq 6).

The label of a pair is its offset, gamma plus its margin. Phase II fits the second layer to this
loss; in Phase I it fits the whole two-layer network, to the global optimum of the convex program.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax.losses._base import Loss, scaled_dual
from coala_jax.losses._softplus import entropy_dual, entropy_scale, softplus_prox


def _value(z: jax.Array, offset: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.sum(weight * jax.nn.softplus(offset - z))


def _negative_gradient(z: jax.Array, offset: jax.Array, weight: jax.Array) -> jax.Array:
    return weight * jax.nn.sigmoid(offset - z)


def _dual_value(r: jax.Array, offset: jax.Array, weight: jax.Array) -> jax.Array:
    return entropy_dual(scaled_dual(r, weight), offset, weight)


def _best_scale(r: jax.Array, offset: jax.Array, weight: jax.Array, cap: jax.Array) -> jax.Array:
    return entropy_scale(scaled_dual(r, weight), offset, weight, cap)


def _change(z: jax.Array, step: jax.Array, offset: jax.Array, weight: jax.Array) -> jax.Array:
    """softplus(t + e) - softplus(t) = log1p(sigmoid(t) expm1(e)), row by row."""
    return jnp.sum(weight * jnp.log1p(jax.nn.sigmoid(offset - z) * jnp.expm1(-step)))


BRADLEY_TERRY = Loss(
    _value,
    _negative_gradient,
    softplus_prox,
    _dual_value,
    _best_scale,
    curvature=0.25,
    pairwise=True,
    change=_change,
)
