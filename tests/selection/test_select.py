"""Strengths chosen on left-out groups: folds, candidates, the choice and what comes of it."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from coala_jax import Config, Params, PreferenceFeatures, Status, accuracy, cronos, select, solve
from coala_jax._folds import folds_of
from coala_jax._inputs import prepare_features, prepare_params
from coala_jax._intervals import cluster_standard_error
from coala_jax._status import SolveError
from coala_jax.convex._coarse import coarse_advance, coarse_begin
from coala_jax.convex._prepare import prepare
from coala_jax.selection import FEWEST, GRID, SELECTED, Candidate, Grid, choose_strengths
from coala_jax.selection._choose import _folds, group_names
from coala_jax.selection._left_out import LeftOut
from coala_jax.selection._scores import Scored, Strengths, choose, score

WIDTH = 4
KEY = jax.random.key(0)
SMALL = dataclasses.replace(SELECTED, n_gates=6)
SHORT = Grid(strengths=(0.6, 0.3), linear_ridges=(1.0, 0.1), ridges=(0.1,))


def draw(seed: int, pairs: int, interaction: float, noise: float = 0.3) -> PreferenceFeatures:
    """A preference for x0 and, beyond a linear reward, for |x1| over |x2|."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, pairs, WIDTH)).astype(np.float32)
    rewards = [x[:, 0] + interaction * (np.abs(x[:, 1]) - np.abs(x[:, 2])) for x in (a, b)]
    swap = (rewards[0] - rewards[1] + noise * rng.logistic(size=pairs) < 0)[:, None]
    return PreferenceFeatures(np.where(swap, b, a), np.where(swap, a, b))


@pytest.fixture(scope="module")
def interaction():
    features = draw(0, 400, interaction=2.0)
    return features, select(Params(), features, config=SMALL)


def test_an_interaction_is_found_and_the_solution_is_that_of_solve(interaction):
    features, (solution, choice) = interaction
    assert choice.candidate.group_lasso < 1
    assert choice.folds == 5
    solution.raise_for_status()
    same = solve(choice.params, features, config=choice.config, key=KEY)
    np.testing.assert_array_equal(solution.head.theta1, same.head.theta1)
    unseen = draw(1, 2000, interaction=2.0)
    alone = solve(choice.params._replace(group_lasso=2.0), features, config=choice.config)
    assert accuracy(solution.head, unseen) > accuracy(alone.head, unseen) + 0.05


def test_the_table_and_the_margins_say_how_the_choice_came(interaction):
    _, (_, choice) = interaction
    ridges = [c for c in choice.table if math.isinf(c.group_lasso)]
    assert [c.linear_ridge for c in ridges] == list(GRID.linear_ridges)
    best_ridge = min(ridges, key=lambda c: c.log_loss).linear_ridge
    networks = choice.table[len(ridges) :]
    assert {c.linear_ridge for c in networks} == {best_ridge}
    strengths = list(dict.fromkeys(c.group_lasso for c in networks))
    tried = [GRID.strengths.index(strength) for strength in strengths]
    assert tried == sorted(tried) and {0, 2, 4} <= set(tried)
    best = GRID.strengths.index(min(networks, key=lambda c: c.log_loss).group_lasso)
    assert {best - 1, best + 1} & set(range(len(GRID.strengths))) <= set(tried)
    assert {c.ridge for c in networks} == {None, *GRID.ridges}
    assert choice.candidate in choice.table
    assert choice.margins.shape == (400,)
    assert np.mean(choice.margins > 0) == pytest.approx(choice.candidate.accuracy)
    losses = np.logaddexp(0, -choice.margins / choice.candidate.temperature)
    assert losses.mean() == pytest.approx(choice.candidate.log_loss)


@pytest.mark.slow
def test_a_linear_preference_is_left_to_the_linear_path():
    features = draw(2, 300, interaction=0.0, noise=1.0)
    solution, choice = select(Params(), features, config=SMALL)
    assert choice.candidate.group_lasso == math.inf
    assert int(solution.stats.phase1.active_neurons) == 0
    assert int(solution.stats.phase2.epochs) == 0
    assert Status(int(solution.status)) == Status.SOLVED
    np.testing.assert_array_equal(choice.margins, choice.linear_margins)


