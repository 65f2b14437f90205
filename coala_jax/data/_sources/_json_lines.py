"""Lines of JSON, each parsed or with the reason why it is not."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from coala_jax._json import RepeatedKey, unique_keys
from coala_jax.data._reasons import BROKEN_JSON, LINE_TOO_LONG, NOT_AN_OBJECT, NOT_UTF8
from coala_jax.data._sources._bytes import Line, numbered_lines
from coala_jax.data._sources._row import SourceRow
from coala_jax.data._sources._unpacking import COMPRESSIONS

SUFFIXES = (".jsonl", *(f".jsonl{packed}" for packed in COMPRESSIONS))
# Of what cannot be parsed as text this much is kept for a person to look at.
SHOWN_BYTES = 1000
PYTHON_TEXT = "Python's repr, not JSON (write rows with json.dumps)"


def parse_lines(stream: BinaryIO, file: str) -> Iterator[SourceRow]:
    """A row of every line that is not blank: an object, or the reason it is none."""
    yield from rows_of_lines(numbered_lines(stream), file)


def rows_of_lines(lines: Iterable[Line], file: str) -> Iterator[SourceRow]:
    """The same of lines as `numbered_lines` gives them."""
    for line in lines:
        if not line.content.isspace():
            yield _parse_line(line, file)


def json_row(number: int, value: Any, file: str, reason: str = "") -> SourceRow:
    """The row of a value: its fields, or the reason it has none."""
    if reason or not isinstance(value, dict):
        return SourceRow(number, None, reason or NOT_AN_OBJECT, value, file)
    return SourceRow(number, value, "", None, file)


def json_value(text: str, at: int = 0) -> tuple[Any, int, str]:
    """The JSON value that begins at a place, where it ends, and what is wrong with it if anything.

    Raises:
        ValueError, RecursionError: there is none.
    """
    try:
        return *_decode_unique(text, at), ""
    except RepeatedKey as fault:
        return *_decode(text, at), str(fault)


_decode = json.JSONDecoder().raw_decode
_decode_unique = json.JSONDecoder(object_pairs_hook=unique_keys).raw_decode


def _parse_line(line: Line, file: str) -> SourceRow:
    """A line as fields, or the reason it has none."""
    number, content, is_cut = line
    if is_cut:
        return SourceRow(number, None, LINE_TOO_LONG, _shown(content[:SHOWN_BYTES]), file)
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        return SourceRow(number, None, NOT_UTF8, _shown(content), file)
    try:
        value, end, reason = json_value(text)
    except (ValueError, RecursionError):  # ValueError alone: a number of thousands of digits
        broken = True
    else:
        broken = text[end:].strip() not in ("", ",")  # lines cut out of an array end in commas
    if broken:
        reason = PYTHON_TEXT if text.startswith("{'") else BROKEN_JSON
        return SourceRow(number, None, reason, _shown(content), file)
    return json_row(number, value, file, reason)


def _shown(line: bytes) -> str:
    return line.decode(errors="backslashreplace").rstrip("\r\n")
