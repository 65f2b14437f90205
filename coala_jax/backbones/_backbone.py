"""A frozen backbone of any family, and its identity: from a checkpoint, and to one."""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jax.typing import DTypeLike

from coala_jax._errors import CoalaError
from coala_jax.backbones._checkpoint import (
    config_name,
    load_module,
    read_config,
    save_module,
)
from coala_jax.backbones._config_fields import shown, unknown_fields
from coala_jax.backbones._errors import CheckpointError, some_of
from coala_jax.backbones._families import FAMILIES
from coala_jax.backbones._family import BackboneConfig, BackboneModule, Family
from coala_jax.backbones._hub import find_checkpoint
from coala_jax.backbones._license import checkpoint_license
from coala_jax.backbones._lora import Adapter, adapted_sha256, read_adapter
from coala_jax.backbones._tokenizer import Tokenizer, load_tokenizer, tokenizer_sha256
from coala_jax.backbones._torch_backend import ENGINE, load_torch_module
from coala_jax.backbones._weights import weights_sha256

ENGINES = ("jax", ENGINE)


class BackboneIdentity(NamedTuple):
    """What makes two backbones the same.

    Attributes:
        name: of the folder or file; for people, it decides nothing.
        model_type: a key of ``FAMILIES``, or ``torch:`` and the model type where torch runs it.
        config_sha256: of the configuration's fields, sorted; as all hashes, hexadecimal digits.
        weights_sha256: of the weight files.
        tokenizer_sha256: of the tokenizer files, or of what a GGUF file says of its tokenizer.
        license: as the checkpoint names it, in the hub's words; for people, it decides nothing.
            Empty where it names none.
    """

    name: str
    model_type: str
    config_sha256: str
    weights_sha256: str
    tokenizer_sha256: str
    license: str = ""


