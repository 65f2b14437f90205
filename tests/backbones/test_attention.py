"""Attention by rows and blocks of queries gives what attention at once does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax.backbones import _attention as attention
from coala_jax.backbones._attention import TokenBatch, attend, causal_sight, mutual_sight

ROWS, LENGTH, HEADS, KEY_HEADS, HEAD_DIM = 3, 11, 4, 2, 6
SCALE = 0.3


def _inputs(dtype=jnp.float32):
    rng = np.random.default_rng(0)
    heads = (HEADS, KEY_HEADS, KEY_HEADS)
    arrays = (rng.normal(size=(ROWS, LENGTH, count, HEAD_DIM)) for count in heads)
    return tuple(jnp.asarray(array, dtype) for array in arrays)


def _sight(kind):
    slots = jnp.tile(jnp.arange(LENGTH), (ROWS, 1))
    # A text of seven tokens, one of two, and padding.
    ends = jnp.tile(jnp.array([7] * 7 + [9] * 2 + [10, 11]), (ROWS, 1))
    batch = TokenBatch(slots, slots, ends)
    return causal_sight(batch) if kind == "causal" else mutual_sight(batch)


def _at_once(query, keys, values, sight):
    grouped = query.reshape(ROWS, LENGTH, KEY_HEADS, HEADS // KEY_HEADS, HEAD_DIM)
    mixed = attention._mix_whole(grouped, keys, values, sight.own, scale=SCALE)
    return mixed.reshape(ROWS, LENGTH, HEADS * HEAD_DIM)


def _by_rows(query, keys, values, sight):
    grouped = query.reshape(ROWS, LENGTH, KEY_HEADS, HEADS // KEY_HEADS, HEAD_DIM)
    own = grouped, keys, values, sight.own
    mixed = attention._mix_by_rows(*own, scale=SCALE, causal=sight.causal)
    return mixed.reshape(ROWS, LENGTH, HEADS * HEAD_DIM)


@pytest.fixture(params=["causal", "mutual"])
def sight(request):
    return _sight(request.param)


@pytest.mark.parametrize("block", [4, 16])
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 0.02)])
def test_rows_and_blocks_give_what_all_at_once_does(monkeypatch, sight, block, dtype, tolerance):
    monkeypatch.setattr(attention, "QUERY_BLOCK", block)
    inputs = _inputs(dtype)
    found, expected = _by_rows(*inputs, sight), _at_once(*inputs, sight)
    assert found.dtype == dtype
    np.testing.assert_allclose(
        np.asarray(found, np.float32), np.asarray(expected, np.float32), atol=tolerance
    )


def test_gradients_are_the_same(monkeypatch, sight):
    monkeypatch.setattr(attention, "QUERY_BLOCK", 4)

    def total(run):
        return jax.grad(lambda inputs: jnp.square(run(*inputs, sight)).sum())(_inputs())

    for found, expected in zip(total(_by_rows), total(_at_once), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_same_bare_under_jit_and_under_vmap(sight):
    query, keys, values = _inputs()

    def run(query):
        return attend(query, keys, values, sight, SCALE)

    expected = _at_once(query, keys, values, sight)
    np.testing.assert_allclose(run(query), expected, atol=1e-6)
    np.testing.assert_allclose(jax.jit(run)(query), expected, atol=1e-6)
    several = jax.vmap(run)(jnp.stack([query, query]))
    np.testing.assert_allclose(several, jnp.stack([expected, expected]), atol=1e-6)
