"""Pools, draws and reweighting by themselves."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.decoding._candidates import (
    PART,
    Pool,
    SamplingArrays,
    draw,
    largest,
    penalise,
    propose,
    take_largest,
    token_noise,
)
from coala_jax.decoding._guidance import log_reweight, normalise_scores


def options(rows=1, **fields):
    values = {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 4,
        "repetition_penalty": 1.0,
        "scale": 0.0,
        "max_new_tokens": 1,
    } | fields
    types = {"top_k": jnp.int32, "max_new_tokens": jnp.int32}
    columns = {n: jnp.full(rows, v, types.get(n, jnp.float32)) for n, v in values.items()}
    return SamplingArrays(key=jax.random.split(jax.random.key(0), rows), **columns)


@pytest.mark.parametrize(
    ("shape", "count"),
    [((3, 40), 5), ((1, 1500), 4), ((2, 3, 1536), 5), ((4, 8192), 32)],
    ids=["small", "a part unfilled", "branches", "many"],
)
@pytest.mark.parametrize("levels", [3, 10**6], ids=["ties", "no ties"])
def test_the_largest_are_found_in_order_the_first_of_equals_first(shape, count, levels):
    rng = np.random.default_rng(0)
    values = rng.integers(-levels, levels, shape).astype(np.float32)
    values[..., ::7] = -np.inf
    values[0, ..., 2 * count :] = -np.inf  # fewer than are asked for
    top, places = jax.jit(largest, static_argnums=1)(values, count)
    expected = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    assert (np.asarray(places) == expected).all()
    assert (np.asarray(top) == np.take_along_axis(values, expected, -1)).all()
    assert places.dtype == jnp.int32


def test_no_pool_of_a_large_vocabulary_sorts_all_of_it():
    logits = jax.ShapeDtypeStruct((2, 262_144), jnp.float32)
    program = jax.jit(propose, static_argnums=2).lower(logits, options(2), 50).as_text()
    sizes = [int(size) for size in re.findall(r"top_k.*: tensor<2x(\d+)xf32>", program)]
    assert sizes == [262_144 // PART, 51 * PART]


LOGITS = jnp.log(jnp.array([[0.1, 0.4, 0.05, 0.3, 0.15]]))


@pytest.mark.parametrize(
    ("top_p", "top_k", "expected"),
    [
        (1.0, 5, [1, 3, 4, 0, 2]),
        (1.0, 2, [1, 3]),
        (0.65, 5, [1, 3]),
        (0.75, 5, [1, 3, 4]),
        (0.01, 5, [1]),
        (0.5, 2, [1]),  # of the two, the first has 4/7 of what is left
    ],
)
def test_the_pool_is_the_nucleus_of_the_most_probable(top_p, top_k, expected):
    pool = propose(LOGITS, options(top_p=top_p, top_k=top_k), 5)
    inside = np.asarray(pool.inside[0])
    assert np.asarray(pool.tokens[0])[inside].tolist() == expected
    probabilities = np.exp(np.asarray(LOGITS[0]))[expected]
    assert np.exp(pool.log_probs[0][inside]) == pytest.approx(probabilities / probabilities.sum())


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"top_p": 0.7}, True),  # reached by exactly two
        ({"top_p": 0.6}, False),
        ({"top_p": 1.0}, False),
        ({"top_p": 1.0, "top_k": 2}, False),
    ],
)
def test_tokens_at_the_edge_of_the_nucleus_are_known(changes, near):
    pool = propose(LOGITS, options(**{"top_k": 5} | changes), 5)
    assert bool(pool.on_edge.any()) == near
    tied = propose(jnp.zeros((1, 5)), options(top_k=2), 2)
    assert np.asarray(tied.on_edge[0]).tolist() == [False, True, True]


def test_a_near_tie_is_a_decision_that_rounding_may_turn():
    def pool(inside, on_edge=(False, False, False)):
        log_probs = jnp.where(jnp.array([inside]), 0.0, -jnp.inf)
        return Pool(jnp.arange(3)[None], log_probs, jnp.array([on_edge]))

    everyone = (True, True, True)
    assert not take_largest(pool(everyone), jnp.array([[0.0, 1.0, 0.5]])).near_tie[0]
    assert take_largest(pool(everyone), jnp.array([[0.0, 1.0, 0.99995]])).near_tie[0]
    equal = take_largest(pool(everyone), jnp.array([[0.0, 1.0, 1.0]]))
    assert (int(equal.place[0]), bool(equal.near_tie[0])) == (1, False)
    # The last is out by a hair, and would have won.
    out = pool((True, True, False), (False, False, True))
    assert take_largest(out, jnp.array([[0.0, 1.0, 2.0]])).near_tie[0]
    assert not take_largest(out, jnp.array([[0.0, 1.0, 0.5]])).near_tie[0]
    # The winner is in by a hair.
    assert take_largest(
        pool(everyone, (False, True, False)), jnp.array([[0.0, 1.0, 0.5]])
    ).near_tie[0]


def test_noise_belongs_to_the_token_and_not_to_its_rank():
    keys = jax.random.split(jax.random.key(0), 2)
    tokens = jnp.array([[5, 9, 1], [1, 5, 9]])
    noise = np.asarray(token_noise(keys[jnp.array([0, 0])], tokens))
    assert noise[0].tolist() == noise[1][[1, 2, 0]].tolist()
    other = np.asarray(token_noise(keys, tokens))
    assert not np.any(np.isin(other[0], other[1]))


def test_draws_follow_the_weights():
    count, weights = 20_000, np.array([0.5, 0.3, 0.2])
    keys = jax.random.split(jax.random.key(1), count)
    tokens = jnp.broadcast_to(jnp.arange(3), (count, 3))
    log_weights = jnp.broadcast_to(jnp.log(jnp.asarray(7 * weights)), (count, 3))
    pool = Pool(tokens, log_weights, jnp.zeros((count, 3), bool))
    drawn = draw(pool, log_weights, token_noise(keys, tokens), jnp.ones(count))
    shares = np.bincount(np.asarray(drawn.place), minlength=3) / count
    assert np.abs(shares - weights).max() < 4 * np.sqrt(0.25 / count)


def test_a_penalty_moves_seen_tokens_down_as_transformers_does():
    logits = jnp.array([[2.0, -1.0, 3.0, -2.0]])
    seen = jnp.array([[True, True, False, False]])
    moved = penalise(logits, seen, jnp.array([2.0]))
    assert np.asarray(moved).tolist() == [[1.0, -2.0, 3.0, -2.0]]


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=8),
    st.floats(0.001, 1000),
    st.floats(-100, 100),
)
def test_normalised_scores_do_not_know_unit_and_origin(scores, unit, origin):
    values = np.array([scores], np.float64)
    inside = jnp.ones(values.shape, bool)
    found = np.asarray(normalise_scores(jnp.asarray(values, jnp.float32), inside))
    assert found.min() == 0 and (found.max() == 0 or found.max() == pytest.approx(1))
    moved = jnp.asarray(unit * values + origin, jnp.float32)
    spread = unit * np.ptp(values)
    if np.ptp(values) > 1e-3 and spread > 1e-3 * np.abs(np.asarray(moved)).max():
        again = np.asarray(normalise_scores(moved, inside))
        assert np.abs(again - found).max() <= 1e-3


@pytest.mark.parametrize("scores", [[0.0, 0.0], [3.0, 3.0], [1e6, 1e6 + 0.06], [2.0]])
def test_equal_scores_are_zero(scores):
    values = jnp.array([scores], jnp.float32)
    assert not np.asarray(normalise_scores(values, jnp.ones(values.shape, bool))).any()


def test_what_is_no_candidate_has_no_say():
    scores, inside = jnp.array([[1.0, 2.0, 99.0]]), jnp.array([[True, True, False]])
    assert np.asarray(normalise_scores(scores, inside)).tolist() == [[0.0, 1.0, 0.0]]


def test_reweighting_is_the_papers():
    rng = np.random.default_rng(0)
    p, s, scale = rng.dirichlet(np.ones(5)), rng.standard_normal(5), 1.7
    expected = p * (1 + scale * (s - s.min()) / np.ptp(s))
    args = jnp.asarray(s[None], jnp.float32), jnp.ones((1, 5), bool), jnp.array([scale])
    weights = p * np.exp(np.asarray(log_reweight(*args))[0])
    assert weights / weights.sum() == pytest.approx(expected / expected.sum(), rel=1e-5)
