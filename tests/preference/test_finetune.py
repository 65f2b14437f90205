"""Phase II against damped Newton, scikit-learn and closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from coala_jax import (
    Config,
    ConvexHead,
    GroupFeatures,
    Params,
    PreferenceFeatures,
    Status,
    evaluate,
    finetune,
)
from coala_jax._inputs import prepare_features, prepare_params
from coala_jax.preference import (
    newton_optimum,
    objective,
    objective_change,
    preference_problem,
    reward_metrics,
)
from coala_jax.preference._objective import logistic_problem
from coala_jax.preference._terms import balance_neurons, neuron_differences
from tests.helpers import draw_pairs, random_head

PAIRS, WIDTH, NEURONS = 120, 5, 8


def draw_problem(seed: int = 0, **columns) -> tuple[ConvexHead, PreferenceFeatures]:
    rng = np.random.default_rng(seed)
    head = jax.tree.map(jnp.asarray, random_head(WIDTH, seed=rng, neurons=NEURONS))
    features = draw_pairs(rng, PAIRS, WIDTH, shift=0.4, dtype="float32")
    return head._replace(theta2=head.theta2 / 10), features._replace(**columns)


def newton_of(params, head, features, kind="pairwise"):
    params, pairs = prepare_params(params), prepare_features(features)
    head = balance_neurons(head, pairs)
    problem = logistic_problem(kind, head, pairs, params.gamma)
    return newton_optimum(params, problem), problem


@pytest.mark.parametrize("kind", ["pointwise", "groups"])
def test_the_problem_of_a_solved_head_is_the_one_that_was_solved(kind):
    head, features = draw_problem()
    config = Config(phase2_objective="pointwise")
    if kind == "groups":
        responses = np.stack([*features[:2], features.chosen - features.rejected], axis=1)
        features = GroupFeatures(responses, scores=responses[..., 0])
        mixed = dataclasses.replace(config, phase1_loss="listwise")
        with pytest.raises(ValueError, match="phase2_objective='pointwise' is of pairs"):
            preference_problem(Params(), head, features, config=mixed)
        config = Config(phase1_loss="listwise")
    solution = finetune(Params(), head, features, config=config).raise_for_status()
    problem = preference_problem(Params(), solution.head, features, config=config)
    above = float(solution.stats.loss - newton_optimum(Params(), problem).value)
    assert -1e-6 <= above <= float(solution.stats.excess) + 1e-6


@pytest.mark.parametrize("kind", ["pairwise", "pointwise"])
@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_default_settings_reach_the_newton_optimum(kind, gamma):
    """To 1e-6 in the objective within the default cap of epochs."""
    rng = np.random.default_rng(7)
    head, features = draw_problem(
        weight=rng.uniform(0.2, 2, PAIRS), margin=rng.uniform(0, 1, PAIRS)
    )
    params = Params(gamma=gamma, beta=1.5)
    result = finetune(params, head, features, config=Config(phase2_objective=kind))
    truth, _ = newton_of(params, head, features, kind)
    assert int(result.status) == Status.SOLVED
    assert int(result.stats.epochs) < Config().max_epochs
    assert float(result.stats.loss - truth.value) <= 1e-6 + 1e-6 * float(truth.value)


@pytest.mark.parametrize("batch_size", [None, 32, 50])
def test_the_training_loss_never_rises_and_margins_grow(batch_size):
    head, features = draw_problem()
    config = Config(batch_size=batch_size, max_epochs=200)
    history = finetune(
        Params(), head, features, config=config, eval_features=draw_problem(1)[1]
    ).history
    trace = np.asarray(history.train.loss)
    trace = trace[np.isfinite(trace)]
    assert len(trace) > 10
    assert np.all(np.diff(trace) <= 0)
    margins = np.asarray(history.train.reward_margin)[: len(trace)]
    assert margins[-1] > margins[0]


def test_a_learning_rate_far_too_large_still_never_raises_the_loss():
    head, features = draw_problem()
    history = finetune(Params(learning_rate=50.0), head, features).history
    trace = np.asarray(history.train.loss)
    assert np.all(np.diff(trace[np.isfinite(trace)]) <= 0)


def test_newton_agrees_with_scikit_learn():
    head, features = draw_problem(3)
    params = Params(ridge=0.01)
    with jax.enable_x64(True):
        result, problem = newton_of(params, head, features)
        design = np.asarray(problem.design)
    # sklearn minimises C sum log-loss + ||w||^2 / 2; each pair appears with both signs.
    model = LogisticRegression(C=1 / (0.01 * PAIRS * 2), fit_intercept=False, tol=1e-10)
    labels = np.repeat([1, 0], PAIRS)
    model.fit(np.concatenate([design, -design]), labels)
    np.testing.assert_allclose(result.theta2, model.coef_[0], rtol=1e-4, atol=1e-5)
    assert int(result.steps) <= 10


def test_newton_is_a_minimum_on_separable_pairs():
    head, features = draw_problem()
    features = features._replace(rejected=features.chosen - 3.0)
    with jax.enable_x64(True):
        result, problem = newton_of(Params(ridge=1e-6), head, features)
        assert float(result.gradient_norm) < 1e-10
        nearby = result.theta2 + 0.01 * jax.random.normal(jax.random.key(0), (NEURONS,))
        assert float(objective(prepare_params(Params(ridge=1e-6)), problem, nearby)) > float(
            result.value
        )


def test_the_change_of_the_objective_is_exact_where_both_values_round_alike():
    head, features = draw_problem()
    with jax.enable_x64(True):
        params = prepare_params(Params())
        result, problem = newton_of(Params(), head, features)
        step = 1e-3 * jax.random.normal(jax.random.key(0), (NEURONS,))
        before = objective(params, problem, result.theta2)
        expected = float(objective(params, problem, result.theta2 + step) - before)
    small = jax.tree.map(lambda x: x.astype(jnp.float32), (params, problem, result.theta2, step))
    change = objective_change(small[0], small[1], small[2], small[2] + small[3])
    assert expected < 1e-6
    assert float(change) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("objective", ["pairwise", "pointwise"])
def test_weights_act_as_repeated_rows(objective):
    head, features = draw_problem(2)
    weight = np.random.default_rng(0).integers(1, 4, PAIRS)
    repeated = PreferenceFeatures(
        np.repeat(features.chosen, weight, axis=0), np.repeat(features.rejected, weight, axis=0)
    )
    config = Config(phase2_objective=objective)
    a = finetune(Params(), head, features._replace(weight=weight.astype(float)), config=config)
    b = finetune(Params(), head, repeated, config=config)
    np.testing.assert_allclose(a.head.theta2, b.head.theta2, rtol=1e-2, atol=1e-3)
    assert float(a.stats.loss) == pytest.approx(float(b.stats.loss), rel=1e-4)


def test_a_constant_margin_is_gamma():
    head, features = draw_problem()
    a = finetune(Params(gamma=0.7), head, features)
    b = finetune(Params(), head, features._replace(margin=np.full(PAIRS, 0.7)))
    np.testing.assert_allclose(a.head.theta2, b.head.theta2, rtol=1e-4, atol=1e-5)


def test_balancing_keeps_the_function_and_drops_dead_neurons():
    head, features = draw_problem()
    head = head._replace(bias=head.bias.at[0].set(-1e6))
    balanced = balance_neurons(head, prepare_features(features))
    np.testing.assert_allclose(
        balanced(features.chosen), head(features.chosen), rtol=1e-3, atol=1e-5
    )
    assert float(balanced.theta2[0]) == 0
    difference = balanced.neurons(features.chosen) - balanced.neurons(features.rejected)
    spread = jnp.sqrt(jnp.mean(difference**2, axis=0))
    np.testing.assert_allclose(spread[1:], 1, rtol=1e-4)


def test_a_neuron_whose_terms_cancel_to_rounding_is_dropped_and_what_is_claimed_holds():
    """Its weights lie across the line that all features are on."""
    rng = np.random.default_rng(3)
    along = np.array([0.94, 0.34])
    chosen, rejected = (np.outer(rng.normal(shift, 1, 30), along) for shift in (0.4, 0.0))
    features = PreferenceFeatures(chosen.astype("f4"), rejected.astype("f4"))
    theta1 = np.array([[1.0, -0.5, 1.2e5 * 0.34], [0.5, 0.2, -1.2e5 * 0.94]], "f4")
    ones = np.ones(3, "f4")
    head = ConvexHead(theta1, np.array([0.1, 0.2, 0.0], "f4"), ones, np.zeros(2, "f4"))
    solution = finetune(Params(), head, features)
    assert int(solution.status) == Status.SOLVED
    np.testing.assert_array_equal(np.asarray(solution.head.theta1)[:, 2], 0)
    assert np.all(np.asarray(solution.head.theta1)[:, :2] != 0)

    wide = jax.tree.map(lambda leaf: np.asarray(leaf, float), solution.head)
    outputs = (
        np.maximum(np.asarray(side, float) @ wide.theta1 + wide.bias, 0) for side in features[:2]
    )
    design = np.subtract(*outputs)
    slack = np.logaddexp(0, -design @ wide.theta2)
    loss = np.mean(slack) + 0.5 * float(Params().ridge) * wide.theta2 @ wide.theta2
    np.testing.assert_allclose(float(solution.stats.loss), loss, rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-30, 1e-20, 1e25])
def test_the_unit_of_the_neurons_is_no_matter(unit):
    """Their squares need not be float32 numbers."""
    head, features = draw_problem()
    scaled = head._replace(
        theta1=unit * head.theta1, bias=unit * head.bias, theta2=head.theta2 / unit
    )
    plain, found = (finetune(Params(), each, features) for each in (head, scaled))
    assert int(found.status) == Status.SOLVED
    np.testing.assert_allclose(found.head.theta2, plain.head.theta2, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        found.head(features.chosen), plain.head(features.chosen), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("leaf", ["theta1", "bias", "theta2"])
def test_a_head_that_is_not_finite_is_no_start(leaf):
    head, features = draw_problem()
    broken = head._replace(**{leaf: getattr(head, leaf).at[..., 0].set(jnp.nan)})
    result = finetune(Params(), broken, features)
    assert int(result.status) == Status.NOT_FINITE_INPUT
    assert int(result.stats.epochs) == 0
    assert np.isnan(evaluate(Params(), broken, features)).all()


BAD_PAIRS = {
    "chosen": np.full((PAIRS, WIDTH), np.nan, np.float32),
    "margin": np.full(PAIRS, np.nan),
    "weight": np.r_[-1.0, np.ones(PAIRS - 1)],
}


@pytest.mark.parametrize("field", BAD_PAIRS)
def test_held_out_pairs_that_solve_would_not_take_have_no_metrics(field):
    head, features = draw_problem()
    held_out = features._replace(**{field: BAD_PAIRS[field]})
    result = finetune(Params(), head, features, eval_features=held_out)
    assert int(result.status) == Status.SOLVED
    history = result.history.trim()
    assert np.isfinite(np.stack(history.train)).all()
    assert np.isnan(np.stack(history.eval)).all()


def test_one_reward_of_nan_is_no_wrong_order():
    rewards = jnp.asarray([1.0, 2.0, jnp.nan])
    metrics = reward_metrics(rewards, jnp.zeros(3), loss=0.0, log_loss=0.0, beta=1.0)
    assert np.isnan(metrics.accuracy) and np.isnan(metrics.reward_margin)


@pytest.mark.parametrize("unit", [1e37, 1e-42])
def test_metrics_take_weights_of_any_unit(unit):
    rng = np.random.default_rng(0)
    chosen, rejected = jnp.asarray(rng.standard_normal((2, 40)), jnp.float32)
    weight = rng.integers(1, 4, 40).astype(float)
    plain, found = (
        reward_metrics(chosen, rejected, loss=0.0, log_loss=0.0, beta=1.0, weight=jnp.float32(w))
        for w in (weight, unit * weight)
    )
    np.testing.assert_allclose(found, plain, rtol=2e-3)


def test_weight_decay_shrinks_the_second_layer():
    head, features = draw_problem()
    config = Config(max_epochs=50)
    plain = finetune(Params(), head, features, config=config)
    decayed = finetune(Params(weight_decay=1.0), head, features, config=config)
    assert jnp.linalg.norm(decayed.head.theta2) < jnp.linalg.norm(plain.head.theta2)


def test_the_recorded_log_loss_is_the_one_of_the_rewards():
    head, features = draw_problem()
    result = finetune(Params(gamma=0.3), head, features)
    margins = np.asarray(result.head(features.chosen) - result.head(features.rejected), float)
    last = jax.tree.map(lambda trace: float(trace[result.stats.epochs]), result.history.train)
    assert last.log_loss == pytest.approx(np.log1p(np.exp(0.3 - margins)).mean(), rel=1e-4)
    assert last.loss == float(result.stats.loss) > last.log_loss


def test_reward_metrics_by_hand():
    metrics = reward_metrics(
        jnp.asarray([2.0, 0.0, 1.0, 1.0]),
        jnp.asarray([0.0, 1.0, 1.0, -1.0]),
        loss=jnp.asarray(0.3),
        log_loss=jnp.asarray(0.2),
        beta=2.0,
        weight=jnp.asarray([1.0, 1.0, 1.0, 3.0]),
    )
    assert float(metrics.reward_margin) == pytest.approx((2 - 1 + 0 + 3 * 2) / 6)
    assert float(metrics.accuracy) == pytest.approx((1 + 0 + 0.5 + 3) / 6)
    one, two = (1 / (1 + np.exp(-2.0 * k)) for k in (1, 2))
    expected = (two - 0.5) + (0.5 - one) + 3 * (one - (1 - one))
    assert float(metrics.sigmoid_margin) == pytest.approx(expected / 6)


@pytest.mark.parametrize("kind", ["relu", "gated"])
def test_differences_of_nearly_equal_responses_keep_their_digits(kind):
    rng = np.random.default_rng(0)
    head = random_head(WIDTH, kind, neurons=NEURONS)
    chosen = rng.standard_normal((PAIRS, WIDTH)).astype(np.float32)
    rejected = (chosen + 1e-5 * rng.standard_normal((PAIRS, WIDTH))).astype(np.float32)
    found = neuron_differences(head, prepare_features(PreferenceFeatures(chosen, rejected)))
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), head)
        expected = exact.neurons(jnp.float64(chosen)) - exact.neurons(jnp.float64(rejected))
    assert np.count_nonzero(expected) > PAIRS
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-9)
