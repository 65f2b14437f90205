"""Lines of a JSONL file, plain or gzipped, each parsed or refused with a reason."""

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.data.errors import DataError

BROKEN_JSON = "broken JSON"
NOT_AN_OBJECT = "not a JSON object"
# A single file name would hide what the reader takes.
SUFFIXES = (".jsonl", ".jsonl.gz")


class JsonLine(NamedTuple):
    """A line that is not blank: its number from 1, and its fields or the reason it has none."""

    number: int
    fields: dict[str, Any] | None
    reason: str = ""


def read_json_lines(path: str | os.PathLike[str]) -> Iterator[JsonLine]:
    """Read a ``.jsonl`` or ``.jsonl.gz`` file line by line; blank lines are passed over.

    Args:
        path: the file, UTF-8, with one JSON object a line.

    Yields:
        One ``JsonLine`` a line.

    Raises:
        DataError: a missing, empty or unreadable file, or another suffix.
    """
    file = Path(path)
    if not file.name.endswith(SUFFIXES):
        raise DataError(f"{file}: expected a file that ends in {' or '.join(SUFFIXES)}")
    if not file.is_file():
        raise DataError(f"{file}: no such file; give an existing {' or '.join(SUFFIXES)}")
    if file.stat().st_size == 0:
        raise DataError(f"{file}: the file is empty")
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parse(number, line)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error


def _parse(number: int, line: str) -> JsonLine:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):  # ValueError alone: a number of thousands of digits
        return JsonLine(number, None, BROKEN_JSON)
    if not isinstance(fields, dict):
        return JsonLine(number, None, NOT_AN_OBJECT)
    return JsonLine(number, fields)
