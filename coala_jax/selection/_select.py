"""`select`: strengths chosen on left-out groups, and the head solved with them on all pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import jax

from coala_jax._folds import FOLDS
from coala_jax._solution import Solution
from coala_jax._solve import solve
from coala_jax._types import Config, Features, GroupFeatures, Params
from coala_jax.selection._choice import GRID, Choice, Grid
from coala_jax.selection._choose import choose_strengths
from coala_jax.selection._scores import Rule

SELECTED = Config(
    phase1_loss="bradley_terry",
    model="gated_relu",
    n_gates=32,
    gate_distribution="mixed",
    linear_path=True,
)
"""The `Config` of `select`: a linear path, and gates without cones beside it, on the pairs' own
loss. docs/measurements.md holds it against the probe, the paper's form and others, and its gates
against other gates."""


class Selection(NamedTuple):
    """What `select` found.

    Attributes:
        solution: on all pairs, with the chosen strengths.
        choice: the strengths, and the table that they were chosen from.
    """

    solution: Solution
    choice: Choice


def select(
    params: Params,
    features: Features,
    groups: Sequence[Hashable] | None = None,
    *,
    config: Config = SELECTED,
    key: jax.Array | None = None,
    grid: Grid = GRID,
    folds: int = FOLDS,
    rule: Rule = "one_standard_error",
) -> Selection:
    """Choose the strengths on left-out groups, then solve with them on all pairs.

    Pairs are left out by whole groups, in `folds` parts. First the ridge of the linear path is
    chosen, the network being zero; then, beside it, the group-lasso strength, with and without
    Phase II: every other strength of the grid from high to low, until two in a row were no better
    than the best before, then the neighbours of the best. Candidates are compared by the
    Bradley-Terry log loss of the left-out pairs, each at the temperature that suits it best (Guo et
    al. 2017), by the rule of one standard error (Breiman et al. 1984, section 3.4.3). Folds
    are solved to a residual of 20 % and without a certificate; the solution has one. Runs folds on
    the host: not under jit or vmap.

    Args:
        params: the other scalars; `group_lasso`, `linear_ridge` and `ridge` are not read.
        features: n pairs of (n, d) features, or groups, as for `solve`. Groups are judged by the
            pairs of their members, which count together as much as the group's weight.
        groups: (n,) names; pairs of one group, such as those of one prompt, are never split. None
            where every pair is a group of its own, but for copies of it. Pairs of weight 0 at the
            end, which `shard_rows` adds in one process, need none; in several processes its pairs
            are filled up in between, and `coala-jax solve` puts names to them.
        config: of the solves; the default has the listwise loss where features are groups. Without
            a linear path the strengths alone are chosen.
        key: typed key of gates and folds, `jax.random.key(0)` if None; the solution is that of
            `solve` with the choice and the same key.
        grid: the strengths that are tried.
        folds: number of folds, at least 2.
        rule: `"one_standard_error"`: the best linear path, unless a network has less loss by more
            than two standard errors (of the difference, clustered by group) and orders no fewer
            left-out pairs right; then the simplest network within one of the best. Or `"minimum"`,
            the one of least loss.

    Returns:
        The solution and the choice. With fewer than 20 groups of pairs that have weight no network
        is tried: the head is the linear path alone, its ridge chosen as above where there are 100
        pairs and a group a fold, and 1 otherwise, without folds. Without a linear path it is the
        network at the largest strength of the grid.

    Raises:
        TypeError, ValueError: as for `solve`; groups of another number, a grid out of order.
        SolveError: all candidates broke down on left-out groups.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> found = coala_jax.select(coala_jax.Params(), features)
        >>> bool(found.choice.candidate.log_loss < np.log(2))
        True
    """
    if config == SELECTED and isinstance(features, GroupFeatures):
        config = dataclasses.replace(SELECTED, phase1_loss="listwise")
    choice = choose_strengths(
        params, features, groups, config=config, key=key, grid=grid, folds=folds, rule=rule
    )
    return Selection(solve(choice.params, features, config=choice.config, key=key), choice)
