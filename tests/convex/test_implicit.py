"""Gradients of a function of the solution against finite differences, in float64."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import (
    Config,
    Params,
    PreferenceFeatures,
    SolveError,
    Status,
    cronos,
    regularization_path,
    solve,
)
from coala_jax._inputs import prepare_features, prepare_params
from coala_jax.convex._active_set import (
    Weights,
    find_active_set,
    gradient,
    newton,
    solve_adjoint,
)
from coala_jax.convex._cronos import CronosState
from coala_jax.convex._phase1 import solve_held
from coala_jax.convex._prepare import at_strength, prepare
from coala_jax.convex._program import Program
from tests.helpers import draw_pairs

TIGHT = {
    "gap_tolerance": 1e-9,
    "violation_tolerance": 1e-8,
    "residual_tolerance": 1e-9,
    "excess_tolerance": 1e-18,
}
PAIRS, WIDTH = 20, 3
GATES = np.random.default_rng(7).standard_normal((4, WIDTH + 1))
STEP = 1e-4
KEY = jax.random.key(3)


def draw_problem() -> tuple[Params, PreferenceFeatures]:
    """Parameters and features whose optimum has two or three neurons and tight rows."""
    rng = np.random.default_rng(0)
    features = draw_pairs(rng, PAIRS, WIDTH)
    features = features._replace(
        weight=rng.uniform(0.5, 2, PAIRS), margin=rng.uniform(0, 0.5, PAIRS)
    )
    params = Params(group_lasso=2.0, gamma=0.1, **TIGHT)
    return jax.tree.map(jnp.asarray, (params, features))


def check_against_differences(function, arguments) -> None:
    """Directional derivatives in every argument against central differences; one compilation."""
    with_slopes = jax.jit(jax.value_and_grad(function, argnums=range(len(arguments))))
    _, slopes = with_slopes(*arguments)
    for index, argument in enumerate(arguments):
        way = np.random.default_rng(index).standard_normal(np.shape(argument))
        ends = [
            with_slopes(
                *(a + sign * STEP * way if i == index else a for i, a in enumerate(arguments))
            )[0]
            for sign in (1, -1)
        ]
        expected = float(ends[0] - ends[1]) / (2 * STEP)
        assert float(np.vdot(slopes[index], way)) == pytest.approx(expected, rel=2e-3, abs=2e-5)


# The others take as long again, and differ in the curvature of the loss alone: each once.
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ("relu", "squared"),
        pytest.param("relu", "bradley_terry", marks=SLOW),
        pytest.param("relu", "squared_hinge", marks=SLOW),
        # ADMM leaves a block of 1e-8 there that is zero at the optimum.
        pytest.param("relu", "huber", marks=SLOW),
        pytest.param("gated_relu", "logistic", marks=SLOW),
        pytest.param("gated_relu", "squared_difference", marks=SLOW),
    ],
)
def test_gradients_of_phase_one_agree_with_finite_differences(model, loss):
    with jax.enable_x64(True):
        params, features = draw_problem()
        at = jnp.asarray(np.random.default_rng(1).standard_normal((7, WIDTH)))
        config = Config(
            model=model, phase1_loss=loss, strength_unit="absolute", max_iterations=40_000
        )

        def function(group_lasso, gamma, *arrays):
            varied = params._replace(group_lasso=group_lasso, gamma=gamma)
            solution = cronos(varied, PreferenceFeatures(*arrays), config=config, gates=GATES)
            solved = solution.status == Status.SOLVED
            return jnp.where(solved, jnp.sum(jnp.tanh(solution.head(at))), jnp.nan)

        check_against_differences(function, (params.group_lasso, params.gamma, *features))


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        pytest.param("gated_relu", "squared", marks=SLOW),
        pytest.param("relu", "bradley_terry", marks=SLOW),
    ],
)
def test_gradients_beside_a_linear_path_agree_with_finite_differences(model, loss):
    """Through lambda_max, which is that of the probe's residual."""
    with jax.enable_x64(True):
        params, features = draw_problem()
        at = jnp.asarray(np.random.default_rng(1).standard_normal((7, WIDTH)))
        config = Config(model=model, phase1_loss=loss, linear_path=True, max_iterations=40_000)

        def function(group_lasso, linear_ridge, chosen, rejected):
            varied = params._replace(group_lasso=group_lasso, linear_ridge=linear_ridge)
            pairs = features._replace(chosen=chosen, rejected=rejected)
            solution = cronos(varied, pairs, config=config, gates=GATES)
            solved = solution.status == Status.SOLVED
            return jnp.where(solved, jnp.sum(jnp.tanh(solution.head(at))), jnp.nan)

        strengths = jnp.asarray(0.3), jnp.asarray(0.1)
        check_against_differences(function, (*strengths, features.chosen, features.rejected))


