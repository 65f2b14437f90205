"""Programs of groups: their optimum against a cone solver, and what must not change it."""

import warnings
from functools import partial

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import (
    Config,
    GroupFeatures,
    Params,
    PreferenceFeatures,
    Status,
    certify,
    cronos,
    decompose_gated,
    refine_gates,
    regularization_path,
    solve,
)
from coala_jax.convex._head_check import doubt_at_gates
from coala_jax.convex._program import Program
from coala_jax.losses import GROUP_SQUARED
from tests.convex.test_against_clarabel import eight_digits
from tests.helpers import draw_pairs

LOSSES = ["group_squared", "listwise", "plackett_luce"]
GROUPS, MEMBERS, WIDTH = 8, 4, 2
LINEAR_RIDGE, TEMPERATURE = 0.2, 0.7
TIGHT = {"gap_tolerance": 1e-5, "violation_tolerance": 1e-4, "residual_tolerance": 1e-3}


def draw_groups(seed: int) -> GroupFeatures:
    """Members that are missing, ties, a group that says nothing, a group of one, weights."""
    rng = np.random.default_rng(seed)
    responses = rng.standard_normal((GROUPS, MEMBERS, WIDTH))
    scores = responses.sum(-1) ** 2 + rng.standard_normal((GROUPS, MEMBERS))
    mask = np.ones((GROUPS, MEMBERS), bool)
    mask[0, 0] = mask[3, 2] = mask[3, 3] = mask[5, 1] = False
    mask[6, 1:] = False
    scores[1, 2], scores[2] = scores[1, 1], 1.0
    responses[~mask], scores[~mask] = np.nan, np.nan
    return GroupFeatures(responses, scores, mask=mask, weight=rng.uniform(0.3, 2, GROUPS))


def advantage_of(scores, kind="centered"):
    """Of one group, in plain numpy."""
    if kind == "rank":
        places = [np.sum(scores > s) + (np.sum(scores == s) - 1) / 2 for s in scores]
        return 1 - 2 * np.array(places) / (len(scores) - 1)
    centered = scores - scores.mean()
    return {
        "centered": centered,
        "standardized": centered / scores.std(ddof=1),
        "leave_one_out": np.array(
            [s - (scores.sum() - s) / (len(scores) - 1) for s in scores],
        ),
    }[kind]


def cone_optimum(model, loss, kind, features, certificate, ridge) -> float:
    """Optimum of the program with the groups written out, members that are missing left out."""
    strength, scale = float(certificate.group_lasso_strength), certificate.scale
    blocks, width = len(certificate.gates), certificate.gates.shape[1]
    v = [cp.Variable(width) for _ in range(blocks)]
    w = [cp.Variable(width) for _ in range(blocks)]
    path = cp.Variable(width - 1)
    says = [
        g
        for g in range(GROUPS)
        if len(set(features.scores[g][features.mask[g]])) > 1 and features.weight[g] > 0
    ]
    penalty = strength * sum(map(cp.norm, v + w))
    if ridge is not None:
        penalty = penalty + ridge * len(says) / 2 * cp.sum_squares(path)
    cones = [u == 0 for u in w] if model == "gated_relu" else []
    mean = np.mean(features.weight[says])
    value = 0
    for g in says:
        member = features.mask[g]
        rows = np.c_[
            (features.responses[g][member] - certificate.center) / scale, np.ones(member.sum())
        ]
        d = (certificate.gates @ rows.T >= 0).astype(float)
        z = sum(cp.multiply(d[i], rows @ (v[i] - w[i])) for i in range(blocks))
        if ridge is not None:
            z = z + rows[:, :-1] @ path
        if model == "relu":
            both = [(i, u) for i in range(blocks) for u in (v[i], w[i])]
            cones += [cp.multiply(2 * d[i] - 1, rows @ u) >= 0 for i, u in both]
        scores = features.scores[g][member]
        target = advantage_of(scores, kind)
        if loss == "group_squared":
            here = 0.5 * cp.sum_squares(z - cp.sum(z) / len(scores) - target)
        elif loss == "listwise":
            share = np.exp(target / TEMPERATURE)
            here = cp.log_sum_exp(z) - (share / share.sum()) @ z
        else:
            drawn = [j for j in range(len(scores)) if scores[j] > scores.min()]
            choices = [np.flatnonzero(scores <= scores[j]) for j in drawn]
            here = sum(cp.log_sum_exp(z[c]) - z[j] for j, c in zip(drawn, choices, strict=True))
        value = value + features.weight[g] / mean * here
    return eight_digits(cp.Problem(cp.Minimize(value + penalty), cones))