def test_a_left_out_pair_has_no_part_in_the_heads_that_judge_its_fold():
    """Change one, and the margins of the others of its fold stay as they are."""
    pairs, fold = draw(3, 60, interaction=1.0), np.arange(60) % 3
    changed = jax.tree.map(np.array, pairs)
    changed.chosen[1] *= 100
    others = (fold == 1) & (np.arange(60) != 1)
    params = prepare_params(Params())
    margins = []
    for each in (pairs, changed):
        left_out = LeftOut(prepare_features(each), fold, params, SMALL, KEY)
        margins.append([left_out.linear([1.0]), left_out.network(None, 0.5, 1.0, [0.1])[1]])
    for before, after in zip(*margins, strict=True):
        np.testing.assert_array_equal(before[:, others], after[:, others])
        assert not np.allclose(before[:, fold != 1], after[:, fold != 1])


def test_linear_margins_are_those_of_scikit_learn_without_the_fold():
    features = draw(4, 90, interaction=0.5)
    fold, ridge = np.arange(90) % 3, 0.2
    left_out = LeftOut(prepare_features(features), fold, prepare_params(Params()), SMALL, KEY)
    (margins,) = left_out.linear([ridge])
    for number in range(3):
        train, test = fold != number, fold == number
        rows = np.concatenate([features.chosen[train], features.rejected[train]])
        scale = rows.std(axis=0)
        difference = (features.chosen - features.rejected) / scale
        x = np.concatenate([difference[train], -difference[train]])
        model = LogisticRegression(C=1 / (len(x) * ridge), fit_intercept=False, tol=1e-10)
        model.fit(x, np.repeat([1, 0], train.sum()))
        np.testing.assert_allclose(margins[test], difference[test] @ model.coef_[0], atol=2e-3)


def test_network_margins_are_near_those_of_a_solve_without_the_fold():
    features = draw(5, 150, interaction=2.0)
    fold = np.arange(150) % 2
    config = dataclasses.replace(SMALL, phase2_objective="none")
    params = Params(group_lasso=0.3, linear_ridge=0.1, gap_tolerance=1e-4)
    coarse = prepare_params(Params(residual_tolerance=1e-4))
    left_out = LeftOut(prepare_features(features), fold, coarse, SMALL, KEY)
    first = left_out.network(None, 0.3, 0.1, [])[1][0]
    weighted = features._replace(weight=(fold == 1).astype(np.float32))
    head = cronos(params, weighted, config=config, key=KEY).raise_for_status().head
    pairs = prepare_features(features)
    expected = np.asarray(head(pairs.chosen) - head(pairs.rejected))[fold == 0]
    np.testing.assert_allclose(first[fold == 0], expected, atol=0.05)


def test_groups_are_never_split():
    names = [f"g{number % 25}" for number in range(100)]
    fold = folds_of(names, 5, seed=3)
    assert all(
        len({f for f, n in zip(fold, names, strict=True) if n == name}) == 1 for name in names
    )
    # Each group of four copies of a pair with random labels: split, copies would give them away.
    rng = np.random.default_rng(0)
    base = rng.standard_normal((2, 30, WIDTH)).astype(np.float32)
    chosen, rejected = (np.repeat(side, 4, axis=0) for side in base)
    features, groups = PreferenceFeatures(chosen, rejected), np.repeat(np.arange(30), 4)
    split, whole = (
        choose_strengths(
            Params(), features, each, config=SMALL, key=KEY, grid=SHORT, rule="minimum"
        )
        for each in (np.arange(120), groups)
    )
    assert split.candidate.accuracy > whole.candidate.accuracy + 0.15


