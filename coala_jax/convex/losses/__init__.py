"""Pointwise losses of Phase I, one a file, by name."""

from coala_jax.convex.losses.base import Loss
from coala_jax.convex.losses.logistic import LOGISTIC
from coala_jax.convex.losses.squared import SQUARED

LOSSES: dict[str, Loss] = {"squared": SQUARED, "logistic": LOGISTIC}

__all__ = ["LOGISTIC", "LOSSES", "SQUARED", "Loss", "get_loss"]


def get_loss(name: str) -> Loss:
    """The loss of a name; raises ValueError naming the known ones."""
    if name not in LOSSES:
        raise ValueError(f"Config.phase1_loss must be one of {', '.join(LOSSES)}; got {name!r}")
    return LOSSES[name]
