"""A tiny backbone with opinions of its own, and heads on it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coala_jax._head import ConvexHead
from coala_jax.backbones import load_backbone
from coala_jax.decoding._text_head import TextHead
from coala_jax.features._query import query_text
from coala_jax.features._settings import ExtractSettings, feature_identity

PROMPTS = (
    "the student asks",
    "what does the tutor answer the student?",
    "a",
    "the tutor asks the student, the student answers the tutor",
)


def with_opinions(module):
    """Random weights hardly tell tokens apart; larger ones do."""
    state = nnx.state(module, nnx.Param)
    nnx.update(
        module, jax.tree.map(lambda weight: 4 * weight if weight.ndim > 1 else weight, state)
    )
    return module


def random_head(backbone, settings, rng):
    """A head of six neurons on features of these settings."""
    width, neurons = settings.width(backbone.config.hidden_size), 6
    head = ConvexHead(
        theta1=rng.standard_normal((width, neurons)).astype(np.float32),
        bias=rng.standard_normal(neurons).astype(np.float32),
        theta2=rng.standard_normal(neurons).astype(np.float32),
    )
    return TextHead(head, settings, feature_identity(backbone, settings))


@pytest.fixture(scope="session")
def backbone(checkpoint):
    """A GPT-2 of two layers and 64 positions."""
    loaded = load_backbone(checkpoint)
    return replace(loaded, module=with_opinions(loaded.module))


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
def make_head():
    """A random head: ``make_head(backbone, pooling, layers)``."""

    def make(backbone, pooling="mean+last", layers=(-1,), seed=0):
        rng = np.random.default_rng(seed)
        query = ""
        if "attention" in pooling:
            query = query_text(rng.standard_normal((len(layers), backbone.config.hidden_size)))
        settings = ExtractSettings(pooling=pooling, layers=layers, query=query)
        return random_head(backbone, settings, rng)

    return make


@pytest.fixture
def key():
    """Of the draws."""
    return jax.random.key(5)


@pytest.fixture(scope="session")
def dead_head(make_head):
    """A head that gives every text the same reward."""

    def make(backbone):
        head = make_head(backbone)
        return head._replace(head=jax.tree.map(lambda part: jnp.zeros_like(part), head.head))

    return make
