"""`regularization_path`: every element is the solve it stands for, whatever came before it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, Status, cronos, regularization_path
from tests.helpers import draw_pairs

MODELS = ["relu", "gated_relu"]
# A fifth lower each time: warm starts save little where strengths halve.
STRENGTHS = (0.3, 0.24, 0.19, 0.15, 0.12, 0.1)
TIGHT = Params(gap_tolerance=1e-5, violation_tolerance=1e-4, residual_tolerance=1e-3)
SOLVED, ZERO, INVALID = Status.SOLVED, Status.ZERO_NETWORK, Status.INVALID_PARAMETER


def config_of(model: str) -> Config:
    return Config(n_gates=4, max_iterations=10_000, model=model)


@pytest.fixture(scope="module")
def features():
    return draw_pairs(2, pairs=150, width=8)


@pytest.fixture(scope="module")
def run_path(features):
    """`run_path(model, strengths)` in float64, under a jit that may trace once a model."""
    chex.clear_trace_counter()
    solvers = {}

    def run(model, strengths, params=TIGHT):
        if model not in solvers:

            def path(values, params):
                return regularization_path(params, features, values, config=config_of(model))

            path.__name__ = f"path_{model}"
            solvers[model] = jax.jit(chex.assert_max_traces(path, n=1))
        with jax.enable_x64(True):
            params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), params)
            found = solvers[model](jnp.asarray(strengths, float), params)
        return jax.tree.map(np.asarray, found)

    return run


@pytest.fixture(scope="module")
def run_single(features):
    """The same for one strength by `cronos`; each is solved once."""

    @functools.cache
    def run(model, strength):
        with jax.enable_x64(True):
            params = TIGHT._replace(group_lasso=strength)
            return jax.tree.map(np.asarray, cronos(params, features, config=config_of(model)))

    return run


def assert_same_optimum(one, other) -> None:
    """Both intervals [dual bound, primal value] hold the one optimum of the program."""
    assert int(one.status) == int(other.status) == SOLVED
    np.testing.assert_array_equal(one.certificate.patterns, other.certificate.patterns)
    assert one.stats.group_lasso_strength == pytest.approx(other.stats.group_lasso_strength)
    for a, b in ((one.stats, other.stats), (other.stats, one.stats)):
        assert a.dual_bound <= b.primal_value * (1 + 1e-12)
        assert a.primal_value <= a.dual_bound * (1 + 1.0001e-5)


def element(path, index):
    return jax.tree.map(lambda leaf: leaf[index], path)


@pytest.mark.parametrize("model", MODELS)
def test_every_element_is_the_optimum_that_a_single_solve_certifies(model, run_path, run_single):
    path = run_path(model, STRENGTHS)
    for index, strength in enumerate(STRENGTHS):
        assert_same_optimum(element(path, index), run_single(model, strength))


@pytest.mark.parametrize("model", MODELS)
def test_the_heads_of_an_element_and_a_single_solve_agree(model, features, run_path, run_single):
    path = run_path(model, STRENGTHS)
    for index, strength in enumerate(STRENGTHS):
        with jax.enable_x64(True):
            one = element(path, index).head(features.chosen)
            other = run_single(model, strength).head(features.chosen)
        # The squared loss is strongly convex: outputs are within sqrt(2 gap) of the optimum's.
        gap = 1e-5 * path.stats.primal_value[index]
        assert np.linalg.norm(one - other) <= 2 * np.sqrt(2 * gap)


@pytest.mark.parametrize("model", MODELS)
def test_later_elements_take_three_quarters_of_the_steps_of_single_solves_or_fewer(
    model, run_path, run_single
):
    later = run_path(model, STRENGTHS).stats.iterations[1:]
    singles = [int(run_single(model, strength).stats.iterations) for strength in STRENGTHS[1:]]
    assert np.all(later > 0)
    assert later.sum() < 0.75 * sum(singles)


@pytest.mark.parametrize("model", MODELS)
def test_the_first_element_is_a_single_solve(model, run_path, run_single):
    """It has nothing to start from: step for step the same."""
    first = element(run_path(model, STRENGTHS), 0)
    chex.assert_trees_all_close(
        first.stats, run_single(model, STRENGTHS[0]).stats, rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(
    ("strength", "status"),
    [(1.0, ZERO), (1.7, ZERO), (-0.1, INVALID), (np.nan, INVALID), (np.inf, INVALID)],
)
def test_a_bad_element_has_its_status_and_its_neighbours_are_solved(
    model, position, strength, status, run_path, run_single
):
    strengths = [*STRENGTHS[:position], strength, *STRENGTHS[position:-1]]
    path = run_path(model, strengths)
    bad = element(path, position)
    assert int(bad.status) == status
    assert int(bad.stats.iterations) == 0
    assert not np.any(bad.head.theta2)
    for index in {0, 1, 2, 5} - {position}:
        assert_same_optimum(element(path, index), run_single(model, strengths[index]))


@pytest.mark.parametrize("strength", [1.0, -0.1, np.nan])
def test_a_bad_element_reports_what_a_single_solve_reports(strength, run_path, run_single):
    """Not the residuals of its neighbour: nothing was iterated."""
    bad = element(run_path("relu", [0.3, strength, *STRENGTHS[1:-1]]), 1)
    single = run_single("relu", strength)
    for name in ("primal_residual", "dual_residual", "cone_violation", "relative_gap", "explained"):
        reported, expected = getattr(bad.stats, name), getattr(single.stats, name)
        np.testing.assert_allclose(reported, expected, rtol=1e-6, err_msg=name)
    chex.assert_trees_all_equal(bad.history, single.history)


@pytest.mark.parametrize("model", MODELS)
def test_a_zero_strength_ends_a_path_without_a_gap(model, run_path):
    path = run_path(model, [*STRENGTHS[:-1], 0.0])
    assert path.status.tolist() == [SOLVED] * 5 + [Status.SOLVED_WITHOUT_GAP]
    assert np.all(np.diff(path.stats.primal_value) < 0)


def test_strengths_may_come_in_any_order(run_path, run_single):
    strengths = [0.12, 0.3, 0.12, 0.24, 0.1, 0.19]
    path = run_path("relu", strengths)
    for index, strength in enumerate(strengths):
        assert_same_optimum(element(path, index), run_single("relu", strength))


def test_the_strength_of_params_is_not_read(run_path):
    other = run_path("relu", STRENGTHS, TIGHT._replace(group_lasso=np.nan))
    chex.assert_trees_all_equal(other, run_path("relu", STRENGTHS))


def test_new_strengths_and_parameters_never_retrace(run_path):
    """`run_path` lets its jit trace once a model."""
    one = run_path("relu", STRENGTHS, TIGHT._replace(rho=0.7))
    other = run_path("relu", STRENGTHS[::-1], TIGHT._replace(gap_tolerance=1e-4))
    assert np.all(one.status == SOLVED) and np.all(other.status == SOLVED)


def test_strengths_in_the_place_of_features_are_named(features):
    with pytest.raises(TypeError, match=r"features must be coala_jax\.PreferenceFeatures"):
        regularization_path(Params(), np.array([0.1, 0.2]), features)


@pytest.mark.parametrize("strengths", [0.1, [[0.1, 0.2]], []])
def test_strengths_that_are_not_a_vector_raise_and_are_named(strengths, features):
    with pytest.raises(ValueError, match="strengths must be a vector of at least one value"):
        regularization_path(Params(), features, np.asarray(strengths))
