"""Frozen Flax backbones: modules, checkpoints and tokenizers. Needs flax and transformers."""

from coala_jax.backbones._attention import TokenBatch
from coala_jax.backbones._backbone import (
    Backbone,
    BackboneIdentity,
    load_backbone,
    save_checkpoint,
)
from coala_jax.backbones._errors import CheckpointError
from coala_jax.backbones._family import BackboneModule
from coala_jax.backbones._sharding import device_mesh
from coala_jax.backbones._tokenizer import Tokenizer

__all__ = [
    "Backbone",
    "BackboneIdentity",
    "BackboneModule",
    "CheckpointError",
    "TokenBatch",
    "Tokenizer",
    "device_mesh",
    "load_backbone",
    "save_checkpoint",
]