@dataclass(frozen=True)
class Backbone:
    """A frozen transformer with its tokenizer.

    Attributes:
        module: the family's `BackboneModule`.
        config: sizes.
        tokenizer: text to ids.
        identity: hashes by which a head knows the backbone it was made on.
    """

    module: BackboneModule
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

        Raises:
            ValueError: a length beyond the model's positions, or a mask of another shape.
        """
        return _apply(self.module, tokens, attention_mask)


@jax.jit
def _apply(module: BackboneModule, tokens: jax.Array, attention_mask: jax.Array) -> jax.Array:
    hidden: jax.Array = module(tokens, attention_mask)
    return hidden


def load_backbone(
    folder: str | os.PathLike[str],
    *,
    dtype: DTypeLike = jnp.float32,
    adapter: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    download: bool = False,
    mesh: Mesh | None = None,
    engine: str = "jax",
    chat_template: str | None = None,
) -> Backbone:
    """Load a Hugging Face model: ``config.json``, weights, tokenizer; or a GGUF file.

    Args:
        folder: a local folder, an id of the Hugging Face hub, a file ``FILE.gguf``, of several the
            first, or one of an id, ``ID:FILE.gguf``.
        dtype: floating type of the weights and of the computation. Float32 asks for the highest
            matrix precision on every device.
        adapter: folder of a LoRA adapter in PEFT's layout, merged into the weights.
        revision: branch, tag or commit of a hub id.
        download: fetch what the hub's cache lacks of an id; without it nothing is fetched.
        mesh: of `device_mesh`, for several devices; each parameter goes to its devices as it is
            read. None means the default device.
        engine: ``jax``, or ``torch`` for a model of no family here: transformers' ``AutoModel`` on
            torch's device (extra ``torch``), without adapters, meshes and shared prefixes.
        chat_template: name of the chat template to use, where the tokenizer has several.

    Returns:
        The backbone. With an adapter it is another one than without, by its identity.

    Raises:
        CheckpointError: no checkpoint, an unsupported family or configuration, weights, adapter or
            tokenizer that cannot be used; the message says which and what to do.
        UserWarning: fields of ``config.json`` that are set and of which nothing is known.
        ValueError: another engine, or what the torch engine does not do.

    Example:
        >>> from importlib import resources
        >>> from coala_jax.backbones import load_backbone
        >>> backbone = load_backbone(resources.files("coala_jax.quickstart") / "backbone")
        >>> backbone.identity.model_type, backbone.tokenizer.encode("A cell") != []
        ('gpt2', True)
    """
    if engine not in ENGINES:
        raise CoalaError(f"engine={engine!r} must be one of {', '.join(ENGINES)}")
    path, name = find_checkpoint(folder, revision=revision, download=download)
    if engine == ENGINE:
        if adapter is not None:
            raise CoalaError(
                f"engine={engine!r} takes no adapter; merge it with PEFT first, or use engine='jax'"
            )
        if mesh is not None and mesh.size > 1:
            raise CoalaError(
                f"engine={engine!r} runs on one device of its own; leave out the mesh (--devices, "
                "--model-parallel), or use engine='jax'"
            )
        return _torch_backbone(path, name, dtype, chat_template)
    model_type, family, config = read_family(path)
    tokenizer = fitting_tokenizer(path, config, chat_template)
    if strange := unknown_fields(family.stem, read_config(path), family.fields):
        warnings.warn(unknown_fields_warning(path, model_type, strange), stacklevel=2)
    lora = None if adapter is None else read_adapter(Path(adapter))
    identity = _identity(path, name, model_type, config, lora)
    module = load_module(path, family, config, dtype, lora, mesh)
    return Backbone(module, module.config, tokenizer, identity)


def _torch_backbone(path: Path, name: str, dtype: DTypeLike, chat_template: str | None) -> Backbone:
    """A backbone that torch runs; the engine is part of its identity."""
    module, config = load_torch_module(path, dtype)
    tokenizer = fitting_tokenizer(path, config, chat_template)
    identity = _identity(path, name, f"{ENGINE}:{config.fields.get('model_type')}", config)
    return Backbone(module, config, tokenizer, identity)


def _identity(
    path: Path, name: str, model_type: str, config: BackboneConfig, adapter: Adapter | None = None
) -> BackboneIdentity:
    written = json.dumps(config.to_dict(), sort_keys=True)
    return BackboneIdentity(
        name=name if adapter is None else f"{name}+{adapter.folder.resolve().name}",
        model_type=model_type,
        config_sha256=hashlib.sha256(written.encode()).hexdigest(),
        weights_sha256=adapted_sha256(weights_sha256(path), adapter),
        tokenizer_sha256=tokenizer_sha256(path),
        license=checkpoint_license(path),
    )


def read_family(folder: Path) -> tuple[str, Family, BackboneConfig]:
    """Model type, family and configuration of a checkpoint folder or GGUF file.

    Raises:
        CheckpointError: an unreadable ``config.json``, a model type or a value in it that is not
            supported.
    """
    fields = read_config(folder)
    model_type = str(fields.get("model_type"))
    family = FAMILIES.get(model_type)
    if family is None:
        raise CheckpointError(
            f"{folder}: model_type {model_type!r} is not supported; supported: "
            f"{', '.join(FAMILIES)}; engine='torch' (--engine torch) runs other causal models"
        )
    try:
        return model_type, family, family.read_config(fields)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: {error}") from error


def unknown_fields_warning(folder: Path, model_type: str, strange: Mapping[str, Any]) -> str:
    """What to say of fields that are set and of which nothing is known."""
    listed = some_of(f"{name}={shown(value)}" for name, value in strange.items())
    return (
        f"{folder}: not known in {config_name(folder)}: {listed}; a plain {model_type} is "
        "computed, which is wrong if they change the hidden states"
    )


def fitting_tokenizer(
    folder: Path, config: BackboneConfig, chat_template: str | None = None
) -> Tokenizer:
    """The tokenizer of a checkpoint, for the rows of its embedding.

    Raises:
        CheckpointError: as ``load_tokenizer``; ids that the embedding has no row for.
    """
    tokenizer = load_tokenizer(folder, chat_template)
    try:
        return tokenizer.within(config.vocab_size)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error


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

    Example:
        >>> from importlib import resources
        >>> import jax.numpy as jnp
        >>> from coala_jax.backbones import load_backbone, save_checkpoint
        >>> backbone = load_backbone(resources.files("coala_jax.quickstart") / "backbone")
        >>> folder = save_checkpoint("copy", backbone.module, backbone.config, jnp.float16)
        >>> sorted(file.name for file in folder.iterdir())
        ['config.json', 'model.safetensors']
    """
    return save_module(folder, module, FAMILIES[config.to_dict()["model_type"]], config, dtype)
