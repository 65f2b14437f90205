"""Weights of pairs: their ratios count and not their unit; what is no weight has its status."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from coala_jax import Config, Params, Status, certify, cronos, evaluate, finetune, solve
from coala_jax._relative_weights import over_their_mean
from tests.helpers import draw_pairs

CONFIG = Config(n_gates=3, max_iterations=500, max_epochs=300)
PAIRS = 30
FEATURES = draw_pairs(0, PAIRS, 3, dtype="float32")
# Whole numbers, so that they are exact multiples of the smallest subnormal too.
RATIOS = np.random.default_rng(0).integers(0, 5, PAIRS).astype(np.float64)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
UNITS = [1e37, 7e37, 1e30, 1.0, 1e-30, 1e-38, 1e-40, 7e-44, SMALLEST]


@pytest.fixture(scope="module")
def solved():
    """By weights; one compilation."""
    return jax.jit(lambda weight: solve(Params(), FEATURES._replace(weight=weight), config=CONFIG))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.slow
def test_ratios_of_weights_count_and_not_their_unit(unit, solved):
    expected, found = solved(np.float32(RATIOS)), solved(np.float32(unit * RATIOS))
    assert Status(int(found.status)) == Status.SOLVED
    rewards = np.asarray(expected.head(FEATURES.chosen))
    np.testing.assert_allclose(found.head(FEATURES.chosen), rewards, rtol=2e-3, atol=2e-3)


def mean_one(weight) -> np.ndarray:
    exact = np.asarray(weight, np.float64)
    return exact / exact.mean()


MIXES = {
    "subnormal and normal": [1e-40, 3e-38, 2e-39, 1e-37],
    "subnormal beside one": [1e-40, 1.0, 0.5, 1e-44],
    "over thirty decades": [1e-18, 1e18, 0.0, 3e17],
    "near the largest": [3e38, 3e38, 1e38, 2e38],
    "negative zeros": [-0.0, 1.0, 2.0, -0.0],
}


@pytest.mark.parametrize("name", MIXES)
@pytest.mark.parametrize("x64", [False, True])
def test_mixed_weights_are_divided_by_their_mean(name, x64):
    weight = np.array(MIXES[name], np.float32)
    with jax.enable_x64(x64):
        dtype = jnp.zeros(()).dtype
        for run in (over_their_mean, jax.jit(over_their_mean, static_argnums=1)):
            found = np.asarray(run(weight, dtype))
            assert found.dtype == dtype
            np.testing.assert_allclose(found, mean_one(weight), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("dtype", "weight"),
    [
        ("float16", [6e-8, 1.2e-7, 0.0, 6e-8]),
        ("bfloat16", [1e-40, 2e-40, 0.0, 4e-40]),
        ("int32", [1, 2, 3, 0]),
        ("float64", [1e-320, 3e-320, 0.0, 1e-322]),
        ("float64", [1e308, 1e308, 0.0, 1.5e308]),
    ],
)
def test_weights_of_any_dtype_are_divided_by_their_mean(dtype, weight):
    weight = np.array(weight, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    exact = np.asarray(weight, np.longdouble)
    with jax.enable_x64(True):
        found = over_their_mean(weight, jnp.float64)
        np.testing.assert_allclose(found, np.float64(exact / exact.mean()), rtol=1e-12)


@pytest.mark.parametrize("unit", [1e30, 1.0, 1e-3, 1e-20])
def test_the_gradient_by_weights_is_that_of_their_ratios(unit):
    """d (w_j / mean w) / d w_i = (1(i = j) - w_j / sum w) / mean w, at a weight of zero too."""
    weight, pull = np.array([1.0, 0.0, 2.0, 5.0]), np.array([0.3, -1.0, 0.7, 0.2])
    slope = jax.grad(lambda w: jnp.vdot(pull, over_their_mean(w, jnp.float32)))(
        jnp.asarray(unit * weight, jnp.float32)
    )
    expected = (pull - np.vdot(pull, weight) / weight.sum()) / weight.mean()
    np.testing.assert_allclose(np.asarray(slope, np.float64) * unit, expected, rtol=1e-4)


def test_every_element_of_a_batch_has_its_own_unit():
    units = np.float32([1e37, 1.0, 1e-40, SMALLEST])
    batch = np.float32(units[:, None].astype(np.float64) * RATIOS)
    found = jax.vmap(lambda weight: over_their_mean(weight, jnp.float32))(batch)
    np.testing.assert_allclose(found, [mean_one(weight) for weight in batch], rtol=1e-6)


NO_WEIGHTS = {
    "all negative": -np.ones(PAIRS),
    "all zero": np.zeros(PAIRS),
    "all negative zero": -np.zeros(PAIRS),
    "one negative": np.r_[-1e-3, np.ones(PAIRS - 1)],
    "one negative and subnormal": np.r_[-1e-40, np.ones(PAIRS - 1)],
    "logarithms": np.log(np.random.default_rng(0).uniform(0.1, 1, PAIRS)),
    "large and negative": np.full(PAIRS, -1e37),
    "small and negative": np.full(PAIRS, -1e-40),
    "one infinite": np.r_[np.inf, np.ones(PAIRS - 1)],
    "one NaN": np.r_[np.nan, np.zeros(PAIRS - 1)],
}


@pytest.mark.parametrize("name", NO_WEIGHTS)
def test_what_is_no_weight_is_not_finite_input(name, solved):
    found = solved(np.float32(NO_WEIGHTS[name]))
    assert Status(int(found.status)) == Status.NOT_FINITE_INPUT
    assert int(found.stats.phase1.iterations) == int(found.stats.phase2.epochs) == 0
    assert not np.any(found.head.theta2)


@pytest.mark.parametrize("name", ["all negative", "all zero", "logarithms"])
def test_every_entry_point_refuses_what_is_no_weight(name):
    features = FEATURES._replace(weight=np.float32(NO_WEIGHTS[name]))
    good = cronos(Params(), FEATURES, config=CONFIG)
    refused = cronos(Params(), features, config=CONFIG), finetune(Params(), good.head, features)
    assert {int(solution.status) for solution in refused} == {Status.NOT_FINITE_INPUT}
    assert np.isnan(evaluate(Params(), good.head, features)).all()
    assert np.isnan(certify(Params(), features, good.certificate, config=CONFIG)).all()
