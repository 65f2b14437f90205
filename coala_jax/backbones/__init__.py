"""Frozen Flax backbones: modules, checkpoints and tokenizers. Needs flax and transformers."""

from coala_jax.backbones._attention import TokenBatch
from coala_jax.backbones._checkpoint import CheckpointError
from coala_jax.backbones._family import BackboneModule
from coala_jax.backbones._flops import pass_flops
from coala_jax.backbones._gpt2 import GPT2, GPT2Config
from coala_jax.backbones._registry import (
    Backbone,
    BackboneIdentity,
    load_backbone,
    save_checkpoint,
)
from coala_jax.backbones._sharding import device_mesh
from coala_jax.backbones._stack import layer_indices
from coala_jax.backbones._tokenizer import Tokenizer

__all__ = [
    "GPT2",
    "Backbone",
    "BackboneIdentity",
    "BackboneModule",
    "CheckpointError",
    "GPT2Config",
    "TokenBatch",
    "Tokenizer",
    "device_mesh",
    "layer_indices",
    "load_backbone",
    "pass_flops",
    "save_checkpoint",
]
