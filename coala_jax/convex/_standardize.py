"""Standardisation of features, the bias column, and the way back to raw features."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# A feature whose spread is below this share of its largest magnitude is constant up to the
# rounding of float32 statistics (relative error about 1e-7 times a few).
_CONSTANT_SPREAD = 1e-6


class Standardization(NamedTuple):
    """Affine map to zero mean and unit variance.

    Attributes:
        mean: (d,) column means.
        scale: (d,) column standard deviations, 1 for a constant feature.
        constant: (d,) booleans, features that do not vary.
    """

    mean: jax.Array
    scale: jax.Array
    constant: jax.Array


def fit_standardization(rows: jax.Array, weight: jax.Array) -> Standardization:
    """Two-pass column statistics of (m, d) rows, of any scale that their dtype can hold.

    Args:
        rows: (m, d).
        weight: (m,) weights with mean 1: a row of weight 2 counts as two.
    """
    largest = jnp.max(jnp.abs(rows), axis=0)
    # In units of the largest magnitude no square overflows. Its scale is a unit, no function of
    # the rows to differentiate.
    unit = lax.stop_gradient(jnp.where(largest > 0, largest, 1))
    units = rows / unit
    mean = jnp.mean(weight[:, None] * units, axis=0)
    variance = jnp.mean(weight[:, None] * (units - mean) ** 2, axis=0)
    constant = variance <= _CONSTANT_SPREAD**2
    scale = unit * jnp.sqrt(jnp.where(constant, 1, variance))
    return Standardization(unit * mean, jnp.where(constant, 1, scale), constant)


def standardize(rows: jax.Array, standardization: Standardization) -> jax.Array:
    """Standardised rows with a last column of ones: (m, d) -> (m, d + 1)."""
    centred = (rows - standardization.mean) / standardization.scale
    return jnp.concatenate([centred, jnp.ones_like(centred[:, :1])], axis=1)


def unstandardize_layer(
    layer: jax.Array, standardization: Standardization
) -> tuple[jax.Array, jax.Array]:
    """Weights and bias on raw features of a layer on standardised ones.

    Args:
        layer: (d + 1, k), the last row being the bias.
        standardization: the map to be folded in.

    Returns:
        (d, k) weights and (k,) bias.
    """
    weights = layer[:-1] / standardization.scale[:, None]
    return weights, layer[-1] - standardization.mean @ weights
