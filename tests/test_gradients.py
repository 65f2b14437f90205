"""Who may veto a gradient: what the caller differentiates by, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, PreferenceFeatures, SolveError, Status, finetune, solve
from coala_jax._gradients import require_gradient
from tests.helpers import draw_pairs, random_head

NO_GRADIENT = r"no gradient: the active set"


def guarded(good, broken):
    """The square of `good`, summed; by `broken` the gradient is NaN at 0."""
    held = require_gradient({"good": (good, None), "broken": PreferenceFeatures(broken, good)})
    return jnp.sum(held["good"][0] ** 2) + 0 * jnp.sum(jnp.sqrt(held["broken"].chosen))


ROWS = jnp.arange(6.0).reshape(3, 2)
VALUES = [(1.5, 0.0), (ROWS, 0.0), (1.5, 0 * ROWS), (ROWS, 0 * ROWS)]


@pytest.mark.parametrize(("good", "broken"), VALUES)
def test_nan_beside_what_is_differentiated_has_no_say(good, broken):
    expected = 2 * np.asarray(good)
    for slope in (jax.grad(guarded), jax.jit(jax.grad(guarded)), jax.grad(jax.jit(guarded))):
        np.testing.assert_array_equal(slope(good, broken), expected)
    _, pull = jax.vjp(lambda good: guarded(good, broken), good)
    np.testing.assert_array_equal(pull(1.0)[0], expected)


@pytest.mark.parametrize(("good", "broken"), VALUES)
def test_nan_of_what_is_differentiated_is_an_error_and_nan_under_jit(good, broken):
    by_broken = jax.grad(guarded, argnums=1)
    with pytest.raises(SolveError, match=NO_GRADIENT):
        by_broken(good, broken)
    with pytest.raises(SolveError, match=NO_GRADIENT):
        jax.grad(guarded, argnums=(0, 1))(good, broken)
    assert np.isnan(jax.jit(by_broken)(good, broken)).all()


def test_elements_of_a_batch_have_gradients_of_their_own():
    goods, brokens = jnp.arange(3.0), jnp.array([0.0, 1.0, 0.0])
    slopes = jax.vmap(jax.grad(guarded, argnums=(0, 1)))(goods, brokens)
    np.testing.assert_array_equal(slopes[0], 2 * goods)
    np.testing.assert_array_equal(np.isnan(slopes[1]), [True, False, True])
    summed = jax.grad(lambda goods: jnp.sum(jax.vmap(guarded)(goods, brokens)))(goods)
    np.testing.assert_array_equal(summed, 2 * goods)


def test_guards_and_gradients_nest():
    def twice(good):
        return guarded(good, 0.0) + guarded(jnp.sin(good), 0.0)

    assert float(jax.grad(twice)(0.3)) == pytest.approx(0.6 + np.sin(0.6))
    assert float(jax.grad(jax.grad(twice))(0.3)) == pytest.approx(2 + 2 * np.cos(0.6))
    with pytest.raises(SolveError, match=NO_GRADIENT):
        jax.grad(lambda x: guarded(guarded(1.0, x), 1.0))(0.0)


CONFIG = Config(n_gates=4, phase1_loss="bradley_terry", max_epochs=5000, check_every=10)
PAIRS = draw_pairs(0, 20, 3)
# Phase I is solved to loose tolerances: its active set is not that of an optimum.
PARAMS = Params(
    group_lasso=0.2,
    ridge=0.1,
    excess_tolerance=1e-22,
    gap_tolerance=0.1,
    residual_tolerance=0.1,
    violation_tolerance=0.1,
    explained_minimum=0.5,
)


def reward(chosen, **leaves):
    """Of four responses, after both phases on pairs with these chosen ones."""
    features = PAIRS._replace(chosen=chosen)
    solution = solve(PARAMS._replace(**leaves), features, config=CONFIG)
    assert Status(int(solution.status)) == Status.SOLVED
    return jnp.sum(solution.head(PAIRS.rejected[:4]))


@pytest.mark.parametrize("name", ["beta", "ridge"])
@pytest.mark.slow
def test_a_gradient_of_phase_two_stands_where_phase_one_has_none(name):
    with jax.enable_x64(True):
        at = getattr(PARAMS, name)
        slope = jax.grad(lambda value: reward(PAIRS.chosen, **{name: value}))(at)
        ends = [reward(PAIRS.chosen, **{name: at * (1 + step)}) for step in (1e-4, -1e-4)]
    assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / (2e-4 * at), rel=1e-4)


@pytest.mark.slow
def test_phase_one_has_no_gradient_where_its_active_set_is_no_optimum():
    with jax.enable_x64(True):
        with pytest.raises(SolveError, match=NO_GRADIENT):
            jax.grad(lambda value: reward(PAIRS.chosen, group_lasso=value))(0.2)
        with pytest.raises(SolveError, match=NO_GRADIENT):
            jax.grad(reward)(PAIRS.chosen)


IN_FORWARD_MODE = r"no derivatives in forward mode .*use jax\.grad"
SMALL = Config(n_gates=2, max_iterations=25, max_epochs=2)


def strength_of_head(value):
    return jnp.sum(solve(Params(group_lasso=value), PAIRS, config=SMALL).head.theta1)


@pytest.mark.parametrize(
    "derivative",
    [
        lambda function: jax.jvp(function, (0.2,), (1.0,)),
        lambda function: jax.jacfwd(function)(0.2),
        lambda function: jax.jit(jax.jacfwd(function))(0.2),
        lambda function: jax.vmap(jax.jacfwd(function))(jnp.array([0.2])),
    ],
)
def test_forward_mode_is_an_error_that_says_what_works(derivative):
    with pytest.raises(TypeError, match=IN_FORWARD_MODE):
        derivative(strength_of_head)
    with pytest.raises(TypeError, match=IN_FORWARD_MODE):
        derivative(lambda value: jnp.sum(fitted(value).theta2))


def test_forward_mode_under_a_jit_is_an_error():
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(jax.jit(strength_of_head), (0.2,), (1.0,))


HEAD = random_head(3, neurons=2)


def fitted(value):
    """A head after Phase II alone, at this ridge."""
    return finetune(Params(ridge=value), HEAD, PAIRS, config=SMALL).head


@pytest.mark.parametrize(
    "second", [jax.hessian, lambda f: jax.grad(jax.grad(f)), lambda f: jax.jit(jax.hessian(f))]
)
def test_second_derivatives_are_an_error_and_never_a_number(second):
    for function in (strength_of_head, lambda value: jnp.sum(fitted(value).theta2 ** 2)):
        with pytest.raises(TypeError, match=r"a solve has first derivatives alone"):
            second(function)(0.2)
