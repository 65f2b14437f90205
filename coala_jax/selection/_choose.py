"""`choose_strengths`: which strengths order pairs of unseen groups best."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._calibration import fit_temperature
from coala_jax._errors import CoalaError
from coala_jax._folds import FOLDS, folds_of
from coala_jax._group_inputs import Arrays, prepare_for
from coala_jax._inputs import (
    PairArrays,
    input_status,
    key_or_default,
    prepare_params,
    require_kind,
)
from coala_jax._row_mesh import on_host
from coala_jax._status import Status
from coala_jax._types import Config, Features, Params
from coala_jax.convex._memory import refuse_what_cannot_fit
from coala_jax.selection._copies import with_copies
from coala_jax.selection._judged_pairs import judged_pairs
from coala_jax.selection._left_out import LeftOut, Paths
from coala_jax.selection._scores import (
    Candidate,
    Rule,
    Scored,
    Strengths,
    choose,
    on_pairs,
    score,
)

# Half a decade a step, from a ridge that leaves the mean difference to one that hardly binds.
LINEAR_RIDGES = tuple(float(10.0**exponent) for exponent in np.arange(1.0, -3.5, -0.5))
STRENGTHS = (0.8, 0.6, 0.45, 0.33, 0.25, 0.18, 0.12, 0.08)
PHASE2_RIDGES = (1.0, 0.1, 0.01, 0.001)
# With fewer groups a left-out loss cannot tell networks apart: the head is the linear path alone.
# Its ridge is chosen where that many pairs and a group a fold are there to say which; otherwise it
# leaves little more than the mean difference.
FEWEST = 20
_PAIRS_OF_FEW_GROUPS = 100
FALLBACK_RIDGE = 1.0
_CHOSEN = ("group_lasso", "linear_ridge", "ridge")
# lambda_max and above, where the network is zero.
_ABOVE = 2.0
# Every other strength is tried first, until so many in a row were no better than the best before;
# then the neighbours of the best.
_STRIDE = 2
_PATIENCE = 2
# Folds are solved to this residual. Measured on halves of webgpt, alpaca_eval_v2, quickstart and on
# 2000 made pairs: at a strength the least left-out loss is within .004 of that at .003, but for
# strong ones on quickstart (.07); at the best strength it is within .002.
_RESIDUAL = 0.2


class Grid(NamedTuple):
    """What is tried; every field from high to low.

    Attributes:
        strengths: values of `Params.group_lasso` as shares of lambda_max.
        linear_ridges: values of `Params.linear_ridge`.
        ridges: values of `Params.ridge` for Phase II; empty for none.
    """

    strengths: Sequence[float] = STRENGTHS
    linear_ridges: Sequence[float] = LINEAR_RIDGES
    ridges: Sequence[float] = PHASE2_RIDGES


GRID = Grid()


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
        chosen, network = self.candidate, "no network"
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


def choose_strengths(
    params: Params,
    features: Features,
    groups: Sequence[Hashable] | None,
    *,
    config: Config,
    key: jax.Array | None,
    grid: Grid = GRID,
    folds: int = FOLDS,
    rule: Rule = "one_standard_error",
) -> Choice:
    """The choice of `select`, which says what the arguments are."""
    require_kind("params", params, Params)
    require_kind("config", config, Config)
    refuse_what_cannot_fit(features, config)
    arrays = prepare_for(config, features)
    row_weight = on_host(arrays.weight).astype(np.float64)
    row_names = group_names(groups, len(row_weight), row_weight)
    if groups is None:
        row_names = with_copies(arrays, row_names)
    _require_settings(config, grid, folds, rule)
    config.require_phases_agree()
    require_better_chosen(config, params, arrays)
    judged = judged_pairs(arrays)
    weight, names = judged.weight, tuple(row_names[row] for row in judged.row)
    # What is chosen is not read, so that it cannot be wrong.
    params = params._replace(**{leaf: Params._field_defaults[leaf] for leaf in _CHOSEN})
    counted = {name for name, each in zip(names, weight, strict=True) if each > 0}
    few = len(counted) < FEWEST
    many_pairs = np.count_nonzero(weight) >= _PAIRS_OF_FEW_GROUPS
    linear_alone = config.linear_path and many_pairs and len(counted) >= folds
    # The status of the solution says what is wrong with bad values.
    status = input_status(prepare_params(params), arrays)
    if status != Status.SOLVED or (few and not linear_alone):
        return _fallback(params, config, grid, names, few)
    key = key_or_default(key)
    gate_key, _ = jax.random.split(key)  # the gates of `solve` at the same key
    coarse = prepare_params(params)._replace(residual_tolerance=jnp.asarray(_RESIDUAL, float))
    seed = int(jax.random.randint(jax.random.fold_in(key, 1), (), 0, 2**31 - 1))
    row_fold = _folds(row_names, row_weight, folds, seed)
    left_out = LeftOut(arrays, row_fold, coarse, config, gate_key)
    judge = functools.partial(score, groups=names, weight=weight)
    linear = _linear_candidates(left_out, judge, grid) if config.linear_path else []
    simplest = _best(linear)
    if config.phase2_objective == "none":
        grid = grid._replace(ridges=())
    networks = [] if few else _network_candidates(left_out, judge, grid, simplest)
    best = _chosen(linear, networks, names, weight, rule)
    fold = row_fold[judged.row]
    odds, linear_odds = _cross_chosen(linear, networks, fold, names, weight, rule)
    table = tuple(each.candidate for each in (*linear, *networks))
    return Choice(
        *_solved_with(params, config, best.candidate),
        best.candidate,
        table,
        left_out.folds,
        best.margins,
        simplest[0].margins if simplest else None,
        odds,
        linear_odds,
        names,
        few,
    )


def require_better_chosen(config: Config, params: Params, pairs: Arrays) -> None:
    """Raise where a target says that the rejected response is the better one, or all say nothing.

    Left-out pairs are judged by whether the chosen response is above the other.

    Raises:
        CoalaError: how many targets of a loss of differences are below 0; all are 0.
    """
    if config.loss.labels != "differences" or not isinstance(pairs, PairArrays):
        return
    targets = np.asarray(params.gamma, np.float64) + on_host(pairs.margin).astype(np.float64)
    counted = on_host(pairs.weight) > 0
    if counted.any() and not targets[counted].any():
        raise CoalaError(
            "margin: every target (gamma + margin) is 0, and "
            f"phase1_loss={config.phase1_loss!r} fits a head to the targets alone; give rows with "
            "scores or margins, or another phase1_loss"
        )
    below = int(np.count_nonzero((targets < 0) & counted))
    if below:
        raise CoalaError(
            f"margin: {below} targets (gamma + margin) are below 0, and left-out pairs are judged "
            "by whether the chosen response is above the rejected one; exchange the two of these "
            "pairs and the sign, or solve at given strengths"
        )


def _best(linear: Sequence[Scored]) -> list[Scored]:
    """The linear path of least loss, if there is one."""
    return [min(linear, key=lambda each: each.candidate.log_loss)] if linear else []


def _chosen(
    linear: Sequence[Scored],
    networks: Sequence[Scored],
    names: Sequence[str],
    weight: np.ndarray,
    rule: Rule,
) -> Scored:
    compared = [*_best(linear), *networks]
    return compared[choose(compared, names, weight, rule)]


def _cross_chosen(
    linear: Sequence[Scored],
    networks: Sequence[Scored],
    fold: np.ndarray,
    names: Sequence[str],
    weight: np.ndarray,
    rule: Rule,
) -> tuple[np.ndarray, np.ndarray | None]:
    """`Choice.odds` and `Choice.linear_odds`."""
    odds, linear_odds = np.zeros((2, len(fold)))
    for number in range(fold.max() + 1):
        test, rest = fold == number, fold != number
        paths, others = (
            [on_pairs(each, rest, weight) for each in scored] for scored in (linear, networks)
        )
        some = tuple(itertools.compress(names, rest))
        chosen = _chosen(paths, others, some, weight[rest], rule)
        whole = [*linear, *networks][[*paths, *others].index(chosen)]
        odds[test] = whole.margins[test] / fit_temperature(whole.margins[rest], weight[rest])
        for path in _best(paths):
            margins = linear[paths.index(path)].margins
            linear_odds[test] = margins[test] / fit_temperature(margins[rest], weight[rest])
    return odds, linear_odds if linear else None


def _folds(names: Sequence[str], weight: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(n,) number of each pair's fold; pairs with weight are dealt out, so that each has some."""
    counted = weight > 0
    fold = np.zeros(len(names), int)
    fold[counted] = folds_of(tuple(itertools.compress(names, counted)), folds, seed)
    return fold


