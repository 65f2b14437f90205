"""A tiny backbone with opinions of its own, and heads on it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coala_jax.features._query import query_text
from coala_jax.features._settings import ExtractSettings
from tests.helpers import load_with_opinions, random_reward_model, with_opinions


@pytest.fixture(scope="session")
def backbone(checkpoint):
    """A GPT-2 of two layers and 64 positions."""
    return load_with_opinions(checkpoint)


@pytest.fixture(scope="session")
def llama(backbone):
    """Rotary positions, grouped queries, a sliding window; the same tokenizer."""
    from coala_jax.backbones._decoder import Decoder, DecoderConfig

    config = DecoderConfig(
        model_type="mistral",
        vocab_size=backbone.config.vocab_size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        max_position_embeddings=64,
        windows=(16, 16),
        eos_token_id=0,
    )
    module = with_opinions(Decoder(config, rngs=nnx.Rngs(0)))
    identity = backbone.identity._replace(name="tiny-mistral", model_type="mistral")
    return replace(backbone, module=module, config=config, identity=identity)


@pytest.fixture(scope="session")
def make_model():
    """A backbone with a random head: ``make_model(backbone, pooling, layers)``."""

    def make(backbone, pooling="mean+last", layers=(-1,), seed=0):
        rng = np.random.default_rng(seed)
        query = ""
        if "attention" in pooling:
            query = query_text(rng.standard_normal((len(layers), backbone.config.hidden_size)))
        settings = ExtractSettings(pooling=pooling, layers=layers, query=query)
        return random_reward_model(backbone, settings, rng)

    return make


@pytest.fixture
def key():
    """Of the draws."""
    return jax.random.key(5)


@pytest.fixture(scope="session")
def dead_head(make_model):
    """A head that gives every text the same reward."""

    def make(backbone):
        model = make_model(backbone)
        return replace(model, head=jax.tree.map(lambda part: jnp.zeros_like(part), model.head))

    return make
