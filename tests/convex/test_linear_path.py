"""The linear path: what it is at either end of the strengths, beside what a user can do with it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from coala_jax import (
    Config,
    Params,
    PreferenceFeatures,
    Status,
    certify,
    cronos,
    decompose_gated,
    evaluate,
    finetune,
    load_head,
    refine_gates,
    regularization_path,
    save_head,
    solve,
)
from coala_jax.convex._network import active_neurons
from tests.helpers import draw_pairs

MODELS = ["relu", "gated_relu"]
PAIRS, WIDTH, RIDGE = 300, 4, 0.3
ABOVE = 5.0  # times lambda_max
# Of one shape and few configurations, so that tests share what is compiled.
JOINT = Config(phase1_loss="bradley_terry", linear_path=True, n_gates=8)
GATED = dataclasses.replace(JOINT, model="gated_relu")


def draw_interaction(seed: int, pairs: int = PAIRS) -> PreferenceFeatures:
    """A preference for x0 + |x1| - |x2|, most of it beyond a linear reward."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, pairs, WIDTH)).astype(np.float32)
    reward = [x[:, 0] + 2 * np.abs(x[:, 1]) - 2 * np.abs(x[:, 2]) for x in (a, b)]
    swap = (reward[0] < reward[1])[:, None]
    return PreferenceFeatures(np.where(swap, b, a), np.where(swap, a, b))


def standardised(features: PreferenceFeatures) -> tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate([features.chosen, features.rejected])
    return tuple((side - rows.mean(axis=0)) / rows.std(axis=0) for side in features[:2])


def linear_reward(loss: str, features: PreferenceFeatures) -> np.ndarray:
    """scikit-learn's ridge estimate of a linear reward on standardised features."""
    chosen, rejected = standardised(features)
    if loss == "bradley_terry":
        difference = chosen - rejected
        x = np.concatenate([difference, -difference])
        model = LogisticRegression(C=1 / (len(x) * RIDGE), fit_intercept=False, tol=1e-10)
        return model.fit(x, np.repeat([1, 0], len(difference))).coef_[0]
    x, y = np.concatenate([chosen, rejected]), np.repeat([1.0, -1.0], len(chosen))
    return Ridge(alpha=len(x) * RIDGE, fit_intercept=False).fit(x, y).coef_


