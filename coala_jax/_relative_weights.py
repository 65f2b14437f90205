"""Weights of pairs divided by their mean, whatever unit they come in."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


@functools.partial(jax.jit, static_argnames="dtype")
def over_their_mean(value: Any, dtype: jnp.dtype) -> jax.Array:
    """Weights of mean 1 with the ratios of the given ones: (n,) -> (n,) of `dtype`.

    No sum overflows, and subnormal weights count, which XLA takes for zero on CPUs and TPUs. All
    are NaN where one is below zero or not finite, or none is above zero.
    """
    weight = jnp.asarray(value)
    if weight.dtype not in (jnp.float32, jnp.float64):
        weight = weight.astype(jnp.float32)
    largest, lift = jnp.max(jnp.abs(weight)), _lift(weight.dtype)
    lifted = _lifted(weight)
    # Neither the largest nor its reciprocal may overflow or be subnormal; beside weights of such
    # a size the subnormal ones are nothing.
    shifted = jnp.select([largest < 1, largest > lift], [lifted, weight / lift], weight)
    shifted = jnp.where(lifted < 0, jnp.nan, shifted).astype(dtype)
    # A unit is no function of the weights to differentiate: the mean takes it out.
    units = shifted / lax.stop_gradient(jnp.max(shifted))
    return units / jnp.mean(units)


def _lift(dtype: jnp.dtype) -> float:
    """The root of 1 / tiny, a power of two: 2^63 in float32, 2^511 in float64."""
    return 2.0 ** (-jnp.finfo(dtype).minexp // 2)


def _lifted(weight: jax.Array) -> jax.Array:
    """The weights times `_lift`: none is left subnormal."""
    info = jnp.finfo(weight.dtype)
    integer = jnp.dtype(f"int{info.bits}")
    normal = weight * _lift(weight.dtype)
    # Below tiny the bits but for the sign count smallest subnormals, of 2^(minexp - nmant) each.
    bits = lax.bitcast_convert_type(lax.stop_gradient(weight), integer)
    count = bits & jnp.iinfo(integer).max
    smallest = 2.0 ** (info.minexp // 2 - info.nmant)
    size = count.astype(weight.dtype) * smallest
    subnormal = jnp.where(bits < 0, -size, size)
    below = count < 2**info.nmant
    return normal + lax.stop_gradient(jnp.where(below, subnormal - normal, 0))
