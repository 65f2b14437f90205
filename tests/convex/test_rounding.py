"""Chunked sums are off by no more than they say, and bounds made of them are bounds."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, GroupFeatures, Params, PreferenceFeatures, Status, certify, cronos
from coala_jax._group_inputs import prepare_groups
from coala_jax._inputs import prepare_features, prepare_params
from coala_jax.convex._certificate import feasible_dual
from coala_jax.convex._prepare import at_strength, prepare
from coala_jax.convex._rounding import (
    bounded_column_products,
    chunked_sum,
    plain_products_error,
    sum_error,
)
from tests.helpers import draw_pairs

NONE = None, None  # neither a key nor gates


def cancelling(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in pairs that differ by a few roundings, and values of opposite sign for them."""
    rng = np.random.default_rng(0)
    half = rng.standard_normal((rows // 2, width)).astype("f4")
    x = np.stack([half, half * (1 + 3e-7)], axis=1).reshape(-1, width).astype("f4")
    values = rng.uniform(0.5, 1, (3, rows // 2)).astype("f4")
    return x, np.stack([values, -values], axis=2).reshape(3, -1)


@pytest.mark.parametrize("rows", [2, 64, 1000, 5000])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_column_products_are_off_by_at_most_the_bound(rows, scale):
    x, values = cancelling(rows, 7)
    values *= np.float32(scale)
    truth = values.astype("f8") @ x.astype("f8")
    found = bounded_column_products(jnp.asarray(x), jnp.asarray(values))
    error = np.linalg.norm(np.asarray(found.products, "f8") - truth, axis=-1)
    assert np.all(error <= found.error)
    # No looser than it must be: the bound in plain order is rows / 4 times as large.
    magnitude = np.abs(values) @ np.linalg.norm(x, axis=1)
    assert np.all(found.error <= 8 * 2**-24 * magnitude)


@pytest.mark.parametrize(("spread", "roundings"), [(0.0, 8), (3.0, 40)])
def test_unrelated_sides_cost_a_few_roundings_of_the_terms(spread, roundings):
    """The worst case of a float32 sum was 60 roundings, and hid .7 % of the objective of 16 000."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((8000, 16)) * np.exp(spread * rng.standard_normal((8000, 1)))
    values = rng.standard_normal((3, 8000)) * np.exp(spread * rng.standard_normal((3, 8000)))
    x, values = x.astype("f4"), values.astype("f4")
    truth = values.astype("f8") @ x.astype("f8")
    found = bounded_column_products(jnp.asarray(x), jnp.asarray(values))
    error = np.linalg.norm(np.asarray(found.products, "f8") - truth, axis=-1)
    assert np.all(error <= found.error)
    magnitude = np.abs(values) @ np.linalg.norm(x, axis=1)
    assert np.all(found.error <= roundings * 2**-24 * magnitude)


def test_the_gradient_of_bounded_products_is_that_of_the_product():
    x, values = cancelling(64, 7)

    def first(product):
        return lambda x, values: jnp.sum(product(x, values)[0] ** 2)

    bounded = first(lambda x, values: bounded_column_products(x, values).products)
    plain = first(lambda x, values: values @ x)
    with jax.enable_x64(True):
        inputs = jnp.asarray(x, "f8"), jnp.asarray(values, "f8")
        ours, exact = (jax.grad(function, (0, 1))(*inputs) for function in (bounded, plain))
    for one, other in zip(ours, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_nearly_equal_sides_that_pull_against_each_other_cost_no_digits():
    """What is left of the plain bound are the roundings of the features."""
    x, values = cancelling(1000, 7)
    bound = bounded_column_products(jnp.asarray(x), jnp.asarray(values)).error
    plain = plain_products_error(jnp.asarray(x), jnp.asarray(values))
    assert np.all(np.asarray(bound) <= 0.1 * np.asarray(plain))


def test_a_chunked_sum_is_within_gamma_of_the_exact_one():
    values = np.random.default_rng(1).uniform(0, 1e4, 12_345).astype("f4")
    exact = values.astype("f8").sum()
    computed = float(chunked_sum(jnp.sum, jnp.asarray(values)))
    assert abs(computed - exact) <= sum_error(len(values), jnp.float32) * exact


@pytest.mark.slow
def test_two_nearly_equal_pairs_are_not_solved_with_a_gap_of_zero():
    """The block norm cancels in float32: the bound was above the objective and read as solved."""
    features = PreferenceFeatures(
        np.array([[0.0024003962], [0.33966628]], "f4"),
        np.array([[0.0024003899], [0.33966538]], "f4"),
        weight=np.array([0.0631, 4.311], "f4"),
    )
    params, config = Params(group_lasso=1e-3), Config(n_gates=1)
    solution = cronos(params, features, config=config)
    with jax.enable_x64(True):
        report = certify(params, features, solution.certificate, config=config)
    assert float(solution.stats.dual_bound) <= float(report.primal_value)
    assert float(solution.stats.dual_bound) <= float(solution.stats.primal_value)
    if int(solution.status) == Status.SOLVED:
        assert float(report.relative_gap) <= 2 * float(params.gap_tolerance)


@cache
def scaled_duals(loss: str):
    """Feasible points that a direction is scaled to, as a function of the sizes it has before."""
    chosen = np.array([[0.21], [0.53], [0.97], [-0.52]], "f4")
    rejected = np.array([[-0.51], [0.22], [0.54], [0.98]], "f4")
    config = Config(n_gates=4, phase1_loss=loss, strength_unit="absolute")
    params = prepare_params(Params(group_lasso=1e-3))
    features = prepare_features(PreferenceFeatures(chosen, rejected))

    @jax.jit
    def duals(params, features, sizes):
        program = at_strength(params, config, prepare(params, features, config, *NONE))[0].program
        point = jnp.linspace(0.5, 1, len(program.labels))
        point = point if loss == "bradley_terry" else point * program.labels
        none = jnp.zeros((2, 4, 8))
        return [feasible_dual(program, size * point, none) for size in sizes]

    return partial(duals, params, features)


@pytest.mark.parametrize("loss", ["bradley_terry", "logistic"])
@pytest.mark.parametrize("size", [1e-18, 1e-22, 1e-30, 1e-36])
def test_a_dual_point_next_to_zero_is_scaled_to_its_bound_and_no_further(loss, size):
    """Where ADMM overshoots every row is fitted, r next to zero, and its squares underflow."""
    expected, found = scaled_duals(loss)(jnp.float32([1, size]))
    assert float(found.value) == pytest.approx(float(expected.value), rel=1e-5)
    assert np.max(np.abs(found.point)) == pytest.approx(np.max(np.abs(expected.point)), rel=1e-5)


def test_losses_next_to_zero_have_bounds_that_are_some():
    """At gamma = -16.5 every bound was above the objective, which read as nothing to explain."""
    features = draw_pairs(0, 30, 3, shift=0.5, dtype="float32")
    config = Config(n_gates=6, phase1_loss="bradley_terry")
    for gamma in (-16.5, -46.0):
        stats = cronos(Params(group_lasso=0.5, gamma=gamma), features, config=config).stats
        assert float(stats.dual_bound) <= float(stats.primal_value)
        assert 0 < float(stats.lambda_max_lower) <= float(stats.lambda_max)
        assert int(stats.status) in (Status.SOLVED, Status.ITERATION_LIMIT)


@pytest.mark.parametrize("spread", [1e-6, 1e-5, 1e-3])
@pytest.mark.parametrize("strength", [0.05, 0.9, 0.999])
def test_nothing_is_explained_below_the_resolution(spread, strength):
    """Where P(0) - D is rounding, a share of it is noise: the status says so."""
    rng = np.random.default_rng(0)
    chosen = rng.standard_normal((40, 3)).astype("f4")
    rejected = (chosen + spread * rng.standard_normal((40, 3))).astype("f4")
    config = Config(n_gates=4, max_iterations=1000)
    features = PreferenceFeatures(chosen, rejected)
    solution = cronos(Params(group_lasso=strength), features, config=config)
    with jax.enable_x64(True):
        exact = cronos(Params(group_lasso=strength), features, config=config)
    stats, nothing = solution.stats, (Status.NOTHING_TO_EXPLAIN, Status.ZERO_NETWORK)
    assert float(stats.dual_bound) <= float(stats.primal_value)
    status = Status(int(solution.status))
    improvement = 1 - float(exact.stats.primal_value) / 40
    if spread < 1e-4:
        assert status in nothing
    if improvement <= 1e-6:
        assert status not in (Status.SOLVED, Status.BREAKDOWN)
    if improvement >= 1e-4:
        assert status not in nothing
    if status == Status.SOLVED:
        assert 1 - float(stats.dual_bound) / 40 >= improvement * (1 - 1e-6)


@cache
def group_duals():
    """Feasible points that dual points of groups become, as a function of their size."""
    rng = np.random.default_rng(0)
    responses = rng.standard_normal((5, 3, 2)).astype("f4")
    groups = GroupFeatures(responses, rng.standard_normal((5, 3)).astype("f4"))
    config = Config(model="gated_relu", phase1_loss="listwise", n_gates=2)

    @jax.jit
    def dual(params, groups, size):
        program = at_strength(params, config, prepare(params, groups, config, *NONE))[0].program
        point = size * jnp.where(program.labels > 0, 0.0, -1.0)
        return feasible_dual(program, point, jnp.zeros((1, *program.patterns.shape)))

    return partial(dual, prepare_params(Params(temperature=0.0)), prepare_groups(groups))


@pytest.mark.parametrize("size", [1.0, 1e-25])
def test_dual_points_of_groups_sum_to_zero_whatever_their_size(size):
    """In float32 products of their sizes vanish; one that does not sum to zero bounds nothing."""
    dual = group_duals()(jnp.float32(size))
    assert np.abs(np.sum(dual.point, axis=1)).max() <= 1e-6 * np.abs(dual.point).max()
