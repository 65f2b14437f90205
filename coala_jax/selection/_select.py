"""`select`: strengths chosen on left-out groups, and the head solved with them on all pairs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._errors import CoalaError
from coala_jax._folds import FOLDS, folds_of
from coala_jax._inputs import key_or_default, prepare_features, prepare_params
from coala_jax._solution import Solution
from coala_jax._solve import solve
from coala_jax._types import Config, Params, PreferenceFeatures
from coala_jax.selection._left_out import LeftOut
from coala_jax.selection._scores import Candidate, Rule, Scored, choose, score

# Half a decade a step, from a ridge that hardly binds to one that leaves the mean difference.
LINEAR_RIDGES = tuple(float(10.0**exponent) for exponent in np.arange(1.0, -3.5, -0.5))
STRENGTHS = (0.8, 0.6, 0.45, 0.33, 0.25, 0.18, 0.12, 0.08)
PHASE2_RIDGES = (1.0, 0.1, 0.01, 0.001)
# Above lambda_max the network is zero.
_ABOVE = 2.0
# With fewer groups or pairs a left-out loss says nothing; the strengths are then these.
FEWEST = 20
WITHOUT_FOLDS = Candidate(math.inf, 1.0, None, math.nan, math.nan, math.nan, 1.0)
# The choice goes on to lower strengths until so many in a row were no better than the best.
_PATIENCE = 2
# Folds are solved to this residual.
_RESIDUAL = 0.03
DEFAULT_CONFIG = Config(
    phase1_loss="bradley_terry", model="gated_relu", n_gates=32, linear_path=True
)


class Selection(NamedTuple):
    """What `select` chose, on what grounds, and the head.

    Attributes:
        solution: on all pairs, with the chosen strengths.
        params: of that solve.
        config: of that solve.
        table: all candidates in order of growing complexity; empty where there were no folds.
        choice: the chosen one; its `temperature` turns reward differences into probabilities.
        folds: number of folds; 0 where there were too few groups or pairs for any.
        left_out: (n,) reward differences of all pairs by heads that had not seen their group, at
            the choice; None where there were no folds.
    """

    solution: Solution
    params: Params
    config: Config
    table: tuple[Candidate, ...]
    choice: Candidate
    folds: int
    left_out: np.ndarray | None


def select(
    features: PreferenceFeatures,
    groups: Sequence[Hashable] | None = None,
    *,
    params: Params = Params(),
    config: Config = DEFAULT_CONFIG,
    strengths: Sequence[float] = STRENGTHS,
    linear_ridges: Sequence[float] = LINEAR_RIDGES,
    ridges: Sequence[float] = PHASE2_RIDGES,
    folds: int = FOLDS,
    rule: Rule = "one_standard_error",
    key: jax.Array | None = None,
) -> Selection:
    """Choose the strengths on left-out groups, then solve with them on all pairs.

    Pairs are left out by whole groups, in `folds` parts. First the ridge of the linear path is
    chosen, the network being zero; then the group-lasso strength, from high to low along a path
    that each fold follows, with and without Phase II; the path ends once two strengths in a row
    were no better than the best before. Candidates are compared by the Bradley-Terry log loss of
    the left-out pairs at the temperature that suits each best. Runs folds on the host: not under
    jit or vmap.

    Args:
        features: n >= 2 pairs of (n, d) features, as for `solve`.
        groups: (n,) names; pairs of one group, such as those of one prompt, are never split. None
            where every pair is a group of its own.
        params: the other scalars; `group_lasso`, `linear_ridge` and `ridge` are not read.
        config: of the solves. Without a linear path the strengths alone are chosen, and the
            strongest is the simplest candidate.
        strengths: values of `Params.group_lasso` as shares of lambda_max, in falling order.
        linear_ridges: values of `Params.linear_ridge`, in falling order.
        ridges: values of `Params.ridge` for Phase II, in falling order; none means no Phase II.
        folds: number of folds, at least 2.
        rule: `"one_standard_error"`, the simplest candidate within a standard error of the best, or
            `"minimum"`, the best.
        key: typed key of gates and folds; `jax.random.key(0)` if None.

    Returns:
        The solution with the table that led to it. With fewer than 20 groups or pairs there are no
        folds: the head is the linear path alone with a ridge of 1, or, without a path, the network
        at the strongest of `strengths`.

    Raises:
        TypeError, ValueError: as for `solve`; groups of another number, values out of order.
    """
    prepared = prepare_features(features)
    pairs = prepared.weight.shape[0]
    names = _names(groups, pairs)
    _require_falling("strengths", strengths)
    _require_falling("linear_ridges", linear_ridges)
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise CoalaError(f"folds must be an integer of at least 2, got {folds!r}")
    key = key_or_default(key)
    weight = np.asarray(prepared.weight, np.float64)
    counted = len({name for name, w in zip(names, weight, strict=True) if w > 0})
    if min(counted, int(np.sum(weight > 0))) < FEWEST:
        choice = WITHOUT_FOLDS
        if not config.linear_path:
            choice = choice._replace(group_lasso=float(strengths[0]), linear_ridge=None)
        chosen = _chosen(params, config, choice)
        return Selection(solve_at(chosen, features, key), *chosen, (), choice, 0, None)
    seed = int(jax.random.randint(jax.random.fold_in(key, 1), (), 0, 2**31 - 1))
    coarse = prepare_params(params)._replace(residual_tolerance=jnp.asarray(_RESIDUAL, float))
    gate_key, _ = jax.random.split(key)
    left_out = LeftOut(prepared, folds_of(names, folds, seed), coarse, config, gate_key)
    scored: list[Scored] = []
    margins: list[np.ndarray] = []

    def judge(found: np.ndarray, strengths: tuple[float, float | None, float | None]) -> Scored:
        each = score(found, strengths, names, weight)
        scored.append(each)
        margins.append(found)
        return each

    linear_ridge = None
    if config.linear_path:
        for ridge, found in zip(linear_ridges, left_out.linear(linear_ridges), strict=True):
            judge(found, (math.inf, ridge, None))
        best = choose(scored, names, weight, "minimum")
        linear_ridge = linear_ridges[best]
        # The path is chosen by its own least loss; what is complex is a network beside it.
        scored[:] = [*scored[:best], *scored[best + 1 :], scored[best]]
        margins[:] = [*margins[:best], *margins[best + 1 :], margins[best]]
        first = len(scored) - 1
    else:
        first = 0
    least, waited = math.inf if not scored else scored[-1].candidate.log_loss, 0
    for strength in strengths:
        found = left_out.network(strength, linear_ridge or 1.0, ridges)
        losses = [
            judge(row, (strength, linear_ridge, ridge)).candidate.log_loss
            for row, ridge in zip(found, (None, *ridges), strict=True)
        ]
        waited = 0 if min(losses) < least else waited + 1
        least = min(least, *losses)
        if waited == _PATIENCE:
            break
    index = first + choose(scored[first:], names, weight, rule)
    chosen = _chosen(params, config, scored[index].candidate)
    return Selection(
        solve_at(chosen, features, key),
        *chosen,
        tuple(each.candidate for each in scored),
        scored[index].candidate,
        folds,
        margins[index],
    )


class Chosen(NamedTuple):
    """What a candidate is solved with."""

    params: Params
    config: Config


def solve_at(chosen: Chosen, features: PreferenceFeatures, key: jax.Array) -> Solution:
    """The solution of a choice on all pairs."""
    return solve(chosen.params, features, config=chosen.config, key=key)


def _chosen(params: Params, config: Config, candidate: Candidate) -> Chosen:
    strength = min(candidate.group_lasso, _ABOVE)
    params = params._replace(group_lasso=strength)
    if candidate.linear_ridge is not None:
        params = params._replace(linear_ridge=candidate.linear_ridge)
    if candidate.ridge is None:
        return Chosen(params, dataclasses.replace(config, phase2_objective="none"))
    return Chosen(params._replace(ridge=candidate.ridge), config)


def _names(groups: Sequence[Hashable] | None, pairs: int) -> tuple[str, ...]:
    if groups is None:
        return tuple(map(str, range(pairs)))
    names = tuple(map(str, groups))
    if len(names) != pairs:
        raise CoalaError(
            f"groups must name the group of each of the {pairs} pairs; got {len(names)} names"
        )
    return names


def _require_falling(name: str, values: Sequence[float]) -> None:
    array = np.asarray(values, np.float64)
    falling = array.ndim == 1 and array.size and np.all(np.diff(array) < 0) and np.all(array > 0)
    if not falling:
        raise CoalaError(f"{name} must be positive numbers in falling order; got {values!r}")
