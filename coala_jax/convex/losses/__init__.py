"""Losses of Phase I, one a file, by name."""

from coala_jax.convex.losses._base import Loss
from coala_jax.convex.losses._bradley_terry import BRADLEY_TERRY
from coala_jax.convex.losses._huber import HUBER
from coala_jax.convex.losses._logistic import LOGISTIC
from coala_jax.convex.losses._squared import SQUARED
from coala_jax.convex.losses._squared_hinge import SQUARED_HINGE

LOSSES: dict[str, Loss] = {
    "squared": SQUARED,
    "logistic": LOGISTIC,
    "squared_hinge": SQUARED_HINGE,
    "huber": HUBER,
    "bradley_terry": BRADLEY_TERRY,
}

__all__ = [
    "BRADLEY_TERRY",
    "HUBER",
    "LOGISTIC",
    "LOSSES",
    "SQUARED",
    "SQUARED_HINGE",
    "Loss",
    "get_loss",
]


def get_loss(name: str) -> Loss:
    """The loss of a name; raises ValueError naming the known ones."""
    if name not in LOSSES:
        known = ", ".join(LOSSES)
        raise ValueError(f"the loss (Config.phase1_loss) must be one of {known}; got {name!r}")
    return LOSSES[name]