def solved(features, config, *, x64=True, seed=0, **params):
    """`cronos` to tight tolerances, and its solution in numpy."""
    tight = TIGHT if x64 else {}
    with jax.enable_x64(x64):
        known = {"linear_ridge": LINEAR_RIDGE, "temperature": TEMPERATURE}
        given = Params(**{**known, **tight, **params})
        given = jax.tree.map(jnp.asarray, given)
        solution = jax.jit(partial(cronos, config=config))(
            given, features, key=jax.random.key(seed)
        )
    assert Status(int(solution.status)) == Status.SOLVED
    return jax.tree.map(np.asarray, solution)


# Each takes some seconds to compile: all losses meet both models, with a linear path or without.
CASES = [
    ("relu", "group_squared", False),
    ("gated_relu", "listwise", True),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in [
            ("relu", "plackett_luce", True),
            ("relu", "listwise", False),
            ("gated_relu", "plackett_luce", False),
            ("gated_relu", "group_squared", True),
        ]
    ),
]


@pytest.mark.parametrize(("model", "loss", "path"), CASES)
def test_optimum_of_groups_agrees_with_clarabel(model, loss, path):
    seed = LOSSES.index(loss) % 2
    features = draw_groups(seed)
    config = Config(
        model=model, phase1_loss=loss, n_gates=4, max_iterations=20_000, linear_path=path
    )
    solution = solved(features, config, group_lasso=[0.05, 0.3][seed])
    ridge = LINEAR_RIDGE if path else None
    best = cone_optimum(model, loss, "centered", features, solution.certificate, ridge)
    assert float(solution.stats.primal_value) == pytest.approx(best, rel=1e-4)
    assert float(solution.stats.dual_bound) <= best * (1 + 1e-7)
    assert float(solution.stats.primal_value) >= best * (1 - 1e-7)
    # In float32 the bounds hold for its own program, whose numbers are the same to seven digits.
    coarse = solved(features, config, x64=False, group_lasso=[0.05, 0.3][seed])
    own = cone_optimum(
        model, loss, "centered", features, jax.tree.map(np.float64, coarse.certificate), ridge
    )
    assert float(coarse.stats.dual_bound) <= own * (1 + 1e-5)
    assert own * (1 - 1e-5) <= float(coarse.stats.primal_value) <= own * 1.0101


@pytest.mark.parametrize("kind", ["standardized", "leave_one_out", "rank"])
def test_advantages_are_what_they_are_called(kind):
    features = draw_groups(2)
    config = Config(model="gated_relu", phase1_loss="group_squared", n_gates=3, advantage=kind)
    labels = solved(features, config).certificate.labels
    for g in range(GROUPS):
        scores = features.scores[g][features.mask[g]]
        if len(set(scores)) > 1:
            np.testing.assert_allclose(labels[g][features.mask[g]], advantage_of(scores, kind))
        assert not np.any(labels[g][~features.mask[g]])


