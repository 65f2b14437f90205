"""Hugging Face checkpoint folders: config.json and safetensors, read and written without pickle.

Only local folders are read, nothing is fetched and no code of a checkpoint is run.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from coala_jax.backbones.family import BackboneConfig, Family, Slot

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
FLOAT_TYPES = ("F64", "F32", "F16", "BF16")
# A message names this many offenders of a kind; the rest is a number.
NAMED_IN_ERROR = 5


class CheckpointError(ValueError):
    """A folder that cannot be read as a checkpoint; the message names the folder and the fault."""


def checkpoint_folder(folder: str | os.PathLike[str]) -> Path:
    """The path of a checkpoint folder that exists.

    Args:
        folder: a local folder with ``config.json``.

    Returns:
        The folder as a path.

    Raises:
        CheckpointError: no such folder (a hub id included), or one without ``config.json``.
    """
    path = Path(folder)
    if path.is_dir():
        if (path / CONFIG_NAME).is_file():
            return path
        raise CheckpointError(
            f"{path}: no checkpoint, it holds no {CONFIG_NAME}; give a Hugging Face model folder"
        )
    if path.exists():
        raise CheckpointError(f"{path}: a file, not a checkpoint folder; give the folder around it")
    message = f"{path}: no such folder"
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(folder)):
        message += (
            "; hub ids are not fetched: if it is one, download it first "
            f"(`hf download {folder} --local-dir DIR`) and give DIR"
        )
    raise CheckpointError(message)


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed ``config.json`` of a checkpoint folder.

    Raises:
        CheckpointError: it cannot be read or is not a JSON object.
    """
    return _read_json_object(folder / CONFIG_NAME)


def tensor_files(folder: Path) -> dict[str, Path]:
    """Which file holds which tensor.

    Args:
        folder: a folder with ``model.safetensors``, or with the index of a sharded checkpoint.

    Returns:
        Tensor name to the safetensors file that holds it.

    Raises:
        CheckpointError: no weights, an unreadable file or index, an index entry that is not the
            plain name of a file in the folder, a tensor that is not in the file it should be in.
    """
    single, index = folder / WEIGHTS_NAME, folder / INDEX_NAME
    if single.is_file():
        return {name: single for name in _tensor_names(single)}
    if index.is_file():
        return _indexed_files(folder, _read_json_object(index))
    hint = ""
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        hint = "; pickled weights are never opened: convert them to safetensors first"
    raise CheckpointError(f"{folder}: neither {WEIGHTS_NAME} nor {INDEX_NAME} is in it{hint}")


def load_module(
    folder: Path, family: Family, config: BackboneConfig, dtype: DTypeLike = jnp.float32
) -> nnx.Module:
    """The module of a checkpoint, filled tensor by tensor.

    Args:
        folder: a checkpoint folder.
        family: how the checkpoint's tensors map to the module's parameters.
        config: the family's configuration of this checkpoint.
        dtype: floating type of the module's parameters.

    Returns:
        The module with the checkpoint's weights.

    Raises:
        CheckpointError: unreadable weights; tensors that are missing, not expected, of another
            shape or not floating point, all named in one message.
    """
    module = nnx.eval_shape(lambda: family.make(config, nnx.Rngs(0), dtype))
    graph, state = nnx.split(module)
    shapes = {_names(path): leaf.shape for path, leaf in nnx.to_flat_state(state)}
    layout = family.layout(config)
    found = _without_prefix(tensor_files(folder), family, layout)
    _check_tensors(folder, found, layout, shapes)

    slots: dict[tuple[str, ...], dict[int | None, str]] = {}
    for name, slot in layout.items():
        slots.setdefault(slot.path, {})[slot.layer] = name
    values = []
    for path, leaf in nnx.to_flat_state(state):
        tensors = {layer: found[name] for layer, name in slots[_names(path)].items()}
        values.append((path, leaf.replace(_read_parameter(tensors, leaf.shape, dtype))))
    return nnx.merge(graph, nnx.from_flat_state(values))