@pytest.mark.parametrize("path", [True, False])
def test_too_few_groups_fall_back_to_the_stated_rule(path):
    features = draw(6, 60, interaction=1.0)
    config = dataclasses.replace(SMALL, linear_path=path)
    groups = np.arange(60) % (FEWEST - 1)
    solution, choice = select(Params(), features, groups, config=config)
    assert (choice.folds, choice.table, choice.margins) == (0, (), None)
    assert choice.config.phase2_objective == "none"
    if path:
        assert choice.candidate.group_lasso == math.inf
        assert int(solution.stats.phase1.active_neurons) == 0
    else:
        assert choice.params.group_lasso == GRID.strengths[0]
    enough = choose_strengths(
        Params(), features, np.arange(60) % FEWEST, config=config, key=KEY, grid=SHORT
    )
    assert enough.folds == 5 and choice.few_groups and not enough.few_groups


@pytest.mark.parametrize(("pairs", "groups", "folds"), [(100, 5, 5), (99, 5, 0), (100, 4, 0)])
def test_few_groups_of_many_pairs_choose_the_linear_ridge_alone(pairs, groups, folds):
    features = draw(8, pairs, interaction=1.0)
    names = np.arange(pairs) % groups
    choice = choose_strengths(Params(), features, names, config=SMALL, key=KEY)
    assert choice.few_groups and choice.folds == folds
    assert choice.candidate.group_lasso == math.inf
    tried = [candidate.linear_ridge for candidate in choice.table]
    assert tried == (list(GRID.linear_ridges) if folds else [])
    assert all(candidate.group_lasso == math.inf for candidate in choice.table)
    if folds:
        least = min(candidate.log_loss for candidate in choice.table)
        assert choice.candidate.log_loss == least
        np.testing.assert_array_equal(choice.margins, choice.linear_margins)


def test_without_a_path_the_strengths_alone_are_chosen():
    features = draw(7, 200, interaction=2.0)
    config = Config(phase1_loss="squared", n_gates=6)
    choice = choose_strengths(Params(), features, None, config=config, key=KEY, grid=SHORT)
    assert choice.linear_margins is None
    assert [(c.group_lasso, c.ridge) for c in choice.table] == [
        (0.6, None),
        (0.6, 0.1),
        (0.3, None),
        (0.3, 0.1),
    ]


def scored(loss: float, losses: list[float], right: float = 0.5, strength: float = 1.0) -> Scored:
    candidate = Candidate(strength, 1.0, None, loss, 0.0, right, 1.0)
    return Scored(candidate, np.zeros(len(losses)), np.asarray(losses))


def test_the_rule_of_one_standard_error_is_that_of_the_difference():
    groups, weight = list("abcd"), np.ones(4)
    noisy = [0.1, 0.9, 0.2, 0.8]
    a_little_worse = [x + d for x, d in zip(noisy, (0.01, -0.01, 0.02, 0.0), strict=True)]
    clearly_worse = [x + 0.01 for x in noisy]
    best = scored(np.mean(noisy), noisy)
    near = scored(np.mean(a_little_worse), a_little_worse)
    far = scored(np.mean(clearly_worse), clearly_worse)
    assert choose([near, best], groups, weight, "one_standard_error") == 0
    assert choose([far, best], groups, weight, "one_standard_error") == 1
    assert choose([near, best], groups, weight, "minimum") == 1


def test_what_broke_down_is_never_chosen():
    groups, weight = list("abcd"), np.ones(4)
    strengths = Strengths(0.3, None, None)
    broken = score(np.array([1, np.nan, 1, 1]), strengths, groups=groups, weight=weight)
    whole = score(np.array([0.1, -0.2, 0.1, -0.1]), strengths, groups=groups, weight=weight)
    assert math.isinf(broken.candidate.log_loss) and broken.candidate.accuracy == 0
    for rule in ("one_standard_error", "minimum"):
        assert choose([broken, whole], groups, weight, rule) == 1
        with pytest.raises(SolveError, match="all 2 candidates broke down .* enable x64"):
            choose([broken, broken], groups, weight, rule)


