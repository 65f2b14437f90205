"""Every field of a request reaches what it is for."""

import jax
import jax.numpy as jnp
import pytest

from coala_jax.decoding._candidates import SamplingArrays, propose
from coala_jax.decoding._config import GenerationConfig
from coala_jax.serving._lane import row_key
from coala_jax.serving._limits import Limits
from coala_jax.serving._requests import chat_request, completion_request

LIMITS = Limits()
MESSAGES = [
    {
        "role": "developer",
        "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}],
    },
    {"role": "user", "content": "hi"},
]


def test_defaults_are_the_apis_and_of_guidance_the_papers():
    text = completion_request({"model": "m", "prompt": "a"}, "m", LIMITS, 2.0)
    assert text.config == GenerationConfig.from_options(max_new_tokens=16, top_p=1.0, scale=2.0)
    assert (text.prompts, text.choices, text.stream, text.usage) == (("a",), 1, False, False)
    assert not text.stated_tokens
    chat = chat_request({"model": "m", "messages": MESSAGES}, "m", LIMITS, 2.0)
    assert chat.config.sampling.max_new_tokens == LIMITS.new_tokens
    ((developer, user),) = chat.prompts
    assert (developer.role, developer.content, user.content) == ("developer", "be brief", "hi")


@pytest.mark.parametrize("temperature", [0, 1e-8, 1e-30, 5e-324])
def test_a_temperature_of_almost_nothing_is_greedy(temperature):
    body = {"model": "m", "prompt": "a", "temperature": temperature}
    assert completion_request(body, "m", LIMITS, 2.0).config.sampling.temperature == 0


@pytest.mark.parametrize("top_p", [0, 1e-30])
def test_a_nucleus_of_nothing_is_the_most_probable_token(top_p):
    body = {"model": "m", "prompt": "a", "top_p": top_p}
    least = completion_request(body, "m", LIMITS, 2.0).config.sampling.top_p
    logits = jnp.array([[0.0, 3.0, 1.0, 2.0]])
    options = SamplingArrays(None, *jnp.array([[1.0], [least]]), jnp.array([4]), *[None] * 3)
    assert propose(logits, options, 3).inside.sum() == 1


@pytest.mark.parametrize("seed", [0, -1, 2**32, -(2**63), 2**63 - 1])
def test_any_seed_of_64_bits_is_taken(seed):
    assert (
        completion_request({"model": "m", "prompt": "a", "seed": seed}, "m", LIMITS, 2.0).seed
        == seed
    )


def test_seeds_draw_apart_and_small_ones_as_jax_has_them():
    seeds = [0, 1, -1, 2**32 - 1, 2**32, 2**32 + 1, -(2**32), 2**63 - 1, -(2**63)]
    keys = {tuple(jax.random.key_data(row_key(seed, 3)).tolist()) for seed in seeds}
    assert len(keys) == len(seeds)
    for seed in (0, 5, 2**32 - 1):
        plain = jax.random.fold_in(jax.random.key(seed), 3)
        assert (jax.random.key_data(row_key(seed, 3)) == jax.random.key_data(plain)).all()


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_no_limit_on_tokens_is_as_many_as_fit(name):
    body = {"model": "m", "messages": MESSAGES, name: -1}
    asked = chat_request(body, "m", LIMITS, 2.0)
    assert (asked.config.sampling.max_new_tokens, asked.stated_tokens) == (LIMITS.new_tokens, False)


def test_every_field_is_heeded():
    config = {
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
        "repetition_penalty": 1.25,
        "guide_every": 3,
        "num_candidates": 4,
        "choice": "best",
        "scored": "closed",
        "lookahead": 2,
    }
    body = {
        **config,
        "model": "m",
        "prompt": ["a", "b"],
        "n": 2,
        "max_tokens": 9,
        "stop": "end",
        "seed": 5,
        "guidance_scale": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    asked = completion_request(body, "m", LIMITS, 1.0)
    assert asked.config == GenerationConfig.from_options(
        **config, max_new_tokens=9, stop=("end",), scale=3.0
    )
    assert (asked.prompts, asked.choices, asked.seed) == (("a", "b"), 2, 5)
    assert asked.stated_tokens and asked.stream and asked.usage
    blocks = {"model": "m", "messages": MESSAGES, "continuations": 4, "guide_every": 3}
    blocks["max_completion_tokens"] = 8
    chat = chat_request(blocks, "m", LIMITS, 1.0)
    assert (chat.config.guidance.continuations, chat.config.sampling.max_new_tokens) == (4, 8)


def test_an_answer_may_be_empty():
    """A client sends back what it got, and an end token at once is an empty answer."""
    turns = [*MESSAGES, {"role": "assistant", "content": ""}, {"role": "user", "content": "and?"}]
    asked = chat_request({"model": "m", "messages": turns}, "m", LIMITS, 2.0)
    assert [turn.content for turn in asked.prompts[0]] == ["be brief", "hi", "", "and?"]
