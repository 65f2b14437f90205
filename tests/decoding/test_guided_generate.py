"""`guided_generate` against plain Python, and what it promises."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from coala_jax.decoding._config import GenerationConfig
from coala_jax.decoding._generate import guided_generate
from coala_jax.decoding._plan import make_plan
from coala_jax.decoding._prompts import template_of
from coala_jax.decoding._session import Request, Session
from coala_jax.decoding._value_head import ValueHead
from coala_jax.features._query import query_array
from coala_jax.features._tokens import encode_prompts, encode_texts
from tests.decoding.reference import Reference, token_evaluations
from tests.helpers import PROMPTS

BASE = {"max_new_tokens": 9, "top_k": 4, "top_p": 0.8, "guide_every": 3, "scale": 3.0}
CONFIGS = {
    "plain": {"scale": 0.0},
    "plain, hot and penalised": {"scale": 0.0, "temperature": 1.7, "repetition_penalty": 1.3},
    "greedy": {"scale": 0.0, "temperature": 0.0},
    "linear": {"top_k": 6},
    "token by token": {"guide_every": 1},
    # More branches than the cache has slots left: what lies behind it sees the prefix all the same.
    "wide": {"top_k": 60, "top_p": 1.0},
    "best": {"choice": "best"},
    "greedy guided": {"temperature": 0.0, "repetition_penalty": 1.2},
    "few candidates": {"num_candidates": 2, "top_p": 1.0},
    "as it stands": {"scored": "prefix"},
    "penalised": {"repetition_penalty": 1.5},
    "lookahead": {"lookahead": 2},
    "lookahead as it stands": {"lookahead": 1, "scored": "prefix", "choice": "best"},
    "blocks": {"continuations": 3},
    "blocks as they stand, penalised": {
        "continuations": 2,
        "scored": "prefix",
        "repetition_penalty": 1.5,
    },
}


# What other configurations cover by parts.
SLOW = {
    "greedy guided",
    "as it stands",
    "lookahead as it stands",
    "blocks as they stand, penalised",
}


def marked(names, slow):
    """Names as parameters, some of them marked slow."""
    return [pytest.param(n, marks=[pytest.mark.slow] if n in slow else []) for n in names]


def config_of(name, **changes):
    return GenerationConfig.from_options(**(BASE | CONFIGS[name] | changes))


def compare(backbone, model, config, key, prompts=PROMPTS):
    """All that plain Python and the package must agree on."""
    found = guided_generate(model, prompts, config, key, trace=True)
    encoded = encode_prompts(backbone.tokenizer, prompts, template_of(model))
    query = None
    if model.settings.query:
        shape = len(model.settings.layers), backbone.config.hidden_size
        query = np.asarray(query_array(model.settings.query, *shape), np.float64)
    plan = make_plan(model, [config])
    equal = 0
    for number, (prompt, made) in enumerate(zip(encoded, found, strict=True)):
        reference = Reference(model, config, query)
        expected = reference.generate(prompt, jax.random.fold_in(key, number))
        if list(made.tokens) != expected:  # floats decide near ties, and only them
            assert made.near_ties > 0
            continue
        equal += 1
        ended = expected[-1] in backbone.tokenizer.end_ids
        assert made.finish_reason == ("stop" if ended else "length")
        closed = expected if ended else [*expected, backbone.tokenizer.end_id]
        if made.text != made.text.strip():  # white space at the edges of a response does not count
            (bare,) = encode_texts(
                backbone.tokenizer, [prompts[number]], [made.text], model.settings.template, 64
            )
            closed = bare.tokens[bare.response_start :]
        assert made.reward == pytest.approx(reference.reward(prompt, closed), rel=1e-5, abs=1e-5)
        assert made.guided_steps == len(made.steps) == len(reference.scores)
        for step, scores in zip(made.steps, reference.scores, strict=True):
            assert step.scores == pytest.approx(scores, rel=1e-5, abs=1e-5)
        assert made.prompt_tokens == len(prompt)
        assert made.evaluations == token_evaluations(plan, made)
        assert made.scored <= plan.candidates * -(-len(expected) // config.guidance.guide_every)
    assert 2 * equal >= len(prompts)


@pytest.mark.parametrize("name", marked(CONFIGS, SLOW))
def test_plain_python_generates_the_same(backbone, make_model, key, name):
    compare(backbone, make_model(backbone), config_of(name), key)


VALUED = ["token by token", "lookahead", "blocks", "best"]


@pytest.mark.parametrize("name", marked(VALUED, {"best"}))
def test_a_value_head_guides_and_the_head_rewards(backbone, make_model, key, name):
    model, values = make_model(backbone), make_model(backbone, "text_mean+last", (1, -1), seed=5)
    valued = replace(model, value_head=ValueHead(values.head, values.settings))
    compare(backbone, valued, config_of(name), key)
    by_value, by_head = (
        [one.tokens for one in guided_generate(each, PROMPTS, config_of(name), key, trace=True)]
        for each in (valued, model)
    )
    assert by_value != by_head


@pytest.mark.parametrize("name", marked(["linear", "lookahead", "blocks"], {"lookahead", "blocks"}))
def test_any_of_several_end_tokens_ends_a_response(backbone, make_model, key, name):
    """The reward is that of the text: closed by the token that closes texts, whatever ended it."""
    plain = guided_generate(backbone, PROMPTS, config_of(name, scale=0.0), key)
    ends = tuple({token for made in plain for token in made.tokens[4:6]} - {0})
    tokenizer = replace(backbone.tokenizer, more_end_ids=ends)
    model = make_model(replace(backbone, tokenizer=tokenizer))
    compare(model.backbone, model, config_of(name), key)
    made = guided_generate(model, PROMPTS, config_of(name), key, trace=True)
    ended = [one for one in made if one.tokens[-1] in ends]
    assert ended
    for one in ended:
        assert one.finish_reason == "stop"
        assert one.text.strip() == tokenizer.decode(one.tokens[:-1]).strip()
        assert not set(one.tokens[:-1]) & set(tokenizer.end_ids)


@pytest.mark.parametrize("name", marked(["wide", "lookahead", "blocks"], {"wide", "lookahead"}))
def test_plain_python_generates_the_same_with_rotary_positions_and_windows(
    llama, make_model, key, name
):
    compare(llama, make_model(llama), config_of(name), key)


def test_prefixes_are_pooled_as_texts_are(backbone, make_model, key):
    model = make_model(backbone, "text_mean+mean+last+first+attention", layers=(-1, 1))
    compare(backbone, model, config_of("linear"), key, PROMPTS[:2])


def test_x64_changes_no_type_of_the_state(backbone, key):
    config = GenerationConfig.from_options(max_new_tokens=4, top_k=2, scale=0.0)
    plan = make_plan(backbone, [config], likely=2)

    def types():
        session = Session(backbone, plan, 1, plan.slots(32))
        session.admit([Request((3, 4, 5), config, key)], [0])
        return jax.tree.map(lambda leaf: leaf.dtype, session._begun)

    expected = types()
    with jax.enable_x64(True):
        assert types() == expected
