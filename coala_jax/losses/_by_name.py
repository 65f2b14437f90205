"""The losses by name.

A loss is one file, an import and a line in ``LOSSES`` here: options, messages and checks read it.
"""

from coala_jax._errors import CoalaError
from coala_jax.losses._base import Loss
from coala_jax.losses._bradley_terry import BRADLEY_TERRY
from coala_jax.losses._group_squared import GROUP_SQUARED
from coala_jax.losses._huber import HUBER
from coala_jax.losses._listwise import LISTWISE
from coala_jax.losses._logistic import LOGISTIC
from coala_jax.losses._plackett_luce import PLACKETT_LUCE
from coala_jax.losses._squared import SQUARED
from coala_jax.losses._squared_difference import SQUARED_DIFFERENCE
from coala_jax.losses._squared_hinge import SQUARED_HINGE

LOSSES: dict[str, Loss] = {
    "squared": SQUARED,
    "logistic": LOGISTIC,
    "squared_hinge": SQUARED_HINGE,
    "huber": HUBER,
    "bradley_terry": BRADLEY_TERRY,
    "squared_difference": SQUARED_DIFFERENCE,
    "group_squared": GROUP_SQUARED,
    "listwise": LISTWISE,
    "plackett_luce": PLACKETT_LUCE,
}
"""Every `Loss` by its name, which `Config.phase1_loss` takes."""


def get_loss(loss: str | Loss) -> Loss:
    """A `Loss` as it is, or the one of a name.

    Args:
        loss: a key of `LOSSES`, or a loss of your own.

    Raises:
        ValueError: no such name; the known ones are listed.

    Example:
        >>> import jax.numpy as jnp
        >>> from coala_jax.losses import get_loss
        >>> hinge = get_loss("squared_hinge")
        >>> outputs, labels, weight = jnp.array([0.0, 2.0]), jnp.array([1.0, 1.0]), jnp.ones(2)
        >>> float(hinge.value(outputs, labels, weight))
        0.5
        >>> get_loss(hinge) is hinge
        True
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        known = ", ".join(LOSSES)
        raise CoalaError(f"phase1_loss={loss!r} must be one of {known}, or a Loss of your own")
    return LOSSES[loss]