Judge = Callable[[np.ndarray, Strengths], Scored]


def _linear_candidates(left_out: LeftOut, judge: Judge, grid: Grid) -> list[Scored]:
    """The linear path alone at every ridge."""
    found = left_out.linear(grid.linear_ridges)
    return [
        judge(margins, Strengths(math.inf, ridge, None))
        for ridge, margins in zip(grid.linear_ridges, found, strict=True)
    ]


def _network_candidates(
    left_out: LeftOut, judge: Judge, grid: Grid, simplest: Sequence[Scored]
) -> list[Scored]:
    """Networks along the strengths, with and without Phase II, in order of growing complexity.

    First every other strength, until two of them in a row were no better than the best before,
    each from the networks of the one before it; then the neighbours of the best, from its own.

    Args:
        left_out: folds.
        judge: of margins.
        grid: what is tried.
        simplest: the best linear path, beside whose ridge they are; none without a path.
    """
    linear_ridge = simplest[0].candidate.linear_ridge if simplest else None
    least = simplest[0].candidate.log_loss if simplest else math.inf
    tried: dict[int, list[Scored]] = {}

    def attempt(index: int, start: Paths | None) -> tuple[Paths, float]:
        strength = grid.strengths[index]
        paths, found = left_out.network(start, strength, linear_ridge, grid.ridges)
        tried[index] = [
            judge(margins, Strengths(strength, linear_ridge, ridge))
            for ridge, margins in zip((None, *grid.ridges), found, strict=True)
        ]
        return paths, min(each.candidate.log_loss for each in tried[index])

    best: tuple[int, Paths] | None = None
    paths, waited = None, 0
    for index in range(0, len(grid.strengths), _STRIDE):
        paths, loss = attempt(index, paths)
        waited = 0 if loss < least else waited + 1
        if not waited:
            least, best = loss, (index, paths)
        if waited == _PATIENCE:
            break
    if best is not None:
        around, paths = best
        for index in (around - 1, around + 1):
            if index in range(len(grid.strengths)):
                attempt(index, paths)
    return [each for index in sorted(tried) for each in tried[index]]


