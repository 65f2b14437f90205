"""Frozen Flax backbones: modules, checkpoints and tokenizers. Needs flax and transformers."""

from coala_jax.backbones.checkpoint import CheckpointError
from coala_jax.backbones.gpt2 import GPT2, GPT2Config
from coala_jax.backbones.registry import (
    Backbone,
    BackboneIdentity,
    load_backbone,
    save_checkpoint,
)
from coala_jax.backbones.tokenizer import Tokenizer

__all__ = [
    "GPT2",
    "Backbone",
    "BackboneIdentity",
    "CheckpointError",
    "GPT2Config",
    "Tokenizer",
    "load_backbone",
    "save_checkpoint",
]