@pytest.mark.parametrize("loss", ["bradley_terry", "squared"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.slow
def test_above_lambda_max_the_head_is_the_linear_probe(model, loss):
    features = draw_pairs(0, PAIRS, WIDTH)
    config = dataclasses.replace(JOINT, model=model, phase1_loss=loss, phase2_objective="none")
    params = Params(group_lasso=ABOVE, linear_ridge=RIDGE)
    solution = solve(params, features, config=config).raise_for_status()
    assert int(solution.stats.phase1.active_neurons) == 0
    assert float(solution.stats.phase1.relative_gap) < 1e-4
    chosen, rejected = standardised(features)
    expected = (chosen - rejected) @ linear_reward(loss, features)
    margins = solution.head(features.chosen) - solution.head(features.rejected)
    np.testing.assert_allclose(margins, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_above_a_huge_ridge_the_program_is_the_one_without_a_path():
    features = draw_pairs(1, PAIRS, WIDTH, dtype="float32")
    gates = np.random.default_rng(3).standard_normal((8, WIDTH + 1))
    params = Params(group_lasso=0.2, linear_ridge=1e6)
    with_path, without = (
        cronos(params, features, gates=gates, config=dataclasses.replace(JOINT, linear_path=path))
        for path in (True, False)
    )
    values = [float(each.stats.primal_value) for each in (with_path, without)]
    assert values[0] == pytest.approx(values[1], rel=1e-2)  # the tolerance of the gap
    assert float(jnp.max(jnp.abs(with_path.certificate.linear))) < 1e-4


@pytest.mark.slow
def test_the_network_adds_what_is_not_linear():
    features, unseen = draw_interaction(0), draw_interaction(1, 2000)
    params = Params(group_lasso=0.1, linear_ridge=0.05)
    config = dataclasses.replace(JOINT, n_gates=Config().n_gates)
    joint = solve(params, features, config=config).raise_for_status()
    alone = solve(params._replace(group_lasso=ABOVE), features, config=config)
    accuracy, linear = (
        float(evaluate(params, each.head, unseen).accuracy) for each in (joint, alone)
    )
    assert linear > 0.6
    assert accuracy > linear + 0.1


def test_a_path_of_strengths_begins_at_the_probe_and_falls():
    features = draw_interaction(2)
    path = regularization_path(Params(), features, jnp.asarray([1.5, 0.8, 0.4, 0.2]), config=GATED)
    np.testing.assert_array_equal(path.status, Status.SOLVED)
    neurons = [int(active_neurons(weights)) for weights in path.certificate.weights]
    assert neurons[0] == 0 < neurons[-1]
    assert np.all(np.diff(path.stats.primal_value) < 0)
    single = cronos(Params(group_lasso=0.2), features, config=GATED)
    assert float(path.stats.primal_value[-1]) == pytest.approx(
        float(single.stats.primal_value), rel=1e-2
    )


@pytest.mark.slow
def test_a_sweep_of_ridges_is_a_vmap():
    features = draw_interaction(3)
    ridges = jnp.asarray([0.01, 0.3, 10.0])

    def one(ridge):
        return cronos(Params(linear_ridge=ridge), features, config=JOINT)

    swept = jax.vmap(one)(ridges)
    np.testing.assert_array_equal(swept.status, Status.SOLVED)
    for index, ridge in enumerate(ridges):
        value = float(one(ridge).stats.primal_value)
        assert float(swept.stats.primal_value[index]) == pytest.approx(value, rel=1e-5)
    assert np.all(np.diff(jnp.linalg.norm(swept.head.linear, axis=1)) < 0)


@pytest.mark.parametrize("ridge", [0.0, -1.0, np.nan, np.inf])
def test_a_ridge_that_is_none_is_a_status(ridge):
    config = Config(linear_path=True, n_gates=2)
    solution = cronos(Params(linear_ridge=ridge), draw_pairs(0), config=config)
    assert Status(int(solution.status)) == Status.INVALID_PARAMETER


def test_equal_sides_leave_nothing_to_learn():
    rows = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    config = Config(linear_path=True, phase1_loss="bradley_terry", n_gates=2)
    status = Status(int(solve(Params(), PreferenceFeatures(rows, rows), config=config).status))
    assert status in (Status.ZERO_NETWORK, Status.NOTHING_TO_EXPLAIN)


@pytest.mark.parametrize("config", [JOINT, GATED], ids=MODELS)
@pytest.mark.slow
def test_a_certificate_with_a_path_is_certified_again(config):
    features, params = draw_interaction(4), Params(group_lasso=0.2)
    solution = cronos(params, features, config=config).raise_for_status()
    certificate = solution.certificate
    report = certify(params, features, certificate, config=config)
    assert float(report.primal_value) == pytest.approx(float(solution.stats.primal_value), rel=1e-5)
    assert float(report.dual_bound) >= float(solution.stats.dual_bound) * (1 - 1e-5)
    other = certificate._replace(linear=np.zeros(WIDTH))
    worse = certify(params, features, other, config=config)
    assert float(worse.primal_value) > float(report.primal_value)
    assert float(worse.dual_bound) <= float(report.primal_value)
    with pytest.raises(ValueError, match=r"certificate\.linear holds weights.*linear_path=False"):
        certify(
            params, features, certificate, config=dataclasses.replace(config, linear_path=False)
        )
    with pytest.raises(ValueError, match=r"certificate\.linear holds None.*linear_path=True"):
        certify(params, features, certificate._replace(linear=None), config=config)


@pytest.mark.slow
def test_phase_two_finds_the_weights_of_neurons_and_path():
    """Of one neuron and a path: two coefficients, by scikit-learn."""
    features = draw_interaction(5)
    config = Config(phase1_loss="squared", linear_path=True, n_gates=1)
    params = Params(group_lasso=0.3, ridge=0.05)
    first = cronos(params, features, config=config)
    second = finetune(params, first.head, features, config=config).raise_for_status()
    head = first.head
    columns = [head.neurons(side) for side in features[:2]]
    difference = np.asarray(columns[0] - columns[1])
    path = (features.chosen - features.rejected) @ np.asarray(head.linear)
    design = np.column_stack([difference, path])
    design = design[:, np.any(design != 0, axis=0)]
    design = design / np.sqrt(np.mean(design**2, axis=0))
    both = np.concatenate([design, -design])
    model = LogisticRegression(C=1 / (len(both) * params.ridge), fit_intercept=False, tol=1e-10)
    expected = design @ model.fit(both, np.repeat([1, 0], len(design))).coef_[0]
    margins = second.head(features.chosen) - second.head(features.rejected)
    np.testing.assert_allclose(margins, expected, atol=0.02)


@pytest.mark.slow
def test_without_phase_two_the_head_is_that_of_phase_one():
    features = draw_interaction(6)
    config = dataclasses.replace(GATED, phase2_objective="none")
    params = Params(group_lasso=0.2)
    solution = solve(params, features, config=config, eval_features=features).raise_for_status()
    gates, _ = jax.random.split(jax.random.key(0))
    first = cronos(params, features, config=config, key=gates)
    # Compiled with Phase II and without, sums are in another order.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, solution.head, first.head)
    assert int(solution.stats.phase2.epochs) == 0
    metrics = evaluate(params, solution.head, features, config=config)
    history = solution.history.phase2.trim()
    np.testing.assert_allclose(history.eval.log_loss, [metrics.log_loss], rtol=1e-6)


@pytest.mark.slow
def test_gates_are_refined_beside_a_path():
    features = draw_interaction(7)
    params = Params(group_lasso=0.1)
    plain, refined = (f(params, features, config=JOINT) for f in (solve, refine_gates))
    values = [float(each.stats.phase1.primal_value) for each in (plain, refined)]
    assert values[1] < 0.99 * values[0]


@pytest.mark.slow
def test_a_gated_head_with_a_path_is_decomposed():
    features = draw_interaction(8)
    solution = cronos(Params(group_lasso=0.1), features, config=GATED).raise_for_status()
    head = decompose_gated(features, solution.certificate)
    for side in features[:2]:
        np.testing.assert_allclose(head(side), solution.head(side), atol=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_a_head_with_a_path_survives_its_files(model, tmp_path):
    features = draw_interaction(9, 40)
    config = Config(linear_path=True, model=model, n_gates=3)
    head = solve(Params(group_lasso=0.3), features, config=config).head
    save_head(tmp_path, head, {})
    loaded, _ = load_head(tmp_path)
    np.testing.assert_array_equal(loaded.linear, head.linear)
    np.testing.assert_allclose(loaded(features.chosen), head(features.chosen), rtol=1e-6)
