"""Standardisation of features, the bias column, and the way back to raw features.

The centre is a vector of the solver's dtype that rows and head subtract alike: a difference of
floats is rounded once, relative to itself, so that what follows sees no more of an offset. A
product with the mean, folded into a bias, would be off by its own rounding: at a mean of 1e6
deviations by a tenth of a deviation.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._group_inputs import Arrays
from coala_jax.convex._rows import CompactRows, Rows, column_ends, raw_rows, sum_over_rows

# A row of next to no weight may be so far out that the others hardly vary beside it: no column
# counts as varying by less than this share of its half range.
_LEAST_DEVIATION = 1e-6


class Standardization(NamedTuple):
    """Affine map to zero mean and unit variance.

    Attributes:
        center: (d,) subtracted from the columns: their means, as near as the dtype has them.
        scale: (d,) root mean squares of what is left, 1 for a constant feature.
        constant: (d,) booleans, features that do not vary.
    """

    center: jax.Array
    scale: jax.Array
    constant: jax.Array


def fit_standardization(rows: Rows, weight: jax.Array) -> Standardization:
    """Column statistics of (m, d) rows, of any offset and scale that their dtype can hold.

    A column is constant where all its values are equal, or so near to zero and to each other that
    their differences are lost: in float32 less than 7e-35 apart.

    Args:
        rows: (m, d), or compact ones of centre 0 and scale 1.
        weight: (m,) weights with mean 1: a row of weight 2 counts as two.
    """
    # Halves do not overflow. Middle and half range are units, no functions of the rows to
    # differentiate: about the middle no mean loses digits to an offset, and in units of the half
    # range no square overflows.
    upper, lower = (0.5 * end for end in column_ends(lax.stop_gradient(rows)))
    middle, spread = upper + lower, upper - lower
    # Differences below the least normal number are flushed to zero.
    constant = spread < jnp.finfo(rows.dtype).tiny / jnp.sqrt(jnp.finfo(rows.dtype).eps)
    unit = jnp.where(constant, 1, spread)
    share = weight / weight.shape[0]
    # No product with the shares: XLA (of jax 0.8) adds its terms onto the middle one by one, where
    # each may be less than a rounding.
    width = len(middle)
    center = middle + sum_over_rows(
        rows, lambda x, share: jnp.sum(share[:, None] * (x[:, :width] - middle), axis=0), share
    )

    def mean_square(x: jax.Array, share: jax.Array) -> jax.Array:
        squares = ((x[:, :width] - center) / unit) ** 2
        return jnp.dot(share, squares, precision=lax.Precision.HIGHEST)

    square = sum_over_rows(rows, mean_square, share)
    deviation = jnp.sqrt(jnp.maximum(jnp.where(constant, 1, square), _LEAST_DEVIATION**2))
    scale = jnp.where(constant, 1, unit * deviation)
    return Standardization(center, scale, constant)


def standardize(rows: jax.Array, standardization: Standardization) -> jax.Array:
    """Standardised rows with a last column of ones: (m, d) -> (m, d + 1)."""
    scaled = (rows - standardization.center) / standardization.scale
    return jnp.concatenate([scaled, jnp.ones_like(scaled[:, :1])], axis=1)


def program_rows(arrays: Arrays, standardization: Standardization) -> Rows:
    """Standardised rows of pairs or groups, (m, D); those without weight are zero.

    Such a row is then in no sum over rows, and its last column, 0 instead of 1, tells it from the
    others: a pair of weight 0 is as good as none, in every step.
    """
    rows = raw_rows(arrays)
    if isinstance(rows, CompactRows):
        center, scale, _ = standardization
        return dataclasses.replace(rows, center=center, scale=scale)
    counts = jnp.repeat(arrays.weight > 0, len(rows) // len(arrays.weight))
    return jnp.where(counts[:, None], standardize(rows, standardization), 0)


def unstandardize_layer(
    layer: jax.Array, standardization: Standardization
) -> tuple[jax.Array, jax.Array]:
    """Weights and bias on centred features of a layer on standardised ones.

    Constant features get no weight: gates have some there, which other rows would see.

    Args:
        layer: (d + 1, k), the last row being the bias.
        standardization: its scale is folded in; the centre stays the head's.

    Returns:
        (d, k) weights and (k,) bias.
    """
    weights = layer[:-1] / standardization.scale[:, None]
    return jnp.where(standardization.constant[:, None], 0, weights), layer[-1]


def unstandardize_path(
    linear: jax.Array | None, standardization: Standardization
) -> jax.Array | None:
    """Weights on centred features of a linear path on standardised ones: (d,) -> (d,)."""
    if linear is None:
        return None
    return jnp.where(standardization.constant, 0, linear / standardization.scale)
