"""JSONL files that are whole or not there."""

import gzip
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from coala_jax.data.errors import DataError
from coala_jax.data.jsonl import SUFFIXES


def require_suffix(path: str | os.PathLike[str]) -> None:
    """Raise where a name is not one of a file that the readers take.

    Raises:
        DataError: names the file and the suffixes.
    """
    if not Path(path).name.endswith(SUFFIXES):
        raise DataError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")


def write_json_lines(path: str | os.PathLike[str], lines: Iterable[Mapping[str, Any]]) -> None:
    """Write objects, one a line, under another name and rename the file; its folder is made.

    Args:
        path: the file, ``.jsonl`` or ``.jsonl.gz``; the same objects give the same bytes.
        lines: what JSON can say.

    Raises:
        DataError: another suffix.
    """
    require_suffix(path)
    file = Path(path)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    data = text.encode()
    if file.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
