"""From weights of the convex program to a two-layer network (Pilanci & Ergen 2020, eq 8)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax.convex._program import HALVES, Model, block_norms


class Network(NamedTuple):
    """relu(X first_layer) second_layer on standardised rows with a bias column.

    From a gated program: (1(X h >= 0) * X first_layer) second_layer, column i under gate i.

    Attributes:
        first_layer: (D, H P); a zero column is a neuron that is not used.
        second_layer: (H P,).
    """

    first_layer: jax.Array
    second_layer: jax.Array


def network_from_weights(weights: jax.Array, model: Model) -> Network:
    """theta1 = v / sqrt||v||, theta2 = sqrt||v|| and the same with a minus for w.

    For weights inside the cones the network's objective (2), lambda_g / 2 times the sum of
    squares of both layers included, equals the program's (3).

    Args:
        weights: (H, P, D).
        model: of the program; `"relu"` has two halves.
    """
    used = jnp.any(weights != 0, axis=-1, keepdims=True)
    roots = jnp.sqrt(block_norms(weights, at_zero=1))
    columns = weights / roots
    halves = jnp.asarray(HALVES[model], weights.dtype)
    second_layer = halves[:, None] * jnp.where(used, roots, 0)[..., 0]
    return Network(columns.reshape(-1, weights.shape[-1]).T, second_layer.reshape(-1))


def active_neurons(weights: jax.Array) -> jax.Array:
    """Blocks of (H, P, D) weights that are not zero: scalar int32."""
    return jnp.sum(jnp.any(weights != 0, axis=-1), dtype=jnp.int32)
