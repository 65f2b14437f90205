"""From a checkpoint folder to a frozen backbone, whatever its family.

A family is one file with a ``FAMILY``, and one line in ``FAMILIES``.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from coala_jax.backbones import decoder, encoder, gpt2
from coala_jax.backbones.checkpoint import (
    CheckpointError,
    checkpoint_folder,
    load_module,
    read_config,
    save_module,
    weights_sha256,
)
from coala_jax.backbones.family import BackboneConfig, Family
from coala_jax.backbones.tokenizer import Tokenizer, load_tokenizer, tokenizer_sha256

FAMILIES: Mapping[str, Family] = {
    "gpt2": gpt2.FAMILY,
    "llama": decoder.LLAMA,
    "mistral": decoder.MISTRAL,
    "qwen2": decoder.QWEN2,
    "qwen3": decoder.QWEN3,
    "bert": encoder.BERT,
    "roberta": encoder.ROBERTA,
    "xlm-roberta": encoder.XLM_ROBERTA,
}


class BackboneIdentity(NamedTuple):
    """What makes two backbones the same.

    Attributes:
        name: the folder's name; for people, it decides nothing.
        model_type: a key of ``FAMILIES``.
        config_sha256: of the configuration's fields, sorted.
        weights_sha256: of the weight files.
        tokenizer_sha256: of the tokenizer files.
    """

    name: str
    model_type: str
    config_sha256: str
    weights_sha256: str
    tokenizer_sha256: str


@dataclass(frozen=True)
class Backbone:
    """A frozen transformer with its tokenizer.

    Attributes:
        module: its call takes tokens and attention mask, (batch, length), padded on the right, and
            gives the last layer's hidden states, (batch, length, hidden_size).
        config: sizes.
        tokenizer: text to ids.
        identity: hashes by which a head knows the backbone it was made on.
    """

    module: nnx.Module
    config: BackboneConfig
    tokenizer: Tokenizer
    identity: BackboneIdentity

    def hidden_states(self, tokens: jax.Array, attention_mask: jax.Array) -> jax.Array:
        """Run the module, compiled once a shape.

        Args:
            tokens: (batch, length) integers.
            attention_mask: (batch, length), true at real tokens, padding on the right.

        Returns:
            (batch, length, hidden_size) in the dtype of the weights.
        """
        return _apply(self.module, tokens, attention_mask)


@nnx.jit
def _apply(module: nnx.Module, tokens: jax.Array, attention_mask: jax.Array) -> jax.Array:
    hidden: jax.Array = module(tokens, attention_mask)
    return hidden


def load_backbone(folder: str | os.PathLike[str], *, dtype: DTypeLike = jnp.float32) -> Backbone:
    """Load a Hugging Face model folder: ``config.json``, safetensors, tokenizer.

    Args:
        folder: a local folder; hub ids are not fetched.
        dtype: floating type of the weights and of the computation. Float32 asks for the highest
            matrix precision on every device.

    Returns:
        The backbone.

    Raises:
        CheckpointError: no checkpoint, an unsupported family or configuration, weights or
            tokenizer that cannot be used; the message says which and what to do.
    """
    path = checkpoint_folder(folder)
    fields = read_config(path)
    model_type = str(fields.get("model_type"))
    family = FAMILIES.get(model_type)
    if family is None:
        raise CheckpointError(
            f"{path}: model_type {model_type!r} is not supported; supported: {', '.join(FAMILIES)}"
        )
    try:
        config = family.read_config(fields)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    tokenizer = load_tokenizer(path)
    if tokenizer.size > config.vocab_size:
        raise CheckpointError(
            f"{path}: the tokenizer has {tokenizer.size} ids, the embedding only "
            f"{config.vocab_size} rows (vocab_size); they belong to different models"
        )
    identity = BackboneIdentity(
        name=path.resolve().name,
        model_type=model_type,
        config_sha256=_config_sha256(config),
        weights_sha256=weights_sha256(path),
        tokenizer_sha256=tokenizer_sha256(path),
    )
    return Backbone(load_module(path, family, config, dtype), config, tokenizer, identity)


def save_checkpoint(
    folder: str | os.PathLike[str],
    module: nnx.Module,
    config: BackboneConfig,
    dtype: DTypeLike = jnp.float16,
) -> Path:
    """Write a module as a Hugging Face folder, for this package and for transformers.

    Args:
        folder: made where it does not exist. The tokenizer's files are the caller's to add.
        module: a module of a family in ``FAMILIES``.
        config: its configuration.
        dtype: floating type on disk: float32, float16 or bfloat16.

    Returns:
        The folder.

    Raises:
        CheckpointError: a weight that is not finite in ``dtype``.
    """
    return save_module(folder, module, FAMILIES[config.to_dict()["model_type"]], config, dtype)


def _config_sha256(config: BackboneConfig) -> str:
    text = json.dumps(config.to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
