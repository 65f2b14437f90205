"""What several processes of one solve tell each other: numbers and texts of rows, and faults.

Of a single process all of it is what that one has. Everything here is called by all processes
together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from coala_jax._errors import CoalaError

T = TypeVar("T")


class ProcessError(CoalaError):
    """What ended one process of several, raised in all of them."""


def together(function: Callable[[], T]) -> T:
    """What a function gives in this process, once it is known to have worked in all.

    Raises:
        ProcessError: it raised a CoalaError, OSError, TypeError or ValueError somewhere; names
            the first such process and its error. Of a single process the error itself passes.
    """
    if jax.process_count() == 1:
        return function()
    found, fault = None, ""
    try:
        found = function()
    except (CoalaError, OSError, TypeError, ValueError) as error:
        fault = f"{error}" or type(error).__name__
    faults = _texts_of_each([fault])
    for number, (text,) in enumerate(faults):
        if text:
            raise ProcessError(f"process {number} of {len(faults)}: {text}")
    assert found is not None or not fault
    return found  # type: ignore[return-value]


def gathered(values: np.ndarray) -> np.ndarray:
    """The rows of all processes, in their order: (n, ...) of one dtype and width -> (m, ...)."""
    if jax.process_count() == 1:
        return values
    parts = _bytes_of_each(np.ascontiguousarray(values).tobytes())
    whole = np.frombuffer(b"".join(parts), values.dtype)
    return whole.reshape(-1, *values.shape[1:])


def gathered_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts of all processes, in their order."""
    if jax.process_count() == 1:
        return tuple(texts)
    return tuple(text for part in _texts_of_each(texts) for text in part)


def told_by_all(value: Any) -> list[Any]:
    """What each process says, in their order: JSON values."""
    return [json.loads(text) for text in gathered_texts([json.dumps(value)])]


def rows_before(rows: int) -> int:
    """How many rows the processes before this one have, of so many here."""
    counts = gathered(np.array([rows], np.int64))
    return int(counts[: jax.process_index()].sum())


def own_part(values: np.ndarray, rows: int) -> np.ndarray:
    """Of what is gathered the part of this process, which has so many rows."""
    before = rows_before(rows)
    return values[before : before + rows]


def in_all(is_so: bool) -> bool:
    """Whether something is so in all processes."""
    return bool(gathered(np.array([is_so])).all())


def in_any(is_so: bool) -> bool:
    """Whether something is so in any process."""
    return bool(gathered(np.array([is_so])).any())


def _texts_of_each(texts: Sequence[str]) -> list[list[str]]:
    parts = _bytes_of_each(json.dumps(list(texts)).encode())
    return [json.loads(part) for part in parts]


def _bytes_of_each(own: bytes) -> list[bytes]:
    """Bytes, in which no number loses a digit on its way."""
    length = np.array([len(own) % 2**31, len(own) // 2**31], np.int32)
    lengths = np.asarray(multihost_utils.process_allgather(length)).astype(np.int64)
    sizes = (lengths[:, 0] + lengths[:, 1] * 2**31).tolist()
    padded = np.zeros(max(1, *sizes), np.uint8)
    padded[: len(own)] = np.frombuffer(own, np.uint8)
    found = np.asarray(multihost_utils.process_allgather(padded))
    return [row[:size].tobytes() for row, size in zip(found, sizes, strict=True)]
