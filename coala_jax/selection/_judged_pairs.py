"""The pairs that a choice is judged by: those given, or those of a group's members, by row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coala_jax._advantages import ordered_members
from coala_jax._group_inputs import Arrays
from coala_jax._inputs import PairArrays
from coala_jax._row_mesh import on_host


class JudgedPairs(NamedTuple):
    """Pairs of which the first is known to be the better.

    Attributes:
        row: (p,) number of each one's pair of features, or group.
        weight: (p,); those of a group share its weight.
        better: (p,) number of the better member; None of pairs.
        worse: (p,) likewise of the other.
    """

    row: np.ndarray
    weight: np.ndarray
    better: np.ndarray | None = None
    worse: np.ndarray | None = None

    def margins(self, rewards: np.ndarray) -> np.ndarray:
        """By how much the better one is above: (c, n) or, of members, (c, n, k) -> (c, p)."""
        if self.better is None or self.worse is None:
            return rewards
        return rewards[:, self.row, self.better] - rewards[:, self.row, self.worse]


def judged_pairs(arrays: Arrays) -> JudgedPairs:
    """All pairs, or of groups all pairs of members with different scores."""
    weight = on_host(arrays.weight).astype(np.float64)
    if isinstance(arrays, PairArrays):
        return JudgedPairs(np.arange(len(weight)), weight)
    row, better, worse = ordered_pairs(on_host(arrays.level), on_host(arrays.member) > 0)
    return JudgedPairs(row, shared_weight(weight, row), better, worse)


def ordered_pairs(
    level: np.ndarray, member: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of members with different scores: number of the group, the better and the worse.

    Args:
        level: (n, k) how many different scores of its group are above each.
        member: (n, k) booleans.

    Returns:
        (p,) integers each, in the order of the groups.
    """
    row, better, worse = np.nonzero(ordered_members(level, member))
    return row, better, worse


def shared_weight(weight: np.ndarray, row: np.ndarray) -> np.ndarray:
    """(p,) weights of pairs, of the (n,) groups of which they are by number."""
    number = np.bincount(row, minlength=len(weight))
    return weight[row] / number[row]
