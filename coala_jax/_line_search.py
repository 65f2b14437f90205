"""How far to go along a direction of descent: the whole step, halved until it is not too long."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

# Armijo's condition: a step lowers the objective by this share of what its slope promises.
_ARMIJO = 1e-4


def step_length(
    change: Callable[[jax.Array], jax.Array],
    slope: jax.Array,
    most_halvings: int,
    noise: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The first of 1, 1/2, 1/4, ... that lowers the objective enough, and whether none did.

    Args:
        change: of the objective along a step of this length; NaN, of one that overflows, is none.
        slope: scalar, derivative of the objective along the direction.
        most_halvings: after which the search has failed.
        noise: rounding of the change, which may rise by it; None where it has next to none.
    """

    def too_long(search: tuple[jax.Array, jax.Array]) -> jax.Array:
        length, halvings = search
        found, allowed = change(length), _ARMIJO * length * slope
        if noise is not None:
            allowed = allowed + noise
        return ~(found <= allowed) & (halvings < most_halvings)

    def halve(search: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return search[0] / 2, search[1] + 1

    whole = (jnp.ones_like(slope), jnp.zeros((), jnp.int32))
    length, halvings = lax.while_loop(too_long, halve, whole)
    return length, halvings >= most_halvings
