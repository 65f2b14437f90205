"""How often rewards order pairs right: one rule for arrays of numpy and jax."""

from typing import TypeVar

import jax
import numpy as np

# A tie orders nothing: half a correct pair, so that a constant reward has the accuracy of chance.
TIE = 0.5
Rewards = TypeVar("Rewards", np.ndarray, jax.Array)


def pairwise_accuracy(chosen: Rewards, rejected: Rewards) -> Rewards:
    """1 where chosen is above rejected, 0.5 where equal, else 0 (NaN too): (n,), (n,) -> (n,)."""
    return (chosen > rejected) + TIE * (chosen == rejected)


def margin_accuracy(margins: np.ndarray) -> np.ndarray:
    """`pairwise_accuracy` by reward differences, chosen less rejected: (n,) -> (n,)."""
    return pairwise_accuracy(margins, np.zeros_like(margins))
