"""Gates: distinct patterns that select a row, as many as there are, and their honest number."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, PreferenceFeatures, Status, cronos
from coala_jax.convex._gates import (
    activation_patterns,
    distinct_gates,
    given_gates,
    sample_gates,
    widen_margins,
)

LINE = np.array([-1.3, -0.2, 0.4, 1.1])
# As it is every operation of it is compiled by itself.
sampled = jax.jit(sample_gates, static_argnames=("n_gates", "open_first", "distribution"))


def rows(m: int, width: int, seed: int = 0) -> jax.Array:
    """(m, width + 1) rows with their column of ones."""
    x = np.random.default_rng(seed).standard_normal((m, width))
    return jnp.asarray(np.c_[x, np.ones(m)], jnp.float32)


def patterns_on_a_line(points: np.ndarray) -> set[tuple[bool, ...]]:
    """All that 1(a t + b >= 0) selects of sorted points, but nothing at all: runs from an end."""
    m = len(points)
    runs = [np.arange(m) < k for k in range(1, m + 1)]
    runs += [np.arange(m) >= k for k in range(1, m)]
    return {tuple(run.tolist()) for run in runs}


def as_tuples(patterns: jax.Array) -> list[tuple[bool, ...]]:
    return [tuple(pattern.tolist()) for pattern in np.asarray(patterns)]


def test_patterns_are_those_of_the_vectors():
    x = rows(30, 3)
    gates = sampled(jax.random.key(3), 8, x)
    expected = np.asarray(gates.vectors, np.float64) @ np.asarray(x, np.float64).T >= 0
    np.testing.assert_array_equal(gates.patterns, expected)


def test_empty_and_repeated_patterns_are_replaced_by_spare_draws():
    replaced = 0
    for seed in range(10):
        x, key = rows(8, 2, seed), jax.random.key(seed)
        first = as_tuples(activation_patterns(x, jax.random.normal(key, (8, 3), x.dtype)))
        replaced += len({pattern for pattern in first if any(pattern)}) < 8
        gates = sampled(key, 8, x)
        found = as_tuples(gates.patterns)
        assert len(set(found)) == 8 and all(map(any, found))
        assert int(gates.distinct) == 8
    assert replaced >= 5  # else the draws alone would pass


def test_four_points_on_a_line_give_their_seven_patterns_and_no_more():
    x = jnp.c_[jnp.asarray(LINE), jnp.ones(4)]
    gates = sampled(jax.random.key(0), 40, x)
    assert int(gates.distinct) == 7
    found = as_tuples(gates.patterns)
    assert set(found[:7]) == patterns_on_a_line(LINE)
    assert not any(map(any, found[7:]))


@pytest.mark.parametrize("seed", range(5))
def test_no_more_gates_are_distinct_than_points_in_the_plane_have_patterns(seed):
    """Cover 1965: 2 sum_k C(m - 1, k) for m points in general position, less the empty one."""
    m, width = 4, 3
    most = 2 * sum(math.comb(m - 1, k) for k in range(width)) - 1
    gates = sampled(jax.random.key(seed), 64, rows(m, width - 1, seed))
    found = {pattern for pattern in as_tuples(gates.patterns) if any(pattern)}
    assert int(gates.distinct) == len(found) <= most


def test_surplus_gates_select_no_row():
    x = jnp.c_[jnp.asarray(LINE), jnp.ones(4)]
    gates = sampled(jax.random.key(0), 16, x)
    distinct = int(gates.distinct)
    assert 0 < distinct < 16
    surplus = np.asarray(gates.vectors)[distinct:]
    assert not np.any(surplus @ np.asarray(x).T >= 0)
    assert not np.any(gates.patterns[distinct:])


@pytest.mark.parametrize("model", ["relu", "gated_relu"])
def test_blocks_of_surplus_gates_stay_zero_in_a_solve(model):
    features = PreferenceFeatures(LINE[2:, None], LINE[:2, None])
    config = Config(n_gates=16, max_iterations=1000, model=model)
    solution = cronos(Params(), features, config=config)
    assert int(solution.status) == Status.SOLVED
    distinct = int(solution.stats.distinct_gates)
    assert 0 < distinct <= 7
    weights = np.asarray(solution.certificate.weights)
    assert not np.any(weights[:, distinct:]) and np.any(weights[:, :distinct])
    columns = np.asarray(solution.head.theta2).reshape(len(weights), 16)
    assert not np.any(columns[:, distinct:])
    # A gated network may be linear; a ReLU neuron need not be.
    assert np.all(solution.certificate.patterns[0]) == (model == "gated_relu")


def test_candidates_are_taken_in_order_of_preference():
    x = jnp.c_[jnp.asarray(LINE), jnp.ones(4)]
    empty, first, again, second = [0.0, -1.0], [1.0, 0.0], [2.0, 0.1], [-1.0, 0.0]
    candidates = jnp.asarray([empty, first, again, second])
    gates = distinct_gates(candidates, 3, x)
    np.testing.assert_array_equal(gates.vectors[:, 0], [first[0], second[0], 0])
    np.testing.assert_array_equal(gates.patterns[:2], activation_patterns(x, candidates[1::2]))
    assert int(gates.distinct) == 2


def test_the_first_draws_are_kept_when_all_are_distinct():
    x, key = rows(200, 5), jax.random.key(7)
    gates = sampled(key, 6, x)
    draws = jax.random.normal(key, (6, 6), x.dtype)
    np.testing.assert_array_equal(gates.vectors[:, :-1], draws[:, :-1])
    np.testing.assert_array_equal(gates.patterns, activation_patterns(x, draws))
    assert int(gates.distinct) == 6


@pytest.mark.parametrize(
    ("points", "gate", "middle"),
    [
        (LINE, [1.0, 0.15], 0.1),  # between -0.2 and 0.4
        (LINE, [2.0, -0.8], 0.1),  # one row on the hyperplane
        (LINE, [-1.0, 0.35], 0.1),
        (LINE, [1.0, 1.3], None),  # all open, one row on the hyperplane
        (LINE, [1.0, -1.3], None),  # all closed
        (LINE, [0.0, 1.0], None),
    ],
)
def test_a_hyperplane_moves_halfway_between_the_nearest_rows(points, gate, middle):
    x = jnp.c_[jnp.asarray(points), jnp.ones(len(points))]
    vectors = jnp.asarray([gate])
    slope, bias = np.asarray(widen_margins(vectors, x), np.float64)[0]
    assert slope == gate[0]
    products = slope * points + bias
    np.testing.assert_array_equal(products > 0, np.asarray(activation_patterns(x, vectors))[0])
    if middle is None:
        assert np.abs(products).min() >= np.abs(products).max() / 3
    else:
        np.testing.assert_allclose(-bias / slope, middle, rtol=1e-5)


def test_sampled_gates_leave_the_widest_margin_on_both_sides():
    x = rows(200, 5)
    gates = sampled(jax.random.key(7), 6, x)
    products = np.asarray(gates.vectors, np.float64) @ np.asarray(x, np.float64).T
    above = np.min(products, axis=1, where=products >= 0, initial=np.inf)
    below = np.max(products, axis=1, where=products < 0, initial=-np.inf)
    np.testing.assert_allclose(above, -below, rtol=1e-4)


def test_an_open_gate_comes_first_where_it_is_asked_for():
    x, key = rows(200, 5), jax.random.key(7)
    gates = sampled(key, 6, x, open_first=True)
    assert np.all(gates.patterns[0]) and not np.any(np.all(gates.patterns[1:], axis=1))
    np.testing.assert_array_equal(gates.vectors[0], [0, 0, 0, 0, 0, 1])
    draws = jax.random.normal(key, (6, 6), x.dtype)[:5]
    np.testing.assert_array_equal(gates.vectors[1:, :-1], draws[:, :-1])
    assert int(gates.distinct) == 6


def test_given_gates_are_kept_duplicates_and_all_but_counted_once():
    x = rows(20, 2)
    one, other = np.random.default_rng(1).standard_normal((2, 3))
    nothing = [0.0, 0.0, -1.0]
    vectors = jnp.asarray([one, 2 * one, nothing, other, one], x.dtype)
    gates = given_gates(vectors, x)
    np.testing.assert_array_equal(gates.vectors, vectors)
    np.testing.assert_array_equal(gates.patterns[0], gates.patterns[4])
    assert np.any(gates.patterns[0]) and not np.any(gates.patterns[2])
    assert int(gates.distinct) == 2


def test_gates_of_the_covariance_are_combinations_of_the_rows_that_have_weight():
    x, key = rows(200, 5), jax.random.key(7)
    silent = x.at[100:, :2].set(3 * x[100:, :2]).at[:100, 1].set(2 * x[:100, 0])
    weight = jnp.repeat(jnp.asarray([1.0, 0.0]), 100)
    gates = sampled(key, 64, silent, distribution="covariance", weight=weight)
    slopes = np.asarray(gates.vectors)[:, :-1]
    # Among the rows with weight the second feature is twice the first: so it is in the gates.
    np.testing.assert_allclose(slopes[:, 1], 2 * slopes[:, 0], rtol=1e-4, atol=1e-5)
    assert np.linalg.matrix_rank(slopes, tol=1e-3) == 4


def test_gates_of_the_covariance_vary_as_the_features_do():
    spread = np.array([3.0, 1.0, 0.3])
    x = jnp.c_[rows(400, 3)[:, :3] * spread, jnp.ones(400)]
    gates = sampled(jax.random.key(0), 256, x, distribution="covariance")
    slopes = np.asarray(gates.vectors)[:, :-1]
    ratio = np.median(np.abs(slopes), axis=0)
    assert ratio[0] > 2 * ratio[1] > 4 * ratio[2]


def test_mixed_gates_are_every_other_one_of_the_covariance():
    x, key = rows(200, 5), jax.random.key(7)
    one, other, mixed = (
        np.asarray(sampled(key, 6, x, distribution=name).vectors)
        for name in ("covariance", "isotropic", "mixed")
    )
    np.testing.assert_array_equal(mixed[::2], one[::2])
    np.testing.assert_array_equal(mixed[1::2], other[1::2])
    assert not np.any(one == other)


def test_the_same_key_gives_the_same_gates_and_another_key_others():
    x = rows(30, 3)
    one, same, other = (sampled(jax.random.key(k), 8, x).vectors for k in (4, 4, 5))
    np.testing.assert_array_equal(one, same)
    assert not np.any(np.asarray(one) == np.asarray(other))


def test_vmap_over_keys_gives_what_single_keys_give():
    x = rows(5, 2)
    keys = jax.random.split(jax.random.key(0), 4)
    swept = jax.vmap(lambda key: sampled(key, 8, x))(keys)
    assert swept.patterns.shape == (4, 8, 5)
    for index, key in enumerate(keys):
        single = sampled(key, 8, x)
        np.testing.assert_array_equal(swept.vectors[index], single.vectors)
        np.testing.assert_array_equal(swept.patterns[index], single.patterns)
        assert int(swept.distinct[index]) == int(single.distinct)
