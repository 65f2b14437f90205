"""Losses of Phase I, one a file: value, prox and conjugate; `LOSSES` has them by name."""

from coala_jax.losses._base import Loss
from coala_jax.losses._bradley_terry import BRADLEY_TERRY
from coala_jax.losses._by_name import LOSSES, get_loss
from coala_jax.losses._group_squared import GROUP_SQUARED
from coala_jax.losses._huber import HUBER
from coala_jax.losses._listwise import LISTWISE
from coala_jax.losses._logistic import LOGISTIC
from coala_jax.losses._plackett_luce import PLACKETT_LUCE
from coala_jax.losses._squared import SQUARED
from coala_jax.losses._squared_difference import SQUARED_DIFFERENCE
from coala_jax.losses._squared_hinge import SQUARED_HINGE

__all__ = [
    "BRADLEY_TERRY",
    "GROUP_SQUARED",
    "HUBER",
    "LISTWISE",
    "LOGISTIC",
    "LOSSES",
    "PLACKETT_LUCE",
    "SQUARED",
    "SQUARED_DIFFERENCE",
    "SQUARED_HINGE",
    "Loss",
    "get_loss",
]
