"""`choose_strengths`: which strengths order pairs of unseen groups best."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._calibration import fit_temperature
from coala_jax._errors import CoalaError
from coala_jax._folds import FOLDS, folds_of
from coala_jax._group_inputs import Arrays, prepare_for
from coala_jax._inputs import PairArrays, input_status, key_or_default, prepare_params, require_kind
from coala_jax._row_mesh import on_host
from coala_jax._status import Status
from coala_jax._types import Config, Features, Params
from coala_jax.convex._memory import refuse_what_cannot_fit
from coala_jax.selection._choice import FEWEST, GRID, Choice, Grid
from coala_jax.selection._copies import with_copies
from coala_jax.selection._judged_pairs import judged_pairs
from coala_jax.selection._left_out import LeftOut
from coala_jax.selection._scores import Candidate, Rule, Scored, Strengths, choose, on_pairs, score
from coala_jax.selection._search import linear_candidates, network_candidates

# Of too few groups the linear path's ridge is chosen where that many pairs and a group a fold are
# there to say which; otherwise it leaves little more than the mean difference.
_PAIRS_OF_FEW_GROUPS = 100
FALLBACK_RIDGE = 1.0
_CHOSEN = ("group_lasso", "linear_ridge", "ridge")
# lambda_max and above, where the network is zero.
_ABOVE = 2.0
# Folds are solved to this residual. Measured on halves of webgpt, alpaca_eval_v2, quickstart and on
# 2000 made pairs: at a strength the least left-out loss is within .004 of that at .003, but for
# strong ones on quickstart (.07); at the best strength it is within .002.
_RESIDUAL = 0.2


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
    """The choice of `select` alone, which says what arguments, errors and rules are.

    Returns:
        What `solve` is to be called with, and what left-out pairs say of it.

    Example:
        >>> import numpy as np
        >>> from coala_jax import Params, PreferenceFeatures
        >>> from coala_jax.selection import SELECTED, choose_strengths
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> features = PreferenceFeatures(chosen, rejected)
        >>> choice = choose_strengths(Params(), features, None, config=SELECTED, key=None)
        >>> bool(choice.candidate.log_loss < np.log(2))
        True
    """
    arrays = _checked(params, features, config, grid, folds, rule)
    row_weight = on_host(arrays.weight).astype(np.float64)
    row_names = group_names(groups, len(row_weight), row_weight)
    if groups is None:
        row_names = with_copies(arrays, row_names)
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
    linear = linear_candidates(left_out, judge, grid) if config.linear_path else []
    simplest = _best(linear)
    if config.phase2_objective == "none":
        grid = grid._replace(ridges=())
    networks = [] if few else network_candidates(left_out, judge, grid, simplest)
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


def _checked(
    params: Params, features: Features, config: Config, grid: Grid, folds: int, rule: Rule
) -> Arrays:
    """Features that strengths can be chosen on with these settings, prepared."""
    require_kind("params", params, Params)
    require_kind("config", config, Config)
    refuse_what_cannot_fit(features, config)
    arrays = prepare_for(config, features)
    _require_settings(config, grid, folds, rule)
    config.require_phases_agree()
    require_better_chosen(config, params, arrays)
    return arrays


def _require_settings(config: Config, grid: Grid, folds: int, rule: Rule) -> None:
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
