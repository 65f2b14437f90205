"""The weight files of a checkpoint, as tensors that are read one at a time.

Three layouts of a folder, the first that is there: ``model.safetensors``; the shards that
``model.safetensors.index.json`` names; ``flax_model.msgpack``. Or a GGUF file in place of a folder.
Pickles are never opened.
"""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from coala_jax._files import file_sha256
from coala_jax._json import read_json_object
from coala_jax.backbones._errors import CheckpointError, some_of
from coala_jax.backbones._flax_msgpack import FLAX_NAME, flax_tensors
from coala_jax.backbones._gguf import gguf_parts, is_gguf
from coala_jax.backbones._gguf_model import gguf_tensors
from coala_jax.backbones._stored_tensor import StoredTensor

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
FLAX_INDEX_NAME = "flax_model.msgpack.index.json"
SAFETENSORS_FLOATS = ("F64", "F32", "F16", "BF16")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files that hold a checkpoint's weights, sorted; none is opened but an index.

    Args:
        folder: a checkpoint folder, or a GGUF file.

    Returns:
        Of the layouts this module names, the files of the first one there.

    Raises:
        CheckpointError: no weights, an unreadable index, a shard that is missing, an index entry
            that is not the plain name of a file in the folder.
    """
    if is_gguf(folder):
        return gguf_parts(folder)
    if (folder / WEIGHTS_NAME).is_file():
        return (folder / WEIGHTS_NAME,)
    if (folder / INDEX_NAME).is_file():
        return tuple(sorted(set(_weight_map(folder).values())))
    if (folder / FLAX_NAME).is_file():
        return (folder / FLAX_NAME,)
    raise CheckpointError(_no_weights(folder))


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """All tensors of a checkpoint by their torch names; headers of safetensors or GGUF are read.

    A ``flax_model.msgpack`` has no header: it is read whole, and its tensors leave the memory one
    by one as they are read from the result.

    Raises:
        CheckpointError: as ``weight_files``; unreadable weights; a tensor that is not in the shard
            the index names.
    """
    if is_gguf(folder):
        return gguf_tensors(folder)
    files = weight_files(folder)
    if files[0].name == FLAX_NAME:
        return flax_tensors(files[0])
    held = {path: safetensors_tensors(path) for path in files}
    if files == (folder / WEIGHTS_NAME,):
        return held[files[0]]
    places = _weight_map(folder)
    if lost := sorted(name for name, path in places.items() if name not in held[path]):
        raise CheckpointError(
            f"{folder}: tensors are not in the shard the index names: {some_of(lost)}"
        )
    return {name: held[path][name] for name, path in places.items()}


def safetensors_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file; only its header is read.

    Raises:
        CheckpointError: it cannot be read, or is cut short.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            pieces = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: StoredTensor(
                    tuple(piece.get_shape()),
                    piece.get_dtype(),
                    piece.get_dtype() in SAFETENSORS_FLOATS,
                    partial(_read_safetensors, path, name),
                )
                for name, piece in pieces.items()
            }
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as safetensors ({error}); if it was cut short, fetch it again"
        ) from error


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights, as `sha256sum` and the hub give it for a single file.

    One of several files is that of its ``<file name> <sha256>`` lines, by name.

    Raises:
        CheckpointError: as ``weight_files``.
    """
    files = weight_files(folder)
    if len(files) == 1:
        return file_sha256(files[0])
    lines = "".join(f"{file.name} {file_sha256(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _read_safetensors(path: Path, name: str) -> np.ndarray:
    # Opened for every tensor: the pages that were read leave the memory with the mapping.
    with safe_open(path, framework="numpy") as file:
        tensor: np.ndarray = file.get_tensor(name)
        return tensor


def _weight_map(folder: Path) -> dict[str, Path]:
    """Tensor files by the index of a sharded checkpoint; every entry stays in the folder."""
    path = folder / INDEX_NAME
    weight_map = read_json_object(path, CheckpointError).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{path}: no weight_map in it")
    for entry in set(map(str, weight_map.values())):
        if entry in ("", ".", "..") or "/" in entry or "\\" in entry or "\0" in entry:
            raise CheckpointError(
                f"{path}: entry {entry!r} leads out of the folder; entries must be plain file names"
            )
        if not (folder / entry).is_file():
            raise CheckpointError(f"{folder}: shard {entry} of the index is missing")
    return {name: folder / str(entry) for name, entry in weight_map.items()}


def _no_weights(folder: Path) -> str:
    message = f"{folder}: neither {WEIGHTS_NAME} nor {INDEX_NAME} nor {FLAX_NAME} is in it"
    if (folder / FLAX_INDEX_NAME).is_file():
        message += (
            f"; {FLAX_INDEX_NAME} is, but sharded msgpack is not read: convert it to safetensors"
        )
    elif any(path for pattern in PICKLES for path in folder.glob(pattern)):
        message += "; pickled weights are never opened: convert them to safetensors first"
    return message