def test_a_path_that_broke_down_begins_anew(interaction):
    features, _ = interaction
    params = prepare_params(Params(group_lasso=0.3))._replace(residual_tolerance=0.2)
    path = coarse_begin(params, prepare_features(features), KEY, SMALL)
    expected = coarse_advance(params, path, SMALL).state
    spoilt = jax.tree.map(
        lambda leaf: leaf * np.nan if jax.numpy.issubdtype(leaf.dtype, np.floating) else leaf,
        path.state,
    )
    found = coarse_advance(params, path._replace(state=spoilt), SMALL).state
    np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-4, atol=1e-5)


def test_the_linear_path_gives_way_to_two_standard_errors():
    groups, weight, noise = [str(n) for n in range(50)], np.ones(50), np.tile([0.3, -0.3], 25)
    error = cluster_standard_error(noise, groups)
    for errors, chosen in ((0.5, 0), (1.5, 0), (2.5, 1)):
        losses = 0.6 + noise + errors * error
        for strength, index in ((math.inf, chosen), (0.8, int(errors > 1))):
            first = scored(losses.mean(), losses, strength=strength)
            second = scored(0.6, np.full(50, 0.6))
            assert choose([first, second], groups, weight, "one_standard_error") == index


def test_what_orders_fewer_pairs_than_the_linear_path_is_no_candidate():
    groups, weight = list("abcd"), np.ones(4)
    linear = scored(0.7, [0.7] * 4, right=0.6)
    confident = scored(0.5, [0.5] * 4, right=0.59)
    better = scored(0.6, [0.6] * 4, right=0.6)
    assert choose([linear, confident], groups, weight, "one_standard_error") == 0
    assert choose([linear, confident, better], groups, weight, "one_standard_error") == 2
    assert choose([linear, confident, better], groups, weight, "minimum") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ["a"] * 3}, r"groups must name the group of each of the 40 pairs; got 3"),
        ({"folds": 1}, r"folds must be an integer of at least 2, got 1"),
        ({"rule": "min"}, "rule='min' must be one of minimum, one_standard_error"),
        (
            {"config": dataclasses.replace(SMALL, strength_unit="absolute")},
            r"config\.strength_unit must be 'lambda_max' where strengths are chosen",
        ),
        ({"grid": Grid(strengths=(0.1, 0.5))}, r"grid\.strengths must be positive numbers in fall"),
        ({"grid": Grid(linear_ridges=())}, r"grid\.linear_ridges must be"),
        ({"grid": Grid(ridges=(0.1, -1.0))}, r"grid\.ridges must be"),
        ({"key": 3}, r"key must be a typed key, got 3: give jax\.random\.key\(3\)"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        select(Params(), draw(8, 40, interaction=0.0), **{"config": SMALL, **change})


def test_pairs_that_were_added_need_no_group():
    weight = np.array([1.0, 2.0, 0.0, 0.0])
    names = group_names(["a", "a"], 4, weight)
    assert names[:2] == ("a", "a") and len(set(names[1:])) == 3
    with pytest.raises(ValueError, match="each of the 4 pairs; got 1"):
        group_names(["a"], 4, weight)
    with pytest.raises(ValueError, match="each of the 4 pairs; got 2"):
        group_names(["a", "a"], 4)


def test_weights_count_as_repetitions_and_pairs_without_any_as_none():
    features, fold = draw(9, 60, interaction=1.0), np.arange(60) % 3
    weight = np.tile([0.0, 1.0, 2.0, 1.0], 15).astype(np.float32)
    repeated = np.repeat(np.arange(60), weight.astype(int))
    params = prepare_params(Params())
    margins = []
    for each, number in (
        (features._replace(weight=weight), fold),
        (jax.tree.map(lambda side: side[repeated], features), fold[repeated]),
    ):
        left_out = LeftOut(prepare_features(each), number, params, SMALL, KEY)
        margins.append(left_out.linear([1.0, 0.1]))
    np.testing.assert_allclose(margins[0][:, repeated], margins[1], atol=2e-3)
    # Another margin altogether where weights are left out.
    plain = LeftOut(prepare_features(features), fold, params, SMALL, KEY).linear([1.0, 0.1])
    assert np.abs(plain - margins[0]).max() > 0.05


def test_every_fold_has_pairs_with_weight():
    names, weight = [f"g{n}" for n in range(200)], np.r_[np.ones(10), np.zeros(190)]
    for seed in range(20):
        fold = _folds(names, weight, 5, seed)
        assert set(fold[:10]) == {0, 1, 2, 3, 4} and not fold[10:].any()


def test_bad_values_have_a_status_and_what_is_chosen_is_not_read():
    features = draw(9, 60, interaction=0.0)
    broken = features._replace(chosen=np.full_like(features.chosen, np.nan))
    solution, _ = select(Params(), broken, config=SMALL, grid=SHORT)
    assert Status(int(solution.status)) == Status.NOT_FINITE_INPUT
    for leaf in ("beta", "rho", "learning_rate"):
        solution, _ = select(Params(**{leaf: 0.0}), features, config=SMALL, grid=SHORT)
        assert Status(int(solution.status)) == Status.INVALID_PARAMETER
    unread = Params(group_lasso=-1.0, linear_ridge=-1.0, ridge=0.0)
    choice = choose_strengths(unread, features, None, config=SMALL, key=KEY, grid=SHORT)
    assert choice.folds == 5 and min(choice.params[:2]) > 0 and choice.params.ridge > 0


@pytest.mark.parametrize("objective", ["pointwise", "none"])
@pytest.mark.slow
def test_folds_have_the_phase_two_that_is_solved_with(objective):
    features = draw(5, 150, interaction=2.0)
    config = dataclasses.replace(SMALL, phase2_objective=objective)
    choice = choose_strengths(Params(), features, None, config=config, key=KEY, grid=SHORT)
    networks = [each for each in choice.table if math.isfinite(each.group_lasso)]
    assert {each.ridge for each in networks} == ({None} if objective == "none" else {None, 0.1})
    if objective == "none":
        return
    fold = np.arange(150) % 2
    coarse = prepare_params(Params(residual_tolerance=1e-4))
    left_out = LeftOut(prepare_features(features), fold, coarse, config, KEY)
    second = left_out.network(None, 0.3, 0.1, [0.1])[1][1]
    weighted = features._replace(weight=(fold == 1).astype(np.float32))
    params = Params(group_lasso=0.3, linear_ridge=0.1, ridge=0.1, gap_tolerance=1e-4)
    gates = sample_gates_of(params, weighted, config)
    head = solve(params, weighted, config=config, gates=gates).raise_for_status().head
    expected = np.asarray(head(features.chosen) - head(features.rejected))[fold == 0]
    np.testing.assert_allclose(second[fold == 0], expected, atol=0.1)


def sample_gates_of(params: Params, features: PreferenceFeatures, config: Config) -> jax.Array:
    """The gates that Phase I draws from the key itself."""
    pairs = prepare_features(features)
    return prepare(prepare_params(params), pairs, config, KEY, None).gates.vectors


def test_targets_below_0_and_a_phase_that_forgets_them_are_refused():
    rng = np.random.default_rng(0)
    pairs = PreferenceFeatures(*rng.standard_normal((2, 40, 3)), margin=rng.standard_normal(40))
    config = dataclasses.replace(
        SELECTED, phase1_loss="squared_difference", phase2_objective="none"
    )
    below = int((np.asarray(pairs.margin) < 0).sum())
    with pytest.raises(ValueError, match=f"margin: {below} targets .* are below 0"):
        choose_strengths(Params(), pairs, None, config=config, key=None)
    for margin in (None, np.zeros(40)):
        with pytest.raises(ValueError, match="margin: every target .* is 0, and phase1_loss='sq"):
            choose_strengths(Params(), pairs._replace(margin=margin), None, config=config, key=None)
    for ask in (
        lambda config: choose_strengths(Params(), pairs, None, config=config, key=None),
        lambda config: solve(Params(), pairs, config=config),
    ):
        with pytest.raises(
            ValueError, match="phase2_objective='pairwise': Phase II fits the order"
        ):
            ask(dataclasses.replace(config, phase2_objective="pairwise"))
