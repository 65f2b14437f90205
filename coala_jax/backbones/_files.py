"""What the readers of a checkpoint folder share: the error, tensors not yet read, JSON."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coala_jax._errors import CoalaError

# A message names this many offenders of a kind; the rest is a number.
NAMED_IN_ERROR = 5


class CheckpointError(CoalaError):
    """A folder that cannot be read as a checkpoint; the message names the folder and the fault."""


class StoredTensor(NamedTuple):
    """A tensor of a checkpoint that has not been read.

    Attributes:
        shape: as a torch checkpoint has it.
        dtype: its name in the file.
        floating: whether that is a floating type.
        read: gives the values; to be called once, after which the tensor's memory is let go.
    """

    shape: tuple[int, ...]
    dtype: str
    floating: bool
    read: Callable[[], np.ndarray]


def read_json_object(path: Path) -> dict[str, Any]:
    """A parsed JSON file.

    Raises:
        CheckpointError: it cannot be read or is not a JSON object.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: a JSON object is expected, not {type(fields).__name__}")
    return fields


def some_of(names: Iterable[str], separator: str = ", ") -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    rest = len(names) - NAMED_IN_ERROR
    shown = separator.join(names[:NAMED_IN_ERROR])
    return f"{shown} and {rest} more" if rest > 0 else shown