def test_gradients_by_features_pass_through_lambda_max():
    """Its multipliers are exact where the tolerances are tight: these were 3 % off at 1 %."""
    rng = np.random.default_rng(1000)
    chosen, rejected = rng.standard_normal((2, PAIRS, WIDTH))
    gates = rng.standard_normal((4, WIDTH + 1))
    at = 1.3 * rng.standard_normal((40, WIDTH))
    with jax.enable_x64(True):
        params, config = Params(group_lasso=0.05, **TIGHT), Config(max_iterations=40_000)

        def function(chosen, rejected):
            pairs = PreferenceFeatures(chosen, rejected)
            solution = cronos(params, pairs, config=config, gates=gates)
            solved = solution.status == Status.SOLVED
            return jnp.where(solved, jnp.sum(jnp.tanh(solution.head(at))), jnp.nan)

        check_against_differences(function, (jnp.asarray(chosen), jnp.asarray(rejected)))


@pytest.mark.slow
def test_gradients_pass_through_both_phases_and_lambda_max():
    """As hyper-gradients need it: a held-out loss in the strength, the ridge and the scale."""
    with jax.enable_x64(True):
        params, features = draw_problem()
        held_out = np.random.default_rng(2).standard_normal((2, 9, WIDTH))
        config = Config(n_gates=4, max_iterations=40_000, max_epochs=5000)

        def function(group_lasso, ridge, beta):
            varied = params._replace(group_lasso=group_lasso, ridge=ridge, beta=beta)
            head = solve(varied, features, config=config).head
            return jnp.mean(jax.nn.softplus(head(held_out[1]) - head(held_out[0])))

        check_against_differences(function, (jnp.asarray(0.2), jnp.asarray(0.1), jnp.asarray(1.0)))


@pytest.mark.slow
def test_vmapped_gradients_are_the_single_ones():
    with jax.enable_x64(True):
        params, features = draw_problem()
        config = Config(n_gates=4, strength_unit="absolute", max_iterations=40_000)

        def slope(strength):
            def function(strength):
                varied = params._replace(group_lasso=strength)
                return jnp.sum(cronos(varied, features, config=config).head.theta1)

            return jax.grad(function)(strength)

        strengths = jnp.asarray([1.5, 2.5])
        swept = jax.jit(jax.vmap(slope))(strengths)
        singles = [float(slope(strength)) for strength in strengths]
    np.testing.assert_allclose(swept, singles, rtol=1e-6)


@pytest.mark.slow
def test_a_gradient_without_a_solution_is_an_error_and_nan_under_jit():
    params, features = draw_problem()
    config = Config(n_gates=4, max_iterations=25)

    def function(strength):
        varied = params._replace(group_lasso=strength, gap_tolerance=0.0)
        return jnp.sum(cronos(varied, features, config=config).head.theta2)

    with pytest.raises(SolveError, match=r"only a solve that ended in solved has: iteration_limit"):
        jax.grad(function)(0.2)
    assert np.isnan(jax.jit(jax.grad(function))(0.2))


class Solved(NamedTuple):
    """An optimum of a pairwise ReLU program, as ADMM found it."""

    program: Program
    state: CronosState


@pytest.fixture(scope="module")
def located() -> Solved:
    with jax.enable_x64(True):
        params, features = draw_problem()
        config = Config(max_iterations=40_000, phase1_loss="bradley_terry")
        params, pairs = prepare_params(params._replace(group_lasso=0.2)), prepare_features(features)

        @jax.jit
        def locate(params, pairs):
            prepared = prepare(params, pairs, config, None, jnp.asarray(GATES))
            problem, _ = at_strength(params, config, prepared)
            result = solve_held(params, config, problem, prepared.cones, jnp.int32(0))
            return problem.program, result

        program, result = locate(params, pairs)
        assert int(result.status) == Status.SOLVED
        return Solved(program, result.state)


