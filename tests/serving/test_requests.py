"""Every field of a request reaches what it is for."""

from coala_jax.decoding._config import GenerationConfig
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
    ((system, user),) = chat.prompts
    assert (system.role, system.content, user.content) == ("system", "be brief", "hi")


def test_every_field_is_heeded():
    config = {
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
        "repetition_penalty": 1.25,
        "guide_every": 3,
        "num_candidates": 4,
        "reweighting": "raw",
        "choice": "best",
        "scored": "token",
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
    blocks = {"model": "m", "messages": MESSAGES, "continuations": 4, "max_completion_tokens": 8}
    chat = chat_request(blocks, "m", LIMITS, 1.0)
    assert (chat.config.guidance.continuations, chat.config.sampling.max_new_tokens) == (4, 8)


def test_an_answer_may_be_empty():
    """A client sends back what it got, and an end token at once is an empty answer."""
    turns = [*MESSAGES, {"role": "assistant", "content": ""}, {"role": "user", "content": "and?"}]
    asked = chat_request({"model": "m", "messages": turns}, "m", LIMITS, 2.0)
    assert [turn.content for turn in asked.prompts[0]] == ["be brief", "hi", "", "and?"]
