"""Pairs in whatever holds them, as checked numpy arrays: lists, DataFrames, tensors of torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from coala_jax._errors import CoalaError
from coala_jax._types import GroupFeatures, PreferenceFeatures

_WANTED = "(n, d) numbers: an array, a DataFrame, a tensor or a list of rows"


def as_matrix(name: str, value: Any) -> np.ndarray:
    """An (n, d) float array of features, whatever holds them; float32 unless they are floats.

    Args:
        name: how the caller calls it, for messages.
        value: an array of numpy or jax, a DataFrame, a tensor of torch (on any device, with a
            gradient or without), or a list of rows.

    Raises:
        TypeError: texts, or what holds no numbers.
        CoalaError: another number of axes, rows of several lengths, or rows that are not finite in
            float32.
    """
    array = _as_array(name, value)
    if array.ndim != 2 or not array.shape[1]:
        raise CoalaError(f"{name} must be {_WANTED}; got shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array.astype(np.float32)).all(axis=1))
    if bad.size:
        raise CoalaError(
            f"{name} is NaN or infinite in {bad.size} of {len(array)} rows, the first is row "
            f"{bad[0]}: leave those pairs out"
        )
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


def as_weights(name: str, value: Any, pairs: int) -> np.ndarray:
    """(n,) weights that are none below zero and not all zero."""
    weight = as_vector(name, value, pairs)
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise CoalaError(f"{name} must be finite, 0 or more, and not all 0")
    return weight


def as_pairs(chosen: Any, rejected: Any) -> PreferenceFeatures:
    """Finite features of both sides, whatever holds them, with one row a pair.

    Raises:
        TypeError, CoalaError: as `as_matrix`; sides of other shapes, or of DataFrames whose labels
            differ.
    """
    if isinstance(chosen, PreferenceFeatures):
        raise TypeError("chosen must be features; got PreferenceFeatures: give its two sides")
    if isinstance(chosen, GroupFeatures):
        raise TypeError("chosen must be features; got GroupFeatures: coala_jax.select takes groups")
    _require_same_labels(chosen, rejected)
    sides = as_matrix("chosen", chosen), as_matrix("rejected", rejected)
    if sides[0].shape != sides[1].shape:
        raise CoalaError(
            f"chosen and rejected must have one row a pair each; got {sides[0].shape} and "
            f"{sides[1].shape}"
        )
    return PreferenceFeatures(*sides)


def labels_of(value: Any, axis: str) -> list[Any] | None:
    """Names of the columns or rows of a DataFrame; None of anything else."""
    labels = getattr(value, axis, None)
    return None if labels is None or not hasattr(value, "to_numpy") else list(labels)


def _require_same_labels(chosen: Any, rejected: Any) -> None:
    for axis in ("columns", "index"):
        one, other = labels_of(chosen, axis), labels_of(rejected, axis)
        if one is not None and other is not None and one != other:
            raise CoalaError(
                f"chosen and rejected must have the same {axis} in the same order; got "
                f"{one[:5]}... and {other[:5]}...: rows are pairs, columns features"
            )


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
