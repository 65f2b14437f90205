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


def read_json_object(path: Path, error: type[CoalaError], mend: str = "") -> dict[str, Any]:
    """A parsed JSON file.

    Args:
        path: the file.
        error: what to raise where it cannot be read or is not a JSON object.
        mend: what the message says to do about it.
    """
    end = f"; {mend}" if mend else ""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as fault:
        raise error(f"{path}: cannot be read as JSON ({fault}){end}") from fault
    if not isinstance(fields, dict):
        raise error(f"{path}: a JSON object is expected, not {type(fields).__name__}{end}")
    return fields
