"""From weights of the convex program to a two-layer ReLU network (Pilanci & Ergen 2020, eq 8)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Network(NamedTuple):
    """relu(X first_layer) second_layer on standardised rows with a bias column.

    Attributes:
        first_layer: (D, 2P); a zero column is a neuron that is not used.
        second_layer: (2P,).
    """

    first_layer: jax.Array
    second_layer: jax.Array


def network_from_weights(weights: jax.Array) -> Network:
    """theta1 = v / sqrt||v||, theta2 = sqrt||v|| and the same with a minus for w: (2, P, D).

    For weights inside the cones the network's objective (2), lambda_g / 2 times the sum of
    squares of both layers included, equals the program's (3).
    """
    norms = jnp.linalg.norm(weights, axis=-1)
    safe = jnp.sqrt(jnp.where(norms > 0, norms, 1))
    columns = jnp.where(norms[..., None] > 0, weights / safe[..., None], 0)
    roots = jnp.where(norms > 0, safe, 0)
    first_layer = columns.reshape(-1, weights.shape[-1]).T
    return Network(first_layer, jnp.concatenate([roots[0], -roots[1]]))


def active_neurons(weights: jax.Array) -> jax.Array:
    """Blocks of (2, P, D) weights that are not zero: scalar int32."""
    return jnp.sum(jnp.any(weights != 0, axis=-1), dtype=jnp.int32)