@pytest.mark.slow
def test_groups_of_two_are_pairs():
    """The same program by another way: value, bound, steps and head are those of Bradley-Terry."""
    pairs = draw_pairs(3, 12)
    stacked = np.stack([pairs.rejected, pairs.chosen], 1)
    scores = np.tile([0, 5], (12, 1))
    wanted = solved(pairs, Config(phase1_loss="bradley_terry", n_gates=4))
    for loss in ("listwise", "plackett_luce"):
        config = Config(phase1_loss=loss, n_gates=4)
        of_pairs = solved(pairs, config)
        assert of_pairs.stats.iterations == wanted.stats.iterations
        groups = GroupFeatures(stacked, scores)
        for found in (of_pairs, solved(groups, config, temperature=0.0)):
            for name in ("primal_value", "lambda_max", "group_lasso_strength"):
                value, known = getattr(found.stats, name), getattr(wanted.stats, name)
                assert float(value) == pytest.approx(float(known), rel=2e-5), name


@pytest.mark.slow
def test_members_in_another_order_and_copies_of_missing_ones_change_nothing():
    features = draw_groups(4)
    config = Config(phase1_loss="plackett_luce", n_gates=4, max_iterations=20_000)
    gates = np.random.default_rng(0).standard_normal((4, WIDTH + 1))
    order = np.array([2, 0, 3, 1])
    moved = GroupFeatures(
        np.concatenate([features.responses[:, order], features.responses[:, :1] * np.nan], 1),
        np.concatenate([features.scores[:, order], features.scores[:, :1]], 1),
        mask=np.concatenate([features.mask[:, order], np.zeros((GROUPS, 1), bool)], 1),
        weight=7 * features.weight,
    )
    with jax.enable_x64(True):
        params = Params(**TIGHT)
        one, other = (cronos(params, f, config=config, gates=gates) for f in (features, moved))
    assert float(one.stats.primal_value) == pytest.approx(float(other.stats.primal_value), rel=2e-5)
    assert float(one.stats.dual_bound) == pytest.approx(float(other.stats.dual_bound), rel=2e-5)


@pytest.mark.slow
def test_a_group_that_says_nothing_is_no_part_of_the_program():
    features = draw_groups(5)
    says = np.array(
        [len(set(s[m])) > 1 for s, m in zip(features.scores, features.mask, strict=True)]
    )
    assert not says[2] and not says[6]
    # Not even with features that are far out.
    features.responses[2] *= 1000
    some = GroupFeatures(*(None if x is None else x[says] for x in features))
    config = Config(phase1_loss="listwise", n_gates=4, max_iterations=20_000)
    gates = np.random.default_rng(0).standard_normal((4, WIDTH + 1))
    with jax.enable_x64(True):
        params = Params(**TIGHT)
        one, other = (cronos(params, f, config=config, gates=gates) for f in (features, some))
    assert float(one.stats.primal_value) == pytest.approx(float(other.stats.primal_value), rel=2e-5)
    assert int(one.stats.iterations) == int(other.stats.iterations)


def test_ranks_are_scores_from_the_other_end():
    features = draw_groups(6)
    ranks = np.where(features.mask, np.argsort(np.argsort(-features.scores, 1), 1) + 1.0, 9.0)
    ranks = ranks.astype(int)
    config = Config(model="gated_relu", phase1_loss="plackett_luce", n_gates=3)
    one = solved(features._replace(scores=None, ranks=ranks), config)
    other = solved(features._replace(scores=-ranks), config)
    assert float(one.stats.primal_value) == float(other.stats.primal_value)


