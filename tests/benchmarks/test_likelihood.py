"""Log probabilities of responses against a softmax of whole texts, one at a time."""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax.decoding._state import prompt_batch
from tests.helpers import load_with_opinions

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def likelihood(monkeypatch):
    """The module, which benchmarks import from beside them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import likelihood

    yield likelihood
    del sys.modules["likelihood"]


def test_tokens_of_responses_have_their_log_probabilities(likelihood, checkpoint):
    backbone = load_with_opinions(checkpoint)
    prompts, responses = [[5, 6, 7], [8], [9] * 40], [[1, 2], [3] * 20, []]
    found = likelihood.response_log_probs(backbone, prompts, responses)
    for prompt, response, log_probs in zip(prompts, responses, found, strict=True):
        text = jnp.array([[*prompt, *response]])
        hidden = backbone.hidden_states(text, jnp.ones_like(text, bool))
        expected = jax.nn.log_softmax(backbone.module.logits(hidden)[0])
        places = np.arange(len(prompt) - 1, text.shape[1] - 1)
        assert log_probs == pytest.approx(np.asarray(expected)[places, response], abs=1e-5)


def test_logits_are_those_of_the_responses_alone(likelihood, checkpoint):
    backbone = load_with_opinions(checkpoint)
    batch = prompt_batch([[5] * 50] * 4, 0)
    firsts = jnp.full(4, 45, jnp.int32)
    program = likelihood._log_probs.lower(backbone.module, batch, firsts, most=8).as_text()
    vocab = backbone.config.vocab_size
    shape = f"(8x{vocab}|{vocab}x8)xf32"  # on a CPU the product of few rows is turned
    assert len(re.findall(rf"dot_general .*-> tensor<{shape}>", program)) == 1
    assert f"4x64x{backbone.config.vocab_size}x" not in program
