"""Pooling, token budget, templates: the pure parts of extraction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.features.batching import padded_length, plan_batches
from coala_jax.features.errors import FeatureError
from coala_jax.features.pooling import pool
from coala_jax.features.tokens import TextTemplate, encode_texts, fit_context

HIDDEN = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
# Row 0: tokens 2 to 4; row 1: the first alone; row 2: all.
MASK = np.array([[0, 0, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], bool)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["bare", "jit"])
def test_pooling_is_the_mean_and_the_last_of_the_response(transform):
    mean = np.stack([HIDDEN[0, 2:5].mean(0), HIDDEN[1, 0], HIDDEN[2].mean(0)])
    last = np.stack([HIDDEN[0, 4], HIDDEN[1, 0], HIDDEN[2, 5]])
    expected = {"mean": mean, "last": last, "mean+last": np.concatenate([mean, last], 1)}
    for name, value in expected.items():
        pooled = transform(lambda hidden, mask, name=name: pool(hidden, mask, name))(
            jnp.asarray(HIDDEN), jnp.asarray(MASK)
        )
        np.testing.assert_allclose(pooled, value, atol=1e-6)


def test_what_stands_outside_the_response_never_matters():
    spoiled = jnp.where(MASK[..., None], HIDDEN, jnp.nan)
    np.testing.assert_array_equal(pool(spoiled, MASK, "mean+last"), pool(HIDDEN, MASK, "mean+last"))


def test_half_precision_is_pooled_in_float32():
    pooled = pool(jnp.full((1, 3000, 1), 30.0, jnp.float16), jnp.ones((1, 3000), bool), "mean")
    assert pooled.dtype == jnp.float32 and pooled[0, 0] == 30.0


@pytest.mark.parametrize("name", ["max", "", "mean+mean", "mean+"])
def test_an_unknown_pooling_is_refused(name):
    with pytest.raises(FeatureError, match="pooling="):
        pool(jnp.asarray(HIDDEN), jnp.asarray(MASK), name)


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 4000))
def test_a_plan_holds_every_sequence_once_within_budget_and_shapes(lengths, budget):
    batches = plan_batches(lengths, budget, 500)
    assert sorted(i for batch in batches for i in batch.indices) == list(range(len(lengths)))
    for batch in batches:
        assert 0 < len(batch.indices) <= batch.rows
        assert max(lengths[i] for i in batch.indices) <= batch.length <= 500
        assert batch.rows == 1 or batch.rows * batch.length <= budget
    assert len({(batch.rows, batch.length) for batch in batches}) <= 9


@given(st.integers(1, 2048))
def test_padding_is_at_most_half_and_never_beyond_the_context(length):
    padded = padded_length(length, 2048)
    assert length <= padded <= max(32, 1.5 * length)
    assert padded_length(length, length) == length


def test_a_budget_without_tokens_is_refused():
    with pytest.raises(FeatureError, match="token_budget must be at least 1, got 0"):
        plan_batches([1], 0, 8)


def test_a_full_context_drops_the_oldest_prompt_tokens_and_then_the_last_of_the_response():
    assert fit_context([1, 2], [3, 4], 0, 8) == ((1, 2, 3, 4, 0), 2, False, False)
    assert fit_context([1, 2], [3, 4], 0, 4) == ((2, 3, 4, 0), 1, True, False)
    assert fit_context([1, 2], [3, 4], 0, 3) == ((3, 4, 0), 0, True, False)
    assert fit_context([1, 2], [3, 4], 0, 2) == ((3, 0), 0, True, True)
    assert fit_context([], [3, 4], 0, 3) == ((3, 4, 0), 0, False, False)


@given(st.lists(st.integers(1, 9)), st.lists(st.integers(1, 9)), st.integers(1, 12))
def test_a_fitted_sequence_is_a_window_around_the_response(prompt, response, context):
    fitted = fit_context(prompt, response, 0, context)
    kept, rest = fitted.tokens[: fitted.response_start], fitted.tokens[fitted.response_start : -1]
    assert len(fitted.tokens) <= context and fitted.tokens[-1] == 0
    assert prompt[len(prompt) - len(kept) :] == list(kept)
    assert response[: len(rest)] == list(rest)
    assert fitted.prompt_cut == (len(kept) < len(prompt))
    assert fitted.response_cut == (len(rest) < len(response))
    assert not fitted.response_cut or not kept


def test_prompt_and_response_are_tokenised_apart_and_closed_by_the_end_token(checkpoint):
    from coala_jax.backbones.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(checkpoint)
    template = TextTemplate("Q: {prompt}\nA:", " {response}")
    (sequence,) = encode_texts(tokenizer, ["{response}?"], ["{prompt}!"], template, 64)
    prompt, response = tokenizer.encode("Q: {response}?\nA:"), tokenizer.encode(" {prompt}!")
    assert sequence.tokens == (*prompt, *response, tokenizer.end_id)
    assert sequence.response_start == len(prompt)


@pytest.mark.parametrize("template", [("none", " {response}"), ("{prompt}", "{response}" * 2)])
def test_a_template_without_its_field_is_refused(template):
    with pytest.raises(FeatureError, match="exactly once"):
        TextTemplate(*template).check()
