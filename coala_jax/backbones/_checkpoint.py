"""Modules from and to Hugging Face checkpoint folders, and from GGUF files, without pickle.

Only local files are read, nothing is fetched and no code of a checkpoint is run.
"""

import json
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.typing import DTypeLike
from safetensors.numpy import save

from coala_jax._files import write_files
from coala_jax._json import read_json_object
from coala_jax.backbones._errors import CheckpointError, some_of
from coala_jax.backbones._family import BackboneConfig, BackboneModule, Family, Slot
from coala_jax.backbones._gguf import GGUF_SUFFIX, is_gguf
from coala_jax.backbones._gguf_model import gguf_config
from coala_jax.backbones._lora import Adapter, merge_adapter
from coala_jax.backbones._sharding import parameter_sharding
from coala_jax.backbones._stored_tensor import StoredTensor, for_reads, same_values
from coala_jax.backbones._weights import WEIGHTS_NAME, stored_tensors

CONFIG_NAME = "config.json"
# XLA takes over a host array of this alignment on a CPU; any other it copies.
XLA_ALIGNMENT = 64


def checkpoint_folder(folder: str | os.PathLike[str]) -> Path:
    """The path of a checkpoint folder that exists.

    Args:
        folder: a local folder with ``config.json``.

    Returns:
        The folder as a path.

    Raises:
        CheckpointError: no such folder, a file, or a folder without ``config.json``.
    """
    path = Path(folder)
    if path.is_dir():
        if (path / CONFIG_NAME).is_file():
            return path
        files = sorted(path.glob(f"*{GGUF_SUFFIX}"))
        kind = f"the GGUF file in it, {files[0]}" if files else "a Hugging Face model folder"
        raise CheckpointError(f"{path}: no checkpoint, it holds no {CONFIG_NAME}; give {kind}")
    if path.exists():
        raise CheckpointError(
            f"{path}: a file, not a checkpoint folder; give the folder around it, or a .gguf file"
        )
    raise CheckpointError(f"{path}: no such folder")


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed ``config.json`` of a checkpoint folder, or what a GGUF file has in its place.

    Raises:
        CheckpointError: it cannot be read or is not a JSON object; as ``gguf_config``.
    """
    if is_gguf(folder):
        return gguf_config(folder)
    return read_json_object(folder / CONFIG_NAME, CheckpointError)


def config_name(folder: Path) -> str:
    """What messages call what `read_config` reads."""
    return "the file's metadata" if is_gguf(folder) else CONFIG_NAME


def load_module(
    folder: Path,
    family: Family,
    config: BackboneConfig,
    dtype: DTypeLike = jnp.float32,
    adapter: Adapter | None = None,
    mesh: Mesh | None = None,
) -> BackboneModule:
    """The module of a checkpoint, filled tensor by tensor.

    Host memory peaks at the parameters and one tensor; where they lie on other devices at the
    largest parameter (a kind of matrix of all layers) and one tensor. With ``flax_model.msgpack``
    what is left of the file comes on top, with an adapter two tensors in float32, and where tied
    embeddings are stored twice these two.

    Args:
        folder: a checkpoint folder, or a GGUF file.
        family: how the checkpoint's tensors map to the module's parameters.
        config: the family's configuration of this checkpoint; that of the module says what scores
            next tokens by what is stored.
        dtype: floating type of the module's parameters.
        adapter: merged into the weights.
        mesh: of the devices to hold it; None means the default device.

    Returns:
        The module with the checkpoint's weights.

    Raises:
        CheckpointError: unreadable weights; tensors that are missing, not expected, of another
            shape or not floating point, all named in one message; an adapter of other layers.
    """
    found, config = checked_tensors(folder, family, config)
    if adapter is not None:
        found, config = merge_adapter(found, adapter, family, config)
    graph, state = nnx.split(_abstract(family, config, dtype))
    slots: dict[tuple[str, ...], dict[str, Slot]] = {}
    for name, slot in family.layout(config).items():
        slots.setdefault(slot.path, {})[name] = slot
    splits = family.splits(config)
    values = []
    for path, leaf in nnx.to_flat_state(state):
        own = _names(path)
        parts = [(slot, found.pop(name)) for name, slot in slots[own].items()]
        rank = len(leaf.shape)
        place = None if mesh is None else parameter_sharding(mesh, splits.get(own), rank)
        values.append((path, leaf.replace(_read_parameter(parts, leaf.shape, dtype, place))))
    filled: BackboneModule = nnx.merge(graph, nnx.from_flat_state(values))
    return filled


def checked_tensors(
    folder: Path, family: Family, config: Any, *, compare: bool = True
) -> tuple[dict[str, StoredTensor], Any]:
    """The tensors of a checkpoint under the layout's names, once they are known to fit it.

    No weight is read, but for ``flax_model.msgpack``, which has no header, and two that are to be
    compared.

    Args:
        folder: a checkpoint folder, or a GGUF file.
        family: how the checkpoint's tensors map to the module's parameters.
        config: the family's configuration of this checkpoint.
        compare: where embeddings are tied and both are stored, see whether they are equal; without
            it they are taken for that.

    Returns:
        The tensors, and the configuration with what scores next tokens by what is stored.

    Raises:
        CheckpointError: unreadable weights; tensors that are missing, not expected, of another
            shape or not floating point, all named in one message.
    """
    known = {*family.layout(config), *({family.head} - {""})}
    found = _by_layout_name(folder, stored_tensors(folder), family, known)
    config = _settle_head(found, family, config, compare)
    layout = family.layout(config)
    state = nnx.state(_abstract(family, config, jnp.float32))
    shapes = {_names(path): leaf.shape for path, leaf in nnx.to_flat_state(state)}
    _check_tensors(folder, found, layout, shapes)
    return found, config


def _settle_head(found: dict[str, StoredTensor], family: Family, config: Any, compare: bool) -> Any:
    """The configuration with what scores next tokens as the stored tensors have it.

    As transformers does: of a tied pair the one that is there stands for both, and two that differ
    are not tied. A model that has neither, such as one that classifies, has hidden states alone.
    """
    embedding, head = family.embedding, family.head
    if not head:
        return config
    if not config.tie_word_embeddings:
        return replace(config, has_head=head in found)
    if head in found and embedding not in found:
        found[embedding] = found.pop(head)
    elif head in found:
        if compare:
            found |= {name: for_reads(found[name], 2) for name in (embedding, head)}
            if not same_values(found[embedding], found[head]):
                return replace(config, tie_word_embeddings=False)
        del found[head]
    return config


def parameter_count(family: Family, config: BackboneConfig) -> int:
    """How many parameters a module of this configuration has; none is made."""
    state = nnx.state(_abstract(family, config, jnp.float32))
    return sum(math.prod(leaf.shape) for _, leaf in nnx.to_flat_state(state))


def save_module(
    folder: str | os.PathLike[str],
    module: nnx.Module,
    family: Family,
    config: BackboneConfig,
    dtype: DTypeLike,
) -> Path:
    """Write ``config.json`` and ``model.safetensors`` as Hugging Face lays them out.

    Neither appears under its name before both are whole.

    Args:
        folder: made where it does not exist; files of these two names are replaced.
        module: a module of the family.
        family: gives the tensors' names.
        config: the module's configuration.
        dtype: floating type on disk: float32, float16 or bfloat16.

    Returns:
        The folder.

    Raises:
        CheckpointError: a weight that is not finite in ``dtype``.
    """
    path = Path(folder)
    parameters = {
        _names(key): np.asarray(leaf[...])
        for key, leaf in nnx.to_flat_state(nnx.state(module, nnx.Param))
    }
    tensors = {}
    for name, slot in family.layout(config).items():
        whole = parameters[slot.path]
        part = whole if slot.layer is None else whole[slot.layer]
        stored = family.stored_name(name)
        with np.errstate(over="ignore"):
            tensors[stored] = np.ascontiguousarray(part.astype(jnp.dtype(dtype)))
        if not np.isfinite(tensors[stored].astype(np.float64)).all():
            raise CheckpointError(
                f"{path}: tensor {name} is not finite in {jnp.dtype(dtype).name}; nothing written"
            )
    fields = {**config.to_dict(), "dtype": jnp.dtype(dtype).name}
    text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
    # transformers refuses a file whose metadata does not name a framework.
    weights = save(tensors, metadata={"format": "pt"})
    write_files({path / CONFIG_NAME: text.encode(), path / WEIGHTS_NAME: weights})
    return path


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, path))


def _abstract(family: Family, config: BackboneConfig, dtype: DTypeLike) -> Any:
    """A module of shapes without values."""
    module: Any = nnx.eval_shape(lambda: family.make(config, nnx.Rngs(0), dtype))
    return module


def _by_layout_name(
    folder: Path,
    tensors: Mapping[str, StoredTensor],
    family: Family,
    known: Collection[str],
) -> dict[str, StoredTensor]:
    """Tensors by the names that the layout has for them; ignored ones left out."""
    found: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        short = family.layout_name(name)
        if short not in known and re.fullmatch(family.ignored, short):
            continue
        if short in found:
            raise CheckpointError(
                f"{folder}: tensor {short} is there twice, with and without {family.prefix!r}"
            )
        found[short] = tensor
    return found


def _check_tensors(
    folder: Path,
    found: Mapping[str, StoredTensor],
    layout: Mapping[str, Slot],
    shapes: Mapping[tuple[str, ...], tuple[int, ...]],
) -> None:
    """Raise one error that names all tensors that are missing, extra or of another kind."""
    faults = []
    if missing := sorted(set(layout) - set(found)):
        faults.append(f"missing: {some_of(missing)}")
    if extra := sorted(set(found) - set(layout)):
        faults.append(f"not expected: {some_of(extra)}")
    wrong = []
    for name in sorted(set(found) & set(layout)):
        tensor, slot = found[name], layout[name]
        expected = shapes[slot.path] if slot.layer is None else shapes[slot.path][1:]
        if tensor.shape != expected:
            wrong.append(f"{name} is {tensor.shape}, expected {expected}")
        elif not tensor.floating:
            wrong.append(f"{name} has type {tensor.dtype}, expected floating point")
    if wrong:
        faults.append(some_of(wrong, "; "))
    if faults:
        what = config_name(folder)
        raise CheckpointError(f"{folder}: tensors do not fit {what}; " + "; ".join(faults))


def _read_parameter(
    parts: list[tuple[Slot, StoredTensor]],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    place: NamedSharding | None,
) -> jax.Array:
    """One parameter as a device array, from its one tensor or from a tensor a layer."""
    whole = _aligned_empty(shape, jnp.dtype(dtype))
    for slot, tensor in parts:
        _copy_into(whole, slot, tensor)
    # On a CPU the array becomes XLA's buffer, where `jnp.asarray` would copy it; elsewhere it is
    # free again once it has been sent.
    return jax.block_until_ready(jax.device_put(whole, place))


def _copy_into(whole: np.ndarray, slot: Slot, tensor: StoredTensor) -> None:
    """Read one tensor into its place; on return its own memory is free."""
    values = tensor.read()
    whole[... if slot.layer is None else slot.layer] = values


def _aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array whose memory XLA can use as it is."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + XLA_ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % XLA_ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)
