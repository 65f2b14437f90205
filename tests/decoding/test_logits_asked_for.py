"""Logits are computed where a token is to be chosen and nowhere else: they cost what layers do."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coala_jax.decoding._config import GenerationConfig
from coala_jax.decoding._plan import make_plan
from coala_jax.decoding._running_pool import RunningReward
from coala_jax.decoding._session import Request, _arrays
from coala_jax.decoding._state import begin, prompt_batch
from coala_jax.decoding._step import advance, close
from coala_jax.decoding._token_rewards import _prefix_rewards
from coala_jax.features._extract import _forward
from coala_jax.features._packing import pack_batches
from coala_jax.features._tokens import encode_texts

ROWS = 3
PROMPT = [5, 6, 7]


@pytest.fixture(scope="module", params=["gpt2", "rotary"])
def model(request, backbone, llama, make_model):
    return make_model(backbone if request.param == "gpt2" else llama)


def positions_scored(model, lowered):
    """Of every product with the vocabulary in a program, how many positions it scores."""
    products = re.findall(r"dot_general .*-> tensor<([\dx]+)x[a-z]+\d+>", lowered.as_text())
    assert products  # a layer has some
    vocab = model.backbone.config.vocab_size
    shapes = [tuple(map(int, product.split("x"))) for product in products]
    return [int(np.prod(shape)) // vocab for shape in shapes if vocab in shape]


def prepared(model, **options):
    """A plan, and the program that runs the prompts of its rows."""
    config = GenerationConfig.from_options(max_new_tokens=6, top_k=5, **options)
    plan = make_plan(model, [config])
    requests = [Request(PROMPT, config, jax.random.key(n)) for n in range(ROWS)]
    inputs = (
        model.backbone.module,
        RunningReward.of(model),
        prompt_batch([PROMPT] * ROWS, 0),
        jnp.arange(ROWS, dtype=jnp.int32),
        _arrays(requests, [6] * ROWS),
    )
    return plan, begin, inputs, {"plan": plan, "capacity": plan.slots(20)}


def test_extraction_scores_no_token(model):
    tokenizer = model.backbone.tokenizer
    texts = encode_texts(tokenizer, ["a", "the"], ["b", "c"], model.settings.template, 64)
    (batch,) = pack_batches(texts, 128, tokenizer.pad_id).batches
    lowered = _forward.lower(model.backbone.module, batch, None, pooling="mean", layers=(-1,))
    assert positions_scored(model, lowered) == []


def test_prompts_are_run_and_not_scored(model):
    _, run, inputs, static = prepared(model, scale=0.0)
    assert positions_scored(model, run.lower(*inputs, **static)) == []


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"scale": 0.0}, []),
        ({"num_candidates": 4}, []),
        ({"num_candidates": 4, "lookahead": 2}, [4 * ROWS]),
        ({"continuations": 2, "guide_every": 3}, [2 * ROWS]),
    ],
    ids=["plain", "candidates", "lookahead", "blocks"],
)
def test_a_step_scores_a_position_a_row_and_what_branches_go_on_from(
    backbone, make_model, options, more
):
    model = make_model(backbone)
    plan, run, (module, reward, *rest), static = prepared(model, **options)
    graph, weights = nnx.split(module)
    state = jax.eval_shape(
        lambda weights, *inputs: run(nnx.merge(graph, weights), *inputs, **static),
        *(weights, reward, *rest),
    )
    stepped = advance.lower(module, reward, state, jnp.int32(4), plan=plan)
    assert positions_scored(model, stepped) == [ROWS, *more]
    assert positions_scored(model, close.lower(module, reward, state, plan=plan)) == []


def test_rewards_of_prefixes_score_no_token(model):
    tokens, sizes = jnp.zeros((2, 64), jnp.int32), jnp.ones((2, 2), jnp.int32)
    reward = RunningReward.of(model)
    lowered = _prefix_rewards.lower(model.backbone.module, reward, tokens, sizes)
    assert positions_scored(model, lowered) == []
