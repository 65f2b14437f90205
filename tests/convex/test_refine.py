"""`refine_gates`: better gates round by round, every round certified for its own."""

import cvxpy as cp
import jax
import numpy as np
import pytest

from coala_jax import Config, Params, Status, certify, cronos
from coala_jax.convex._refine import refinement_rounds
from tests.helpers import draw_pairs, rows_of, standardised_rows

LOSSES = ["squared", "bradley_terry"]
PARAMS = Params(
    group_lasso=0.1, gap_tolerance=1e-5, violation_tolerance=1e-4, residual_tolerance=1e-3
)
PAIRS = 12
# In one dimension, where all patterns can be told.
FEATURES = draw_pairs(1, PAIRS, 1, shift=0.3)
KEY = jax.random.key(0)


def config_of(loss: str) -> Config:
    return Config(n_gates=3, max_iterations=10_000, phase1_loss=loss)


@pytest.fixture(scope="module", params=LOSSES)
def refined(request):
    """A loss, its features and the solutions of all rounds."""
    with jax.enable_x64(True):
        solutions = refinement_rounds(PARAMS, FEATURES, config=config_of(request.param), key=KEY)
    return request.param, FEATURES, jax.tree.map(np.asarray, solutions)


def loss_value(loss: str, rewards: np.ndarray) -> float:
    chosen, rejected = rewards[::2], rewards[1::2]
    if loss == "bradley_terry":
        return np.logaddexp(0, rejected - chosen).sum()
    return 0.5 * ((chosen - 1) ** 2).sum() + 0.5 * ((rejected + 1) ** 2).sum()


def cone_optimum(loss: str, x: np.ndarray, d: np.ndarray, strength: float) -> float:
    """Optimum of program (3) by a cone solver."""
    v, w = (cp.Variable((len(d), x.shape[1])) for _ in range(2))
    z = cp.sum(cp.multiply(d, (v - w) @ x.T), axis=0)
    chosen, rejected = z[::2], z[1::2]
    value = (
        cp.sum(cp.logistic(rejected - chosen))
        if loss == "bradley_terry"
        else (cp.sum_squares(chosen - 1) + cp.sum_squares(rejected + 1)) / 2
    )
    penalty = strength * cp.sum(cp.norm(v, axis=1) + cp.norm(w, axis=1))
    cones = [cp.multiply(2 * d - 1, u @ x.T) >= 0 for u in (v, w)]
    # What Clarabel reaches on the logarithms everywhere; the comparison allows ten times as much.
    accuracy = {name: 1e-6 for name in ("tol_gap_rel", "tol_gap_abs", "tol_feas")}
    problem = cp.Problem(cp.Minimize(value + penalty), cones)
    return problem.solve(solver=cp.CLARABEL, **accuracy)


def network_objective(loss, features, solution) -> float:
    """Objective (2) of the head: the first layer counts on standardised rows with a bias."""
    head, certificate = solution.head, solution.certificate
    raw = rows_of(features)
    rewards = np.maximum((raw - head.center) @ head.theta1 + head.bias, 0) @ head.theta2
    weights = head.theta1 * certificate.scale[:, None]
    squares = (weights**2).sum() + (head.bias**2).sum() + (head.theta2**2).sum()
    return loss_value(loss, rewards) + certificate.group_lasso_strength / 2 * squares


def test_objectives_fall_from_round_to_round(refined):
    _, _, solutions = refined
    values = np.array([solution.stats.primal_value for solution in solutions])
    assert len(values) > 1
    assert np.all(values[1:] <= values[:-1] * (1 - 1e-3))
    assert [int(solution.status) for solution in solutions] == [Status.SOLVED] * len(solutions)


def test_objectives_are_those_of_the_networks_at_one_strength(refined):
    loss, features, solutions = refined
    strengths = {float(solution.certificate.group_lasso_strength) for solution in solutions}
    assert strengths == {float(solutions[0].stats.group_lasso_strength)}
    for solution in solutions:
        value = network_objective(loss, features, solution)
        assert value == pytest.approx(float(solution.stats.primal_value), rel=1e-9)


def test_the_last_is_certified_for_its_own_gates(refined):
    loss, features, solutions = refined
    last = solutions[-1]
    with jax.enable_x64(True):
        report = certify(PARAMS, features, last.certificate, config=config_of(loss))
    assert float(report.primal_value) == pytest.approx(float(last.stats.primal_value), rel=1e-9)
    assert float(report.dual_bound) >= float(last.stats.dual_bound) * (1 - 1e-9)
    assert float(report.relative_gap) <= 1e-5 * (1 + 1e-6)
    assert float(report.cone_violation) == 0
    assert not np.array_equal(last.certificate.patterns, solutions[0].certificate.patterns)


def test_no_round_is_below_the_optimum_of_all_gates_and_the_last_comes_near(refined):
    """Of the network itself: with a gate a pattern program (3) has its global optimum."""
    loss, features, solutions = refined
    certificate = solutions[0].certificate
    x = standardised_rows(features, certificate)
    order = np.sort(x[:, 0])
    thresholds = (order[1:] + order[:-1]) / 2
    above = x[:, 0] > thresholds[:, None]
    patterns = np.concatenate([above, ~above, np.ones((1, len(x)), bool)]).astype(float)
    strength = float(certificate.group_lasso_strength)
    best = cone_optimum(loss, x, patterns, strength)
    values = [float(solution.stats.primal_value) for solution in solutions]
    assert min(values) >= best * (1 - 1e-5)
    # Of this problem: local descent promises no share.
    assert values[-1] - best < 0.25 * (values[0] - best)


def test_no_rounds_give_the_plain_solution(refined):
    loss, features, solutions = refined
    with jax.enable_x64(True):
        only = refinement_rounds(PARAMS, FEATURES, config=config_of(loss), key=KEY, max_rounds=0)
        plain = cronos(PARAMS, features, config=config_of(loss), key=KEY)
    assert len(only) == 1
    np.testing.assert_array_equal(only[0].head.theta1, plain.head.theta1)
    np.testing.assert_array_equal(solutions[0].head.theta1, plain.head.theta1)


def test_rounds_are_capped(refined):
    loss, _, solutions = refined
    with jax.enable_x64(True):
        capped = refinement_rounds(PARAMS, FEATURES, config=config_of(loss), key=KEY, max_rounds=1)
    assert len(capped) == 2
    np.testing.assert_array_equal(capped[1].head.theta1, solutions[1].head.theta1)


def test_another_key_starts_from_other_gates(refined):
    loss, features, solutions = refined
    with jax.enable_x64(True):
        other = refinement_rounds(
            PARAMS, features, config=config_of(loss), key=jax.random.key(5), max_rounds=0
        )
    assert not np.array_equal(other[0].certificate.gates, solutions[0].certificate.gates)


@pytest.mark.parametrize("strength", [1.0, np.nan])
def test_a_first_solve_without_a_network_ends_it(strength, refined):
    loss, features, _ = refined
    with jax.enable_x64(True):
        params = PARAMS._replace(group_lasso=strength)
        solutions = refinement_rounds(params, features, config=config_of(loss), key=KEY)
    expected = Status.ZERO_NETWORK if strength == 1 else Status.INVALID_PARAMETER
    assert [int(solution.status) for solution in solutions] == [expected]


def test_a_gated_model_is_refused():
    with pytest.raises(ValueError, match=r"needs Config\.model='relu', got 'gated_relu'"):
        refinement_rounds(Params(), FEATURES, config=Config(model="gated_relu"))
