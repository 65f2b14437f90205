"""Lines of a JSONL file, plain or compressed, each parsed or with the reason why it is not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from coala_jax.data._sources._bytes import COMPRESSIONS, numbered_lines, open_bytes
from coala_jax.data._sources._row import (
    BROKEN_JSON,
    LINE_TOO_LONG,
    NOT_AN_OBJECT,
    NOT_UTF8,
    SourceRow,
)

SUFFIXES = (".jsonl", *(f".jsonl{packed}" for packed in COMPRESSIONS))
# Of what cannot be parsed as text this much is kept for a person to look at.
SHOWN_BYTES = 1000


def read_json_lines(file: Path, max_unpacked_bytes: int) -> Iterator[SourceRow]:
    """A row of every line that is not blank: an object, or the reason it is none."""
    with open_bytes(file, max_unpacked_bytes) as stream:
        yield from parse_lines(stream, str(file))


def parse_lines(stream: BinaryIO, file: str) -> Iterator[SourceRow]:
    """The same of an open stream."""
    for number, line, too_long in numbered_lines(stream):
        if not line.isspace():
            yield _parse_line(number, line, too_long, file)


def _parse_line(number: int, line: bytes, too_long: bool, file: str) -> SourceRow:
    """A line as fields, or the reason it has none."""
    if too_long:
        return SourceRow(number, None, LINE_TOO_LONG, _shown(line[:SHOWN_BYTES]), file)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return SourceRow(number, None, NOT_UTF8, _shown(line), file)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):  # ValueError alone: a number of thousands of digits
        return SourceRow(number, None, BROKEN_JSON, text.rstrip("\r\n"), file)
    if not isinstance(fields, dict):
        return SourceRow(number, None, NOT_AN_OBJECT, fields, file)
    return SourceRow(number, fields, "", None, file)


def _shown(line: bytes) -> str:
    return line.decode(errors="backslashreplace").rstrip("\r\n")
