"""What is tried, and what is chosen on which grounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._types import Config, Params
from coala_jax.selection._scores import Candidate

# Half a decade a step, from a ridge that leaves the mean difference to one that hardly binds.
LINEAR_RIDGES = tuple(float(10.0**exponent) for exponent in np.arange(1.0, -3.5, -0.5))
STRENGTHS = (0.8, 0.6, 0.45, 0.33, 0.25, 0.18, 0.12, 0.08)
PHASE2_RIDGES = (1.0, 0.1, 0.01, 0.001)
FEWEST = 20
"""With fewer groups a left-out loss cannot tell networks apart: the head is the linear path."""


class Grid(NamedTuple):
    """What is tried; every field from high to low.

    Attributes:
        strengths: values of `Params.group_lasso` as shares of lambda_max.
        linear_ridges: values of `Params.linear_ridge`.
        ridges: values of `Params.ridge` for Phase II; empty for none.

    `select` raises a `CoalaError` for values that are not above 0 or not in falling order.

    Example:
        >>> from coala_jax.selection import GRID, Grid
        >>> Grid(strengths=(0.5, 0.2), ridges=()).linear_ridges == GRID.linear_ridges
        True
    """

    strengths: Sequence[float] = STRENGTHS
    linear_ridges: Sequence[float] = LINEAR_RIDGES
    ridges: Sequence[float] = PHASE2_RIDGES


GRID = Grid()
"""The `Grid` that `select` tries unless it is given another."""


class Choice(NamedTuple):
    """The chosen strengths, and on what grounds.

    Attributes:
        params: to be solved with.
        config: to be solved with.
        candidate: the chosen one.
        table: all candidates in order of growing complexity; empty where there were no folds.
        folds: number of folds; 0 where there were too few groups or pairs for any, or values that
            `solve` has a status for.
        margins: (n,) reward differences of all pairs by heads of the choice that had not seen
            their groups; None where there were no folds. Of `GroupFeatures` the pairs are those of
            members with different scores, group by group.
        linear_margins: (n,) likewise of the best linear path alone; None without one.
        odds: (n,) log-odds of all pairs, in each fold by the candidate and the temperature that the
            other folds choose: what an honest verdict judges, since the margins of the choice are
            good by the choice too. None where there were no folds.
        linear_odds: (n,) likewise of the linear path alone; None without one.
        groups: (n,) names of the groups that were never split, copies of a pair being one where
            none were given; intervals of `odds` are clustered by them.
        few_groups: whether there were too few groups for networks.
    """

    params: Params
    config: Config
    candidate: Candidate
    table: tuple[Candidate, ...]
    folds: int
    margins: np.ndarray | None
    linear_margins: np.ndarray | None
    odds: np.ndarray | None
    linear_odds: np.ndarray | None
    groups: tuple[str, ...]
    few_groups: bool

    def __str__(self) -> str:
        """The chosen strengths for people."""
        chosen = self.candidate
        network = "a linear reward (no network)" if self.config.linear_path else "no network"
        if math.isfinite(chosen.group_lasso):
            network = f"group lasso {chosen.group_lasso:.2g} of lambda_max"
        path = "" if chosen.linear_ridge is None else f", linear ridge {chosen.linear_ridge:.2g}"
        second = "no Phase II" if chosen.ridge is None else f"ridge {chosen.ridge:.2g}"
        tried = f"of {len(self.table)} tried on {self.folds} folds"
        grounds = tried if self.table else "too few groups"
        return f"{network}{path}, {second} ({grounds})"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must know of how the choice came; nothing as a rule."""
        if not self.few_groups:
            return ()
        taken = "none was tried" if self.config.linear_path else "it has the largest strength"
        return (
            f"the training pairs have fewer than {FEWEST} groups, too few to choose a network on: "
            f"{taken}",
        )