def save_module(
    folder: str | os.PathLike[str],
    module: nnx.Module,
    family: Family,
    config: BackboneConfig,
    dtype: DTypeLike,
) -> Path:
    """Write ``config.json`` and ``model.safetensors`` as Hugging Face lays them out.

    The weights appear under their final name only when they are whole.

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
    path.mkdir(parents=True, exist_ok=True)
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
    (path / CONFIG_NAME).write_text(text, encoding="utf-8")
    partial = path / f"{WEIGHTS_NAME}.partial"
    # transformers refuses a file whose metadata does not name a framework.
    partial.write_bytes(save(tensors, metadata={"format": "pt"}))
    partial.replace(path / WEIGHTS_NAME)
    return path


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, as `sha256sum` and the hub give it for a single file.

    A sharded checkpoint's is that of its ``<file name> <sha256>`` lines, by name.

    Raises:
        CheckpointError: as ``tensor_files``.
    """
    files = sorted(set(tensor_files(folder).values()))
    if len(files) == 1:
        return file_sha256(files[0])
    lines = "".join(f"{file.name} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, path))


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: a JSON object is expected, not {type(fields).__name__}")
    return fields


def _tensor_names(path: Path) -> list[str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors ({error})") from error


def _indexed_files(folder: Path, index: Mapping[str, Any]) -> dict[str, Path]:
    """Tensor files by the index of a sharded checkpoint; every entry stays in the folder."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / INDEX_NAME}: no weight_map in it")
    for entry in set(map(str, weight_map.values())):
        if entry in ("", ".", "..") or "/" in entry or "\\" in entry or "\0" in entry:
            raise CheckpointError(
                f"{folder / INDEX_NAME}: entry {entry!r} leads out of the folder; "
                "entries must be plain file names"
            )
        if not (folder / entry).is_file():
            raise CheckpointError(f"{folder}: shard {entry} of the index is missing")
    files = {name: folder / str(entry) for name, entry in weight_map.items()}
    held = {path: set(_tensor_names(path)) for path in set(files.values())}
    lost = sorted(name for name, path in files.items() if name not in held[path])
    if lost:
        raise CheckpointError(
            f"{folder}: tensors are not in the shard the index names: {_some(lost)}"
        )
    return files


def _without_prefix(
    files: Mapping[str, Path], family: Family, layout: Mapping[str, Slot]
) -> dict[str, tuple[Path, str]]:
    """Names as the layout has them, to (file, name in the file); ignored tensors left out."""
    names = {name: family.layout_name(name) for name in files}
    return {
        short: (files[name], name)
        for name, short in names.items()
        if short in layout or not re.fullmatch(family.ignored, short)
    }


def _check_tensors(
    folder: Path,
    found: Mapping[str, tuple[Path, str]],
    layout: Mapping[str, Slot],
    shapes: Mapping[tuple[str, ...], tuple[int, ...]],
) -> None:
    """Raise one error that names all tensors that are missing, extra or of another kind."""
    faults = []
    if missing := sorted(set(layout) - set(found)):
        faults.append(f"missing: {_some(missing)}")
    if extra := sorted(set(found) - set(layout)):
        faults.append(f"not expected: {_some(extra)}")
    wrong = []
    for path in sorted({file for file, _ in found.values()}):
        with safe_open(path, framework="numpy") as file:
            for name, (where, stored) in found.items():
                if where != path or name not in layout:
                    continue
                piece = file.get_slice(stored)
                slot = layout[name]
                expected = shapes[slot.path] if slot.layer is None else shapes[slot.path][1:]
                if tuple(piece.get_shape()) != expected:
                    wrong.append(f"{name} is {tuple(piece.get_shape())}, expected {expected}")
                elif piece.get_dtype() not in FLOAT_TYPES:
                    wrong.append(f"{name} has type {piece.get_dtype()}, expected floating point")
    if wrong:
        faults.append(_some(wrong, "; "))
    if faults:
        raise CheckpointError(f"{folder}: tensors do not fit {CONFIG_NAME}; " + "; ".join(faults))


def _read_parameter(
    tensors: Mapping[int | None, tuple[Path, str]], shape: tuple[int, ...], dtype: DTypeLike
) -> Any:
    """One parameter as a device array, from its one tensor or from a tensor a layer."""
    whole = np.empty(shape, jnp.dtype(dtype))
    for layer, (path, name) in tensors.items():
        with safe_open(path, framework="numpy") as file:
            whole[... if layer is None else layer] = file.get_tensor(name)
    return jnp.asarray(whole)


def _some(names: Iterable[str], separator: str = ", ") -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    rest = len(names) - NAMED_IN_ERROR
    shown = separator.join(names[:NAMED_IN_ERROR])
    return f"{shown} and {rest} more" if rest > 0 else shown