def _fallback(
    params: Params, config: Config, grid: Grid, groups: tuple[str, ...], few_groups: bool
) -> Choice:
    """The stated rule for too few groups: the simplest head that there is."""
    nothing = (math.nan, math.nan, math.nan, 1.0)  # without Phase II differences are log-odds
    strengths = Strengths(math.inf, FALLBACK_RIDGE, None)
    if not config.linear_path:
        strengths = Strengths(float(grid.strengths[0]), None, None)
    candidate = Candidate(*strengths, *nothing)
    solved_with = _solved_with(params, config, candidate)
    return Choice(
        *solved_with, candidate, (), 0, *4 * (None,), groups=groups, few_groups=few_groups
    )


def _solved_with(params: Params, config: Config, candidate: Candidate) -> tuple[Params, Config]:
    """What `solve` takes for a candidate."""
    params = params._replace(group_lasso=min(candidate.group_lasso, _ABOVE))
    if candidate.linear_ridge is not None:
        params = params._replace(linear_ridge=candidate.linear_ridge)
    if candidate.ridge is None:
        return params, dataclasses.replace(config, phase2_objective="none")
    return params._replace(ridge=candidate.ridge), config


def group_names(
    groups: Sequence[Hashable] | None, pairs: int, weight: np.ndarray | None = None
) -> tuple[str, ...]:
    """(n,) names; every pair a group of its own for None.

    Args:
        groups: of the pairs; those of weight 0 at the end, as `shard_rows` adds them in one
            process, need none.
        pairs: their number n.
        weight: (n,) of the pairs; None for names of all.

    Raises:
        TypeError: a text, a set or a mapping, or what cannot be gone through.
        CoalaError: names of another number, or a missing one.
    """
    if groups is None:
        return tuple(map(str, range(pairs)))
    if isinstance(groups, str | bytes | Set | Mapping) or not isinstance(groups, Iterable):
        raise TypeError(
            f"groups must be a sequence with the group of each pair; got {type(groups).__name__}"
        )
    given = list(groups)
    if weight is not None and len(given) < pairs and not np.any(weight[len(given) :]):
        given += [f"added {number}" for number in range(len(given), pairs)]
    if len(given) != pairs:
        raise CoalaError(
            f"groups must name the group of each of the {pairs} pairs; got {len(given)} names"
        )
    for index, name in enumerate(given):
        if name is None or name != name:  # NaN
            raise CoalaError(
                f"groups must name the group of each pair; got {name!r} for pair {index}"
            )
    return tuple(map(str, given))


def _require_settings(config: Config, grid: Grid, folds: int, rule: Rule) -> None:
    require_kind("config", config, Config)
    if not isinstance(grid, Grid):
        raise TypeError(f"grid must be a coala_jax.selection.Grid, got {type(grid).__name__}")
    for name, values in grid._asdict().items():
        array = np.asarray(values, np.float64)
        falling = array.ndim == 1 and np.all(np.diff(array) < 0) and np.all(array > 0)
        if not falling or not (array.size or name == "ridges"):
            raise CoalaError(
                f"grid.{name} must be positive numbers in falling order; got {values!r}"
            )
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise CoalaError(f"folds must be an integer of at least 2, got {folds!r}")
    if rule not in get_args(Rule):
        raise CoalaError(f"rule={rule!r} must be one of {', '.join(get_args(Rule))}")
    if config.strength_unit != "lambda_max":
        raise CoalaError(
            f"config.strength_unit must be 'lambda_max' where strengths are chosen, of which the "
            f"grid has shares; got {config.strength_unit!r}: give a strength and solve without"
        )
