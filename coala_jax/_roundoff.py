"""What rounding may do to a figure, in the terms of Higham (2002, sections 2.2 and 3.1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def unit_roundoff(dtype: jnp.dtype) -> float:
    """u: the relative error of one rounding to nearest."""
    return float(jnp.finfo(dtype).eps) / 2


def relative_error(roundings: int | jax.Array, dtype: jnp.dtype) -> jax.Array:
    """gamma_k = k u / (1 - k u): relative error after k roundings, a scalar of the dtype."""
    total = jnp.asarray(roundings, dtype) * unit_roundoff(dtype)
    return total / (1 - total)
