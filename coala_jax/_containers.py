"""Features in whatever holds them, as numpy arrays: lists, DataFrames, tensors of torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from coala_jax._errors import CoalaError

_WANTED = "(n, d) numbers: an array, a DataFrame, a tensor or a list of rows"


def as_matrix(name: str, value: Any) -> np.ndarray:
    """An (n, d) float array of features, whatever holds them; float32 unless they are floats.

    Args:
        name: how the caller calls it, for messages.
        value: an array of numpy or jax, a DataFrame, a tensor of torch (on any device, with a
            gradient or without), or a list of rows.

    Raises:
        TypeError: texts, or what holds no numbers.
        CoalaError: another number of axes, or rows of several lengths.
    """
    array = _as_array(name, value)
    if array.ndim != 2 or not array.shape[1]:
        raise CoalaError(f"{name} must be {_WANTED}; got shape {array.shape}")
    return array


def as_vector(name: str, value: Any, pairs: int) -> np.ndarray:
    """(n,) floats, one a pair, whatever holds them.

    Raises:
        TypeError, CoalaError: as `as_matrix`; another number of them.
    """
    array = _as_array(name, value)
    if array.shape != (pairs,):
        raise CoalaError(f"{name} must have one value a pair, ({pairs},); got shape {array.shape}")
    return array


def _as_array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, str):
        raise TypeError(f"{name} must be {_WANTED}; got text: coala_jax.fit_text takes texts")
    if hasattr(value, "toarray"):  # of scipy
        raise TypeError(f"{name} must be {_WANTED}; got a sparse matrix: give {name}.toarray()")
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a tensor of torch
        value = value.detach().cpu()
        # numpy knows no bfloat16.
        value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
    elif hasattr(value, "to_numpy"):  # pandas, polars
        value = value.to_numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of several lengths
        raise CoalaError(f"{name} must be {_WANTED}; {error}") from None
    if array.dtype.kind in "OUS":
        try:
            array = array.astype(np.float32)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} must be {_WANTED}; got values that are no numbers, such as "
                f"{str(array.ravel()[0])!r}: coala_jax.fit_text takes texts"
            ) from None
    # jax has floats of its own, such as bfloat16, which numpy takes for void.
    is_float = array.dtype.kind == "f" or "float" in array.dtype.name
    return array if is_float else array.astype(np.float32)
