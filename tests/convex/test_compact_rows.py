"""Rows that are kept as they came give the program, the products and the solution of whole ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import coala_jax._row_blocks as row_blocks
from coala_jax import Config, GroupFeatures, Params, PreferenceFeatures, certify, solve
from coala_jax._group_inputs import prepare_for
from coala_jax.convex._cronos import cronos_init, cronos_problem, cronos_steps
from coala_jax.convex._rounding import bounded_column_products
from coala_jax.convex._rows import (
    column_products,
    for_steps,
    gram_matrix,
    raw_rows,
    row_lengths,
    row_products,
    rows_at,
    split_column_products,
    split_row_products,
    whole_rows,
)
from coala_jax.convex._standardize import fit_standardization, program_rows
from coala_jax.preference import evaluate

PAIRS, WIDTH = 150, 7


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of some rows, the last of which is not whole."""
    monkeypatch.setattr(row_blocks, "BLOCK_NUMBERS", 300)


def pairs(dtype=jnp.bfloat16, offset=0.0, seed=0):
    """Some have no weight."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 2, PAIRS)
    weight[[0, *range(3, PAIRS, 7)]] = 0
    sides = rng.standard_normal((2, PAIRS, WIDTH)) + offset
    sides[0] += 0.3
    chosen, rejected = (jnp.asarray(side, dtype) for side in sides)
    return PreferenceFeatures(chosen, rejected, weight)


def groups(dtype=jnp.bfloat16):
    """One lacks a member, and one says nothing."""
    rng = np.random.default_rng(1)
    responses = jnp.asarray(rng.standard_normal((60, 3, WIDTH)) + 1, dtype)
    scores = np.asarray(responses[..., 0], np.float64) + rng.standard_normal((60, 3))
    mask = np.ones(scores.shape, bool)
    mask[3, 1], scores[5] = False, 1.0
    return GroupFeatures(responses, scores, mask=mask)


def both(features, loss="squared"):
    """Compact rows, and the same whole."""
    found = []
    for kind in ("compact", "full"):
        arrays = prepare_for(Config(phase1_loss=loss, rows=kind), features)
        standardization = fit_standardization(raw_rows(arrays), arrays.row_weight)
        found.append(program_rows(arrays, standardization))
    return found


@pytest.mark.parametrize(
    ("features", "loss"),
    [(pairs(), "squared"), (pairs(jnp.float32), "squared"), (groups(), "listwise")],
    ids=["bfloat16", "float32", "groups"],
)
def test_they_are_the_whole_rows(features, loss):
    compact, whole = both(features, loss)
    assert compact.shape == whole.shape and len(compact) == len(whole)
    np.testing.assert_allclose(whole_rows(compact), whole, rtol=2e-5, atol=2e-6)
    places = jnp.array([0, 5, 1, len(whole) - 1, 6])
    np.testing.assert_allclose(rows_at(compact, places), whole[places], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(row_lengths(compact), row_lengths(whole), rtol=1e-5)
    np.testing.assert_allclose(gram_matrix(compact), gram_matrix(whole), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("offset", [0.0, 8.0])
def test_products_of_parts_are_float32_products(offset, dtype):
    """Off by the roundings of a float32 sum of raw terms, which an offset makes larger ones."""
    compact, _ = both(pairs(dtype, offset=offset))
    exact = np.asarray(whole_rows(compact), np.float64)
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((2, 3, WIDTH + 1)).astype(np.float32)
    values = rng.standard_normal((2, 3, len(exact))).astype(np.float32)
    # Far beyond the range of float16, and by far not of one size.
    weights[0] *= np.float32([1e20, 1e-20, 0])[:, None]
    values[1] *= np.float32([1e25, 1e-25, 1])[:, None]
    values[1, 2] *= np.float32(2.0) ** -rng.integers(0, 24, len(exact))
    steps = for_steps(compact)
    assert steps.split and not compact.split
    flat, several = weights.reshape(6, -1), values.reshape(6, -1)
    unit = np.finfo(np.float32).eps * (1 + offset)
    for found, truth, sizes in (
        (split_row_products(steps, flat), flat @ exact.T, np.abs(flat) @ np.abs(exact).T),
        (split_column_products(steps, several), several @ exact, np.abs(several) @ np.abs(exact)),
    ):
        # Two parts would not do: 16 bits leave 30 times this.
        assert np.all(np.abs(found - truth) <= 4 * unit * sizes)
    # What runs on this machine, in the shapes that steps use.
    np.testing.assert_allclose(row_products(steps, weights[1]), weights[1] @ exact.T, atol=1e-4)
    np.testing.assert_allclose(column_products(steps, values[0]), values[0] @ exact, atol=1e-3)


def test_the_bound_of_products_holds():
    compact, _ = both(pairs(offset=3.0))
    exact = np.asarray(whole_rows(compact), np.float64)
    values = np.random.default_rng(3).standard_normal((4, len(exact))).astype(np.float32)
    found = bounded_column_products(compact, jnp.asarray(values))
    off = np.linalg.norm(np.asarray(found.products, np.float64) - values @ exact, axis=1)
    assert np.all(off <= found.error)
    assert np.all(found.error <= 1e-4 * np.abs(values).sum(axis=1))


CASES = {
    "pairs": (
        pairs(),
        Config(phase1_loss="bradley_terry", linear_path=True, gate_distribution="mixed"),
    ),
    "gated": (
        pairs(jnp.float16),
        Config(model="gated_relu", linear_path=True, phase2_objective="pointwise"),
    ),
    "groups": (groups(), Config(phase1_loss="plackett_luce", linear_path=True)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_solve_is_that_of_whole_rows(case):
    features, config = CASES[case]
    config = dataclasses.replace(config, n_gates=6)
    compact = dataclasses.replace(config, rows="compact")
    whole, kept = (solve(Params(), features, config=each) for each in (config, compact))
    assert kept.status == whole.status
    first, other = kept.stats.phase1, whole.stats.phase1
    assert abs(int(first.iterations) - int(other.iterations)) <= 25
    np.testing.assert_allclose(first.primal_value, other.primal_value, rtol=1e-4)
    np.testing.assert_allclose(first.lambda_max, other.lambda_max, rtol=1e-4)
    np.testing.assert_allclose(kept.stats.phase2.loss, whole.stats.phase2.loss, rtol=1e-3)
    assert float(first.dual_bound) <= float(other.primal_value)
    again = certify(Params(), features, kept.certificate, config=compact)
    np.testing.assert_allclose(again.relative_gap, first.relative_gap, rtol=0.05, atol=1e-6)
    metrics = [
        evaluate(Params(), solution.head, features, config=each)
        for solution, each in ((kept, compact), (kept, config))
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), *metrics)


@pytest.mark.slow
def test_steps_by_parts_come_to_the_same_splits(monkeypatch):
    """As a GPU runs them: blocks stand aside."""
    monkeypatch.setattr(
        "coala_jax.convex._rows._where_it_pays",
        lambda rows, of_parts, of_blocks, values: (of_parts if rows.split else of_blocks)(values),
    )
    from coala_jax._inputs import prepare_params
    from coala_jax.convex._prepare import at_strength, prepare

    states = []
    for kind in ("compact", "full"):
        config = Config(n_gates=5, rows=kind, linear_path=True)
        arrays, params = prepare_for(config, pairs()), prepare_params(Params())
        prepared = prepare(params, arrays, config, None, None)
        problem, _ = at_strength(params, config, prepared)
        problem = cronos_problem(problem.program, problem.penalty)
        states.append(cronos_steps(problem, cronos_init(problem), 40, 20, "highest"))
    for name in ("weights", "slack", "output", "linear"):
        one, other = (np.asarray(getattr(state, name)) for state in states)
        np.testing.assert_allclose(one, other, atol=2e-4 * np.abs(other).max(), err_msg=name)


def test_sides_of_two_dtypes_are_kept_in_one_that_holds_both():
    given = pairs()
    mixed = given._replace(rejected=given.rejected.astype(jnp.float16))
    for found, truth in zip(both(mixed), both(given), strict=True):
        np.testing.assert_allclose(whole_rows(found), whole_rows(truth), atol=0.02)


def test_a_gradient_is_refused():
    config = Config(n_gates=3, rows="compact", max_iterations=25)
    features = pairs(jnp.float32)

    def reward(strength):
        params = Params(group_lasso=strength, gap_tolerance=1.0, explained_minimum=0.0)
        return solve(params, features, config=config).head(features.chosen).sum()

    with pytest.raises(TypeError, match="rows='full'"):
        jax.grad(reward)(0.1)
    with pytest.raises(TypeError, match="rows='full'"):
        jax.grad(lambda x: raw_rows_sum(x, config))(pairs().chosen)


def raw_rows_sum(chosen, config):
    arrays = prepare_for(config, PreferenceFeatures(chosen, pairs().rejected))
    return jnp.sum(whole_rows(raw_rows(arrays)))