@pytest.mark.slow
def test_the_adjoint_solves_the_dense_optimality_equations(located):
    """The matrix [[Hess, G_T^T], [G_T, 0]] built entry by entry."""
    program, state = located
    with jax.enable_x64(True):
        active = find_active_set(program, state.weights, state.slack)
        optimum = newton(program, active, Weights(state.weights, None))
        noise = np.random.default_rng(3).standard_normal(state.weights.shape)
        right = jnp.where(active.blocks[..., None], noise, 0)
        (p, _), q = solve_adjoint(program, active, optimum, Weights(right, None))

        def slope(flat):
            weights = Weights(flat.reshape(state.weights.shape), None)
            return gradient(program, weights).blocks.ravel()

        hessian = np.asarray(jax.jacobian(slope)(optimum.weights.blocks.ravel()))
        x, signs, tight = (np.asarray(a) for a in (program.features, program.signs, active.tight))
    rows = []
    for half, block, row in np.argwhere(tight):
        constraint = np.zeros(state.weights.shape)
        constraint[half, block] = signs[block, row] * x[row]
        rows.append(constraint.ravel())
    free = np.repeat(np.asarray(active.blocks).ravel(), x.shape[1])
    constraints = np.array(rows)[:, free]
    assert len(constraints) > 0
    zero = np.zeros((len(constraints), len(constraints)))
    dense = np.block([[hessian[np.ix_(free, free)], constraints.T], [constraints, zero]])
    right_side = np.concatenate([np.asarray(right).ravel()[free], np.zeros(len(constraints))])
    expected = np.linalg.solve(dense, right_side)
    np.testing.assert_allclose(np.asarray(p).ravel()[free], expected[: free.sum()], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(q)[tight], expected[free.sum() :], rtol=1e-6)


def test_newton_takes_a_rough_solution_to_the_accuracy_of_the_arithmetic(located):
    program, state = located
    with jax.enable_x64(True):
        active = find_active_set(program, state.weights, state.slack)
        rough = state.weights * (
            1 + 1e-3 * jnp.cos(jnp.arange(state.weights.size)).reshape(state.weights.shape)
        )
        optimum = newton(program, active, Weights(rough, None))
        np.testing.assert_allclose(optimum.weights.blocks, state.weights, atol=1e-6)
    assert float(optimum.residual) < 1e-12


@pytest.mark.slow
def test_elements_of_a_path_have_gradients_of_their_own():
    """As many elements as neurons, so that no broadcast can mix them up; one is not solved."""
    with jax.enable_x64(True):
        params, features = draw_problem()
        config = Config(n_gates=1, strength_unit="absolute", max_iterations=40_000)

        def first_layer(strengths):
            head = regularization_path(params, features, strengths, config=config, key=KEY).head
            return jnp.sum(head.theta1, axis=(1, 2))

        def single(strength):
            varied = params._replace(group_lasso=strength)
            return jnp.sum(cronos(varied, features, config=config, key=KEY).head.theta1)

        strengths = jnp.asarray([2.0, 1e9])  # the second network is zero
        slopes = jax.jit(jax.grad(lambda s: first_layer(s)[0]))(strengths)
        expected = jax.grad(single)(2.0)
    assert float(slopes[0]) == pytest.approx(float(expected), rel=1e-6)
    assert np.isnan(float(slopes[1]))


def test_gates_that_select_no_row_do_not_spoil_gradients():
    with jax.enable_x64(True):
        features = PreferenceFeatures(jnp.asarray([[1.0], [0.3]]), jnp.asarray([[-0.4], [-2.0]]))
        params = Params(group_lasso=0.3, **TIGHT)
        config = Config(n_gates=16, max_iterations=40_000)

        def reward(chosen):
            solution = cronos(params, features._replace(chosen=chosen), config=config)
            return jnp.sum(solution.head(jnp.ones((1, 1))))

        slope = jax.jit(jax.grad(reward))(features.chosen)
    assert np.isfinite(np.asarray(slope)).all()
