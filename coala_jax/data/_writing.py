"""JSONL files that are whole or not there: rows that can be used, and those that were set aside."""

import gzip
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from coala_jax._files import write_files
from coala_jax.data._answer_groups import AnswerGroup, answer_groups
from coala_jax.data._errors import DataError
from coala_jax.data._message import Message
from coala_jax.data._rows import ROW_KEYS, PreferenceRow, SetAsideRow

SUFFIXES = (".jsonl", ".jsonl.gz")
SET_ASIDE_NAME = "rejected_rows.jsonl"


def require_suffix(path: str | os.PathLike[str]) -> None:
    """Raise where a name is not one of a file that is written here.

    Raises:
        DataError: names the file and the suffixes.
    """
    if not Path(path).name.endswith(SUFFIXES):
        raise DataError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")


def write_json_lines(path: str | os.PathLike[str], lines: Iterable[Mapping[str, Any]]) -> Path:
    """Write objects, one a line, under another name and rename the file; its folder is made.

    Args:
        path: the file, ``.jsonl`` or ``.jsonl.gz``; the same objects give the same bytes.
        lines: what JSON can say; what it cannot becomes its text.

    Returns:
        The file.

    Raises:
        DataError: another suffix.
    """
    require_suffix(path)
    file = Path(path)

    def write(raw: BinaryIO) -> None:
        packed = file.suffix == ".gz"
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if packed else nullcontext(raw) as out:
            for line in lines:
                # ASCII alone: a row set aside may hold what UTF-8 cannot say.
                out.write(json.dumps(line, default=str).encode() + b"\n")

    write_files({file: write})
    return file


def write_rows(path: str | os.PathLike[str], rows: Iterable[PreferenceRow]) -> Path:
    """Write rows as `read_rows` reads them again, whole or not at all.

    Args:
        path: the ``.jsonl`` or ``.jsonl.gz`` to write; its folder is made.
        rows: the rows; what is None is left out, and ``extra`` becomes columns. Where a row kept
            its messages, these are written in place of its texts.

    Returns:
        The file.

    Raises:
        DataError: another suffix.

    Example:
        >>> from coala_jax.data import read_rows, write_rows
        >>> rows = read_rows([{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}]).rows
        >>> print(write_rows("pairs.jsonl.gz", rows).name)
        pairs.jsonl.gz
        >>> read_rows("pairs.jsonl.gz").rows == rows
        True
    """
    return write_json_lines(path, map(_fields, rows))


def write_groups(path: str | os.PathLike[str], rows: Iterable[PreferenceRow]) -> Path:
    """Write whole groups, a line each with its ``completions`` and ``scores``.

    `read_rows` with ``pairs="groups"`` reads the same rows of them again.

    Args:
        path: the ``.jsonl`` or ``.jsonl.gz`` to write; its folder is made.
        rows: of `read_rows` with ``pairs="groups"``; what answers of a group have in common is
            written once, as messages where these were kept.

    Returns:
        The file.

    Raises:
        DataError: another suffix, or a row that is of no group.

    Example:
        >>> from coala_jax.data import RowOptions, read_rows, write_groups
        >>> rows = [{"prompt": "2 + 2?", "completions": ["4", "5", "22"], "scores": [1, 0.1, 0]}]
        >>> groups = read_rows(rows, RowOptions(pairs="groups"))
        >>> print(write_groups("groups.jsonl", groups.rows).read_text(), end="")
        {"id": "line-1", "prompt": "2 + 2?", "completions": ["4", "5", "22"], "scores": [1, 0.1, 0]}
    """
    return write_json_lines(path, map(_group_fields, answer_groups(rows)))


def write_set_aside(path: str | os.PathLike[str], set_aside: Iterable[SetAsideRow]) -> Path:
    """Write what was set aside: ``file``, ``line``, ``reason`` and the ``row`` as it was read.

    Args:
        path: the ``.jsonl`` or ``.jsonl.gz`` to write; its folder is made.
        set_aside: of a ``RowSet``.

    Returns:
        The file.

    Raises:
        DataError: another suffix.

    Example:
        >>> import json
        >>> from coala_jax.data import read_rows, write_set_aside
        >>> found = read_rows([
        ...     {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
        ...     {"prompt": "3 + 3?", "chosen": "6", "rejected": "6"}])
        >>> line = json.loads(write_set_aside("aside.jsonl", found.set_aside).read_text())
        >>> line["line"], line["reason"]
        (2, 'chosen equals rejected')
    """
    return write_json_lines(path, map(set_aside_fields, set_aside))


def set_aside_fields(row: SetAsideRow) -> dict[str, Any]:
    """What is written of a row that was set aside."""
    return {"file": row.file, "line": row.number, "reason": row.reason, "row": row.content}


def _fields(row: PreferenceRow) -> dict[str, Any]:
    fields = _own_fields(row, ROW_KEYS)
    if row.messages is not None:
        for part, turns in row.messages._asdict().items():
            fields[part] = _spoken(turns)
    return fields


def _group_fields(group: AnswerGroup) -> dict[str, Any]:
    row = group.row._replace(id=group.name)
    fields = _own_fields(row, ("id", "prompt", "weight", "group"))
    fields |= {"completions": list(group.answers), "scores": list(group.scores)}
    if row.messages is not None:
        fields["prompt"] = _spoken(row.messages.prompt)
        fields["completions"] = list(map(_spoken, group.messages))
    return fields


def _own_fields(row: PreferenceRow, keys: Iterable[str]) -> dict[str, Any]:
    """All other columns of a row, then those of its keys that are there."""
    own = {key: getattr(row, key) for key in keys}
    return {**row.extra, **{key: value for key, value in own.items() if value is not None}}


def _spoken(turns: Iterable[Message]) -> list[dict[str, Any]]:
    return [message.as_dict() for message in turns]
