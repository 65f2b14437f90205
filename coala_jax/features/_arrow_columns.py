"""Arrow, which is optional, and columns of its tables as numpy has them."""

import importlib
from typing import Any

import numpy as np

from coala_jax._extras import how_to_install
from coala_jax.features._errors import FeatureError


def with_arrow(library: str, what: str) -> tuple[Any, Any]:
    """A library that works on Arrow tables, and ``pyarrow``.

    Raises:
        FeatureError: one is not installed, which ``what`` needs.
    """
    try:
        found = importlib.import_module(library)
        importlib.import_module("pyarrow.compute")
        return found, importlib.import_module("pyarrow")
    except ModuleNotFoundError as error:
        raise FeatureError(
            f"{what} needs {error.name}; install it: {how_to_install('data')}"
        ) from None


def numpy_column(
    arrow: Any, source: Any, name: str, column: Any, *, texts: bool = False
) -> np.ndarray:
    """An Arrow column as numpy has it: (n,), or (n, d) of lists of d numbers."""
    if column.null_count:
        raise FeatureError(f"{source}: {name} is null in {column.null_count} rows")
    if texts:
        return np.array(column.to_pylist(), dtype=str)
    if not len(column):
        return np.empty((0, 1), np.float32)
    kind = column.type
    lists = (arrow.types.is_list, arrow.types.is_large_list, arrow.types.is_fixed_size_list)
    if not any(is_list(kind) for is_list in lists):
        return np.asarray(column.to_numpy())
    widths = set(arrow.compute.unique(arrow.compute.list_value_length(column)).to_pylist())
    if len(widths) > 1:
        raise FeatureError(
            f"{source}: {name} holds lists of {min(widths)} to {max(widths)} numbers; every row "
            "must have as many"
        )
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return flat.reshape(len(column), -1)
