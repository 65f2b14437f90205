"""Losses whose functions are programs: as they are they compile every operation by itself."""

from functools import cache

import jax

from coala_jax.losses import Loss, get_loss

PARTS = ("value", "negative_gradient", "prox", "dual_value", "best_scale")


@cache
def compiled_loss(name: str) -> Loss:
    """The loss of a name; each of its functions is compiled once for each shape and dtype."""
    loss = get_loss(name)
    return loss._replace(**{part: jax.jit(getattr(loss, part)) for part in PARTS})
