"""The reward of every prefix, against plain Python that runs each prefix by itself."""

from dataclasses import replace

import numpy as np
import pytest

from coala_jax.decoding._config import GenerationConfig, GenerationError
from coala_jax.decoding._prompts import template_of
from coala_jax.decoding._token_rewards import token_rewards
from coala_jax.features import FeatureError
from coala_jax.features._query import query_array
from coala_jax.features._tokens import encode_prompts
from tests.decoding.reference import Reference
from tests.helpers import PROMPTS

EVERY_POOLING = "text_mean+mean+last+first+attention"


def prefix_by_prefix(model, prompt, response):
    """Each closed by the end token, the empty one first; nothing is kept from one to the next."""
    query = None
    if model.settings.query:
        shape = len(model.settings.layers), model.backbone.config.hidden_size
        query = np.asarray(query_array(model.settings.query, *shape), np.float64)
    reference, end = Reference(model, GenerationConfig(), query), model.backbone.tokenizer.end_id
    prefixes = [list(response[:count]) for count in range(len(response) + 1)]
    closed = [prefix if prefix[-1:] == [end] else [*prefix, end] for prefix in prefixes]
    return [reference.reward(prompt, prefix) for prefix in closed]


@pytest.fixture(scope="module")
def texts(backbone):
    """Prompts, and responses of several lengths, with and without their end token."""
    rng = np.random.default_rng(3)
    prompts = encode_prompts(backbone.tokenizer, PROMPTS, template_of(backbone))
    lengths = (7, 12, 0, 1)
    responses = [rng.integers(1, backbone.tokenizer.size, n).tolist() for n in lengths]
    responses[1].append(backbone.tokenizer.end_id)
    return prompts, responses


@pytest.mark.parametrize(
    ("model", "pooling", "layers"),
    [
        ("backbone", "mean+last", (-1,)),
        ("backbone", EVERY_POOLING, (-1, 1)),
        ("llama", "mean+last", (-1,)),
    ],
)
def test_every_prefix_has_the_reward_it_has_by_itself(
    request, make_model, texts, model, pooling, layers
):
    model = request.getfixturevalue(model)
    model, (prompts, responses) = make_model(model, pooling, layers), texts
    found = token_rewards(model, prompts, responses)
    assert [len(rewards) for rewards in found] == [8, 14, 1, 2]
    for prompt, response, rewards in zip(prompts, responses, found, strict=True):
        expected = prefix_by_prefix(model, prompt, response)
        assert rewards == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert found[1][-1] == found[1][-2]  # an end token closes what was closed already


def test_any_end_token_closes_a_response(backbone, make_model, texts):
    ends = replace(backbone.tokenizer, more_end_ids=(60, 61))
    model, (prompts, responses) = make_model(replace(backbone, tokenizer=ends)), texts
    ended, turned = ([*responses[1][:4], end] for end in (0, 61))
    found = token_rewards(model, prompts[1:2] * 2, [ended, turned])
    assert found[1].tolist() == found[0].tolist()


def test_many_texts_are_answered_in_their_order(backbone, make_model, texts):
    model, (prompts, responses) = make_model(backbone), texts
    few = token_rewards(model, prompts, responses)
    many = token_rewards(model, prompts * 10, responses * 10)
    for number, rewards in enumerate(many):
        assert rewards == pytest.approx(few[number % 4], rel=1e-5, abs=1e-5)
    assert token_rewards(model, [], []) == []


def test_the_context_is_the_limit(backbone, make_model):
    model = make_model(backbone)
    full = token_rewards(model, [[5] * 40], [[7] * 23])[0]  # 64 with the end token
    expected = prefix_by_prefix(model, [5] * 40, [7] * 23)
    assert full == pytest.approx(expected, rel=1e-5, abs=1e-5)
    ended = [7] * 23 + [backbone.tokenizer.end_id]
    assert len(token_rewards(model, [[5] * 40], [ended])[0]) == 25
    with pytest.raises(GenerationError, match=r"text 1 has 65 tokens.*context of 64; shorten"):
        token_rewards(model, [[5], [5] * 40], [[7], [7] * 24])


def test_what_cannot_be_scored_is_named(backbone, make_model):
    model = make_model(backbone)
    with pytest.raises(GenerationError, match="text 1: its prompt is empty"):
        token_rewards(model, [[5], []], [[7], [7]])
    huge = replace(model, head=model.head._replace(theta2=model.head.theta2 * np.float32(1e38)))
    with pytest.raises(FeatureError, match="1 of 1 texts have prefixes whose reward is not finite"):
        token_rewards(huge, [[5]], [[7] * 9])