@pytest.mark.slow
def test_whatever_takes_pairs_takes_groups():
    """By the loss that is hardest to solve: none of these asks which it is."""
    features = draw_groups(7)
    config = Config(phase1_loss="plackett_luce", n_gates=4, max_iterations=10_000, linear_path=True)
    with jax.enable_x64(True):
        params = Params(**TIGHT)
        solution = cronos(params, features, config=config)
        report = certify(params, features, solution.certificate, config=config)
        assert float(report.relative_gap) <= 1e-4
        path = regularization_path(params, features, jnp.array([0.5, 0.2, 0.05]), config=config)
        assert np.all(np.asarray(path.status) == Status.SOLVED)
        swept = jax.vmap(
            lambda s: cronos(params._replace(group_lasso=s), features, config=config).stats
        )(jnp.array([0.5, 0.2]))
        np.testing.assert_allclose(
            swept.primal_value, np.asarray(path.stats.primal_value)[:2], rtol=2e-5
        )
        refined = refine_gates(Params(), features, config=config, max_rounds=2)
        assert float(refined.stats.phase1.primal_value) <= float(solution.stats.primal_value) * 1.01
        gated = Config(model="gated_relu", phase1_loss="plackett_luce", n_gates=4)
        gates = cronos(params, features, config=gated)
        plain = decompose_gated(features, gates.certificate)
        # Groups that say nothing are no part of the program.
        rows = features.responses[features.mask & ~np.isin(np.arange(GROUPS), (2, 6))[:, None]]
        np.testing.assert_allclose(plain(rows), gates.head(rows), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "path"), [("listwise", False), ("group_squared", True), ("plackett_luce", True)]
)
def test_gradients_of_the_optimum_are_differences(loss, path):
    features = draw_groups(8)
    features = features._replace(
        responses=np.nan_to_num(features.responses), scores=np.nan_to_num(features.scores)
    )
    config = Config(phase1_loss=loss, n_gates=3, max_iterations=50_000, linear_path=path)
    gates = np.random.default_rng(1).standard_normal((3, WIDTH + 1))
    probe = np.random.default_rng(2).standard_normal((5, WIDTH))
    exact = {key: 1e-9 for key in TIGHT}

    def total(strength, temperature, scores):
        params = Params(group_lasso=strength, temperature=temperature, **exact)
        given = features._replace(scores=scores)
        return jnp.sum(cronos(params, given, config=config, gates=gates).head(probe))

    with jax.enable_x64(True):
        at = (jnp.asarray(0.1), jnp.asarray(0.8), jnp.asarray(features.scores))
        slopes = jax.grad(total, argnums=(0, 1, 2))(*at)
        step = 1e-5
        for number in (0, 1):
            ends = [
                float(total(*at[:number], at[number] + sign * step, *at[number + 1 :]))
                for sign in (1, -1)
            ]
            assert float(slopes[number]) == pytest.approx(
                (ends[0] - ends[1]) / (2 * step), rel=1e-3, abs=1e-6
            )
        # The score that matters most: of others the differences are next to the solves' accuracy.
        place = np.unravel_index(np.argmax(np.abs(slopes[2])), slopes[2].shape)
        moved = [at[2].at[place].add(sign * step) for sign in (1, -1)]
        ends = [float(total(*at[:2], scores)) for scores in moved]
        assert float(slopes[2][place]) == pytest.approx(
            (ends[0] - ends[1]) / (2 * step), rel=1e-3, abs=1e-6
        )


ONE = np.zeros((3, 2, 2))
BAD = [
    (GroupFeatures(np.zeros((3, 2)), np.zeros((3, 2))), "responses must be .n, k, d."),
    (GroupFeatures(np.zeros((3, 1, 2)), np.zeros((3, 1))), "groups of 1 responses"),
    (GroupFeatures(ONE), "give one of scores and ranks, got none"),
    (GroupFeatures(ONE, np.zeros((3, 2)), np.zeros((3, 2))), "got scores and ranks"),
    (GroupFeatures(ONE, np.zeros((2, 3))), "scores must have one value a response, .3, 2."),
    (GroupFeatures(ONE, np.ones((3, 2))), "of 3 groups 0 have fewer than two members and 3"),
    (
        GroupFeatures(ONE, np.eye(3, 2), mask=np.eye(3, 2) > 0),
        "of 3 groups 3 have fewer than two members",
    ),
    (GroupFeatures(ONE, np.eye(3, 2), mask=np.ones((3, 2))), "mask must be an array of booleans"),
    (GroupFeatures(ONE, np.eye(3, 2), weight=np.ones(2)), "one value a group, .3,."),
    (GroupFeatures(ONE, [[1, 2]] * 3), "scores must be a jax or numpy array, got list"),
    (GroupFeatures(ONE.astype(int), np.eye(3, 2)), "responses has dtype int64"),
]


