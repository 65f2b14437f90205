"""JSON that any reader takes, and files of it whose faults are named."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coala_jax._errors import CoalaError


def valid_json(value: Any) -> Any:
    """The same value with NaN and infinities as None, which JSON can say."""
    if isinstance(value, Mapping):
        return {str(key): valid_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [valid_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any) -> str:
    """Indented JSON with a last line break; NaN becomes null, a path its text."""
    return json.dumps(valid_json(value), indent=2, allow_nan=False, default=os.fspath) + "\n"


class RepeatedKey(ValueError):
    """An object with a key twice: which of its values is meant, none can say."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, made of its keys and values.

    Raises:
        RepeatedKey: a key stands twice.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise RepeatedKey(f"key {repeated!r} stands twice in an object")
    return fields


def read_json_object(
    path: Path, error: type[CoalaError], mend: str = "", unique: bool = False
) -> dict[str, Any]:
    """A parsed JSON file.

    Args:
        path: the file.
        error: what to raise where it cannot be read or is not a JSON object.
        mend: what the message says to do about it.
        unique: whether a key that stands twice is an error too; else the last one counts.
    """
    end = f"; {mend}" if mend else ""
    try:
        text = path.read_text(encoding="utf-8")
        fields = json.loads(text, object_pairs_hook=unique_keys if unique else None)
    except RepeatedKey as fault:
        raise error(f"{path}: {fault}") from fault
    except (OSError, ValueError, RecursionError) as fault:
        raise error(f"{path}: cannot be read as JSON ({fault}){end}") from fault
    if not isinstance(fields, dict):
        raise error(f"{path}: a JSON object is expected, not {type(fields).__name__}{end}")
    return fields
