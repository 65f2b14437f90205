"""What the order of two answers does to a judge, and where a reader has to know it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._accuracy import TIE
from coala_jax._intervals import UNKNOWN, Interval, share_interval

# Of verdicts drawn by lot between two answers half are the same in the other order.
LEAST_CONSISTENT = 0.5


class OrderEffect(NamedTuple):
    """What the order does, with 95 % intervals by question; NaN where there is nothing to count.

    Attributes:
        consistent: share of pairs of games with the same verdict in both orders.
        first: of the games that are decided, the share that the answer shown first won: half of
            them by a judge whom the order does not move.
    """

    consistent: Interval
    first: Interval


def order_effect(questions: Sequence[str], first: np.ndarray, second: np.ndarray) -> OrderEffect:
    """The effect over pairs of games, each pair of the same answers in both orders.

    Args:
        questions: (n,) of the pairs; those of one may depend on each other, and its games do.
        first: (n,) how well the answer did that is shown first in one order: 1 won, 0.5 a tie, 0
            lost.
        second: (n,) likewise in the other order.
    """
    if not len(questions):
        return OrderEffect(UNKNOWN, UNKNOWN)
    won = np.concatenate([first, second])
    decided = won != TIE
    of_games = list(itertools.compress([*questions, *questions], decided))
    return OrderEffect(
        share_interval((first == 1 - second).astype(float), questions),
        share_interval(won[decided], of_games) if of_games else UNKNOWN,
    )


def order_warnings(consistent: float) -> list[str]:
    """A warning of a judge whose verdicts do not outlast the order; none of another.

    It may like a place, or judge by lot: the share of verdicts for the answer shown first tells.

    Args:
        consistent: share of questions with the same verdict in both orders; NaN without one.
    """
    if not consistent < LEAST_CONSISTENT:
        return []
    return [
        f"the verdict turned with the order in {1 - consistent:.0%} of the questions: this judge "
        "sees the place, or judges by lot; take another one"
    ]
