"""``flax_model.msgpack``, the layout of Hugging Face's former Flax models, under torch names.

A tree of modules with arrays as leaves. Its kernels are the transposes of torch's weights: (in,
out) for a dense layer, whose torch weight is (out, in), and (out, in) for the Conv1D of GPT-2,
whose torch weight is (in, out).
"""

import mmap
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.serialization import msgpack_restore

from coala_jax.backbones._errors import CheckpointError
from coala_jax.backbones._stored_tensor import StoredTensor

FLAX_NAME = "flax_model.msgpack"
# Flax's names of what torch calls a weight.
WEIGHT_NAMES = ("kernel", "scale", "embedding")
MATRIX_AXES = 2


def flax_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a ``flax_model.msgpack``, named and shaped as torch has them.

    The file is restored whole, so its arrays take as much memory as the file does; each is let go
    when it has been read from the result. No pickle is opened.

    Args:
        path: the file.

    Returns:
        Torch name to tensor.

    Raises:
        CheckpointError: it cannot be read, is cut short, holds something that is no array, or two
            arrays of one torch name.
    """
    try:
        # Mapped, not read: the bytes of the file are no second copy in memory.
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            tree = msgpack_restore(content)  # type: ignore[arg-type]
    except Exception as error:  # msgpack, numpy and flax raise of many kinds on a broken file
        raise CheckpointError(
            f"{path}: cannot be read as msgpack ({error or type(error).__name__}); if it was cut "
            "short, fetch it again"
        ) from error
    arrays: dict[str, np.ndarray] = {}
    for flax_name, array in _leaves(path, tree, ()):
        name, value = _as_torch(flax_name, array)
        if name in arrays:
            raise CheckpointError(f"{path}: two arrays for tensor {name}")
        arrays[name] = value
    return {
        name: StoredTensor(
            array.shape,
            array.dtype.name,
            bool(jnp.issubdtype(array.dtype, jnp.floating)),
            partial(arrays.pop, name),
        )
        for name, array in arrays.items()
    }


def _leaves(
    path: Path, tree: Any, names: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Every array of a tree, with the names that lead to it."""
    if isinstance(tree, np.ndarray) and names:
        yield names, tree
    elif isinstance(tree, Mapping):
        for name, branch in tree.items():
            yield from _leaves(path, branch, (*names, str(name)))
    else:
        where = ".".join(names) or "the top"
        raise CheckpointError(
            f"{path}: modules and arrays are expected, {where} is {type(tree).__name__}"
        )


def _as_torch(names: tuple[str, ...], array: np.ndarray) -> tuple[str, np.ndarray]:
    *modules, leaf = names
    if leaf == "kernel" and array.ndim == MATRIX_AXES:
        array = array.T
    return ".".join([*modules, "weight" if leaf in WEIGHT_NAMES else leaf]), array
