"""Packing, pooling, templates: the pure parts of extraction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.backbones._families._gpt2 import GPT2Config
from coala_jax.features._errors import FeatureError
from coala_jax.features._memory import (
    DEFAULT_BUDGET,
    LARGEST_BUDGET,
    free_token_budget,
    slot_bytes,
)
from coala_jax.features._packing import SHARED_AT_LEAST, grow_trees, pack_batches, row_length
from coala_jax.features._pooling import Spans, find_spans, pool
from coala_jax.features._tokens import (
    TextTemplate,
    TokenParts,
    TokenSequence,
    encode_texts,
    fit_context,
)

HIDDEN = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
# Row 0: prompt at 0 and 1, a response at 2 to 4. Row 1: two texts, the first one token long.
TEXT = np.array([[[1, 1, 1, 1, 1, 0], [0] * 6], [[1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1]]], bool)
RESPONSE = np.array([[[0, 0, 1, 1, 1, 0], [0] * 6], [[1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]]], bool)
SPANS = Spans(jnp.asarray(TEXT), jnp.asarray(RESPONSE))
TEXTS = [(0, 0), (1, 0), (1, 1)]


def _sequence(tokens, start=0):
    return TokenSequence(tuple(tokens), start, False, False)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["bare", "jit"])
def test_pooling_is_of_the_slots_it_names(transform):
    mean = [HIDDEN[0, 2:5].mean(0), HIDDEN[1, 0], HIDDEN[1, 3:6].mean(0)]
    last = [HIDDEN[0, 4], HIDDEN[1, 0], HIDDEN[1, 5]]
    expected = {
        "mean": mean,
        "last": last,
        "text_mean": [HIDDEN[0, :5].mean(0), HIDDEN[1, 0], HIDDEN[1, 1:6].mean(0)],
        "first": [HIDDEN[0, 0], HIDDEN[1, 0], HIDDEN[1, 1]],
        "mean+last": np.concatenate([mean, last], 1),
    }
    for name, values in expected.items():
        pooled = transform(lambda hidden, name=name: pool(hidden, SPANS, name))(HIDDEN)
        for (row, text), value in zip(TEXTS, values, strict=True):
            np.testing.assert_allclose(pooled[row, text], value, atol=1e-6)


def test_attention_pooling_weighs_by_the_softmax_of_query_times_state():
    query = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    pooled = pool(jnp.asarray(HIDDEN), SPANS, "attention", jnp.asarray(query))
    for row, text in TEXTS:
        states = HIDDEN[row, RESPONSE[row, text]].astype(np.float64)
        weights = np.exp(states @ query)
        expected = weights @ states / weights.sum()
        np.testing.assert_allclose(pooled[row, text], expected, rtol=1e-5)
    assert not np.asarray(pooled[0, 1]).any()
    with pytest.raises(FeatureError, match="'attention' needs a query"):
        pool(jnp.asarray(HIDDEN), SPANS, "attention")


def test_what_stands_outside_the_texts_never_matters():
    spoiled = jnp.where(RESPONSE.any(1)[..., None], HIDDEN, jnp.nan)
    for row, text in TEXTS:
        np.testing.assert_array_equal(
            pool(spoiled, SPANS, "mean+last")[row, text],
            pool(jnp.asarray(HIDDEN), SPANS, "mean+last")[row, text],
        )


def test_half_precision_is_pooled_in_float32():
    whole = jnp.ones((1, 1, 3000), bool)
    pooled = pool(jnp.full((1, 3000, 1), 30.0, jnp.float16), Spans(whole, whole), "mean")
    assert pooled.dtype == jnp.float32 and pooled[0, 0, 0] == pytest.approx(30.0, rel=1e-6)


@pytest.mark.parametrize("name", ["max", "", "mean+mean", "mean+"])
def test_an_unknown_pooling_is_refused(name):
    with pytest.raises(FeatureError, match="pooling="):
        pool(jnp.asarray(HIDDEN), SPANS, name)


# Few ids and a few beginnings, so that much is shared.
_texts = st.builds(
    lambda prompt, rest: (*prompt, *rest),
    st.sampled_from([(), (1,), (1, 2, 3), (1, 2, 3, 4, 5, 6), (2,) * 40]),
    st.lists(st.integers(1, 3), min_size=1, max_size=90),
)


@given(
    st.lists(_texts, max_size=40),
    st.integers(1, 2000),
    st.booleans(),
    st.sampled_from([1, 1, 2, 3, 8]),
)
def test_a_plan_holds_every_sequence_once_as_the_tokens_its_last_one_sees(
    texts, budget, share, devices
):
    sequences = [_sequence(text, len(text) // 2) for text in texts]
    plan = pack_batches(sequences, budget, 0, share=share, multiple_of=devices)
    found = {}
    for batch in plan.batches:
        rows, length, _ = batch.shape
        assert rows % devices == 0
        assert length == row_length(length) and rows // devices <= max(budget // length, 1)
        spans = find_spans(
            *map(jnp.asarray, (batch.positions, batch.ends, batch.last, batch.start))
        )
        text, response = np.asarray(spans.text), np.asarray(spans.response)
        for row, leaf in zip(*np.nonzero(batch.sequence >= 0), strict=True):
            number = int(batch.sequence[row, leaf])
            assert number not in found
            found[number] = batch.tokens[row, text[row, leaf]]
            positions = batch.positions[row, text[row, leaf]]
            np.testing.assert_array_equal(positions, np.arange(len(positions)))
            expected = len(texts[number]) - len(texts[number]) // 2
            assert response[row, leaf].sum() == expected
    assert {number: tuple(tokens.tolist()) for number, tokens in found.items()} == dict(
        enumerate(texts)
    )
    assert plan.counts.given == sum(map(len, texts))
    prefixes = {text[: end + 1] for text in texts for end in range(len(text))}
    assert plan.counts.distinct == len(prefixes)
    assert plan.counts.run >= len(prefixes) if share else plan.counts.run >= len(set(texts))


@given(st.lists(_texts, min_size=1, max_size=40))
def test_trees_run_few_tokens_twice(texts):
    trees, distinct = grow_trees([_sequence(text) for text in texts], 10**6, share=True)
    run = sum(tree.size for tree in trees)
    assert run <= distinct + SHARED_AT_LEAST * sum(map(len, texts))


def test_a_pair_shares_its_prompt_and_a_longer_prompt_goes_on_from_it():
    prompt = list(range(100))
    pair = [_sequence([*prompt, *[201] * 50], 100), _sequence([*prompt, *[202] * 30], 100)]
    longer = _sequence([*prompt, *[201] * 50, *[203] * 20], 150)
    (batch,) = pack_batches([*pair, longer], 4096, 0).batches
    assert batch.shape == (1, 224, 7)
    assert pack_batches([*pair, longer], 4096, 0).counts == (450, 200, 224)
    alone = pack_batches([*pair, longer], 4096, 0, share=False)
    assert sum((batch.tokens > 200).sum() for batch in alone.batches) == 50 + 30 + 70


def test_padding_of_many_sequences_is_under_a_tenth():
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5, 0.7, 2000), 5, 1000).astype(int)
    sequences = [_sequence(rng.integers(1, 1000, length)) for length in lengths]
    plan = pack_batches(sequences, 8192, 0)
    assert plan.counts.run <= 1.1 * plan.counts.distinct
    assert len({batch.shape for batch in plan.batches}) <= 24


@given(st.integers(1, 5000))
def test_a_row_wastes_a_fifth_at_most(size):
    assert size <= row_length(size) <= max(1.25 * size, 64)
    assert row_length(row_length(size)) == row_length(size)


def test_a_budget_without_tokens_is_refused():
    with pytest.raises(FeatureError, match="token_budget must be at least 1, got 0"):
        pack_batches([_sequence([1])], 0, 0)


def test_no_sequences_make_no_batches():
    assert pack_batches([], 8, 0) == ((), (0, 0, 0))


def fitted(prompt, response, context, start=()):
    return fit_context(TokenParts(start, prompt, response, [0]), context)


def test_a_full_context_drops_the_oldest_prompt_tokens_and_then_the_last_of_the_response():
    assert fitted([1, 2], [3, 4], 8) == ((1, 2, 3, 4, 0), 2, False, False, ())
    assert fitted([1, 2], [3, 4], 4) == ((2, 3, 4, 0), 1, True, False, ())
    assert fitted([1, 2], [3, 4], 3) == ((3, 4, 0), 0, True, False, ())
    assert fitted([1, 2], [3, 4], 2) == ((3, 0), 0, True, True, ())
    assert fitted([], [3, 4], 3) == ((3, 4, 0), 0, False, False, ())
    assert fit_context(TokenParts([], [1], [2, 3], []), 2) == ((2, 3), 0, True, False, ())


def test_what_opens_a_text_is_never_dropped():
    assert fitted([1, 2], [3], 8, [7]) == ((7, 1, 2, 3, 0), 3, False, False, ())
    assert fitted([1, 2], [3], 4, [7]) == ((7, 2, 3, 0), 2, True, False, ())
    assert fitted([1, 2], [3, 4], 3, [7]) == ((7, 3, 0), 1, True, True, ())
    assert fitted([1, 2], [3], 5, [9, 7]) == ((9, 7, 2, 3, 0), 3, True, False, ())


@given(st.lists(st.integers(1, 9)), st.lists(st.integers(1, 9)), st.integers(1, 12))
def test_a_fitted_sequence_is_a_window_around_the_response(prompt, response, context):
    made = fitted(prompt, response, context)
    kept, rest = made.tokens[: made.response_start], made.tokens[made.response_start : -1]
    assert len(made.tokens) <= context and made.tokens[-1] == 0
    assert prompt[len(prompt) - len(kept) :] == list(kept)
    assert response[: len(rest)] == list(rest)
    assert made.prompt_cut == (len(kept) < len(prompt))
    assert made.response_cut == (len(rest) < len(response))
    assert not made.response_cut or not kept


def test_prompt_and_response_are_tokenised_apart_and_closed_by_the_end_token(checkpoint):
    from coala_jax.backbones._tokenizer import load_tokenizer

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


class _Device:
    def __init__(self, stats):
        self._stats = stats

    def memory_stats(self):
        return self._stats


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        (None, DEFAULT_BUDGET),  # a CPU
        ({"bytes_in_use": 5}, DEFAULT_BUDGET),
        ({"bytes_limit": 10**6, "bytes_in_use": 10**6}, 1024),  # a row at least
        ({"bytes_limit": 10**13}, LARGEST_BUDGET),
    ],
)
def test_the_budget_is_what_free_memory_holds(monkeypatch, stats, expected):
    config = GPT2Config()
    monkeypatch.setattr(jax, "local_devices", lambda: [_Device(stats)])
    assert free_token_budget(config, 1024, jnp.float32) == expected


def test_half_of_the_free_memory_holds_the_budget_and_not_twice_of_it(monkeypatch):
    config = GPT2Config()
    stats = {"bytes_limit": 12 * 2**30, "bytes_in_use": 2 * 2**30}
    monkeypatch.setattr(jax, "local_devices", lambda: [_Device(stats)])
    budget = free_token_budget(config, 1024, jnp.bfloat16)
    taken = budget * slot_bytes(config, 1024, jnp.bfloat16)
    assert taken <= 5 * 2**30 < 2 * taken
    # GPT-2: 12 heads of 64, and twelve squares of the width a layer.
    assert slot_bytes(config, 1024, jnp.bfloat16) == 12 * 12 * 1024 + 2 * 2 * 12 * 768
