"""Rows as JSONL files: those that can be used, and those that were set aside."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from coala_jax.data.rows import PreferenceRow, RefusedLine

REJECTED_NAME = "rejected_rows.jsonl"
PARTIAL_SUFFIX = ".partial"


def write_rows(path: str | os.PathLike[str], rows: Iterable[PreferenceRow]) -> Path:
    """Write rows as `read_rows` reads them again, whole or not at all.

    Args:
        path: the ``.jsonl`` to write; its folder is made.
        rows: the rows; what is None is left out, and ``extra`` becomes columns.

    Returns:
        The file.
    """
    return _write_lines(Path(path), map(_fields, rows))


def write_rejected(path: str | os.PathLike[str], refused: Iterable[RefusedLine]) -> Path:
    """Write what was set aside: ``file``, ``line``, ``reason`` and the ``row`` as it was read.

    Args:
        path: the ``.jsonl`` to write; its folder is made.
        refused: of a ``RowSet`` or ``ResponseSet``.

    Returns:
        The file.
    """
    return _write_lines(
        Path(path),
        (
            {"file": line.file, "line": line.number, "reason": line.reason, "row": line.content}
            for line in refused
        ),
    )


def _fields(row: PreferenceRow) -> dict[str, Any]:
    own = {key: value for key, value in row._asdict().items() if key != "extra"}
    return {**row.extra, **{key: value for key, value in own.items() if value is not None}}


def _write_lines(path: Path, records: Iterator[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with partial.open("w", encoding="utf-8") as file:
            # ASCII alone: a rejected row may hold what UTF-8 cannot say.
            file.writelines(json.dumps(record, default=str) + "\n" for record in records)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return path
