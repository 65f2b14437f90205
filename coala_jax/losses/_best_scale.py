"""The multiple of a dual point that a concave bound is largest at, by golden section."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

# Golden sections of the interval of a scale: 0.618^40 is below the resolution of float32.
_SECTIONS = 40
_GOLDEN = (5**0.5 - 1) / 2


def best_scale(value: Callable[[jax.Array], jax.Array], most: jax.Array) -> jax.Array:
    """The t in [0, most] with the largest value, which is concave in t: scalar to scalar."""

    def section(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        width = _GOLDEN * (high - low)
        rising = value(high - width) < value(low + width)
        return jnp.where(rising, high - width, low), jnp.where(rising, high, low + width)

    low, _ = lax.fori_loop(0, _SECTIONS, section, (jnp.zeros_like(most), most))
    # Where the value rises to the end, the end itself.
    return jnp.where(value(most) >= value(low), most, low)