@pytest.mark.parametrize(("features", "words"), BAD)
def test_bad_groups_are_named(features, words):
    with pytest.raises((TypeError, ValueError), match=words):
        cronos(Params(), features, config=Config(phase1_loss="listwise"))


@pytest.mark.slow
def test_a_loss_of_groups_of_ones_own_goes_through_both_phases():
    """One that says nothing of its change, as `Loss` lets it: the same head, as values tell."""
    own = GROUP_SQUARED._replace(change=None)
    heads = [
        solve(
            Params(),
            draw_groups(3),
            config=Config(phase1_loss=loss, model="gated_relu", n_gates=3),
        )
        .raise_for_status()
        .head
        for loss in (own, GROUP_SQUARED)
    ]
    np.testing.assert_allclose(heads[0].theta2, heads[1].theta2, rtol=1e-2, atol=1e-3)


def test_a_loss_takes_what_it_is_of():
    groups, pairs = draw_groups(0), draw_pairs(0, 5)
    with pytest.raises(
        ValueError, match="phase1_loss='squared'.* is of single responses: give a Config"
    ):
        cronos(Params(), groups)
    with pytest.raises(
        ValueError, match="is of pairs: give a Config with one of group_squared, listwise"
    ):
        cronos(Params(), groups, config=Config(phase1_loss="bradley_terry"))
    words = np.full(groups.scores.shape, "good")
    with pytest.raises(
        TypeError, match=r"features.scores has dtype <U4, such as .*'good'.*: scores"
    ):
        cronos(Params(), groups._replace(scores=words), config=Config(phase1_loss="listwise"))
    given = PreferenceFeatures(pairs.chosen, pairs.rejected, margin=np.ones(5))
    with pytest.raises(ValueError, match="features.margin is read by losses of pairs"):
        cronos(Params(), given, config=Config(phase1_loss="listwise"))


@pytest.mark.parametrize("what", ["scores", "responses", "weight"])
def test_values_that_are_not_finite_have_a_status(what):
    features = draw_groups(0)
    values = np.array(getattr(features, what))
    values[4] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cronos(
            Params(), features._replace(**{what: values}), config=Config(phase1_loss="listwise")
        )
    assert Status(int(found.status)) == Status.NOT_FINITE_INPUT


def test_a_row_next_to_a_gate_puts_the_outputs_of_its_own_group_in_doubt():
    """And of no other: all rows lie far from both gates, but for one on the first."""
    rng = np.random.default_rng(0)
    responses = rng.uniform(1, 2, (5, 3, 2))
    responses[3, 1] = 1.5, -1.5
    gates = jnp.asarray([[1.0, 1.0, 0.0], [1.0, 0.5, 0.3]])
    x = jnp.asarray(np.c_[responses.reshape(15, 2), np.ones(15)])
    program = Program(
        x,
        jnp.ones((2, 15)),
        jnp.zeros((5, 3)),
        jnp.ones((5, 3)),
        jnp.ones(()),
        GROUP_SQUARED,
        "gated_relu",
    )
    weights = jnp.asarray(rng.standard_normal((1, 2, 3)))
    doubt = np.asarray(doubt_at_gates(program, gates, weights))
    moved = abs(float(weights[0, 0] @ x[10]))
    np.testing.assert_allclose(doubt[3], moved * np.array([1 / 3, 4 / 3, 1 / 3]), rtol=1e-5)
    assert moved > 0 and not np.delete(doubt, 3, axis=0).any()
