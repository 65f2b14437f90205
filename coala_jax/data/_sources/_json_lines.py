"""Lines of a JSONL file, plain or compressed, each parsed or with the reason why it is not."""

import json
import os
from collections.abc import Iterator

from coala_jax.data._errors import DataError
from coala_jax.data._options import MAX_UNPACKED_BYTES
from coala_jax.data._sources._bytes import (
    COMPRESSIONS,
    READ_ERRORS,
    checked_file,
    numbered_lines,
    open_bytes,
)
from coala_jax.data._sources._row import (
    BROKEN_JSON,
    CUT_SHORT,
    LINE_TOO_LONG,
    NOT_AN_OBJECT,
    NOT_UTF8,
    SourceRow,
)

# A single file name would hide what the reader takes.
SUFFIXES = (".jsonl", *(f".jsonl{packed}" for packed in COMPRESSIONS))
# Of what cannot be parsed as text this much is kept for a person to look at.
SHOWN_BYTES = 1000


def read_json_lines(
    path: str | os.PathLike[str], *, max_unpacked_bytes: int = MAX_UNPACKED_BYTES
) -> Iterator[SourceRow]:
    """Read a JSONL file line by line; blank lines are passed over.

    Args:
        path: the file, UTF-8, with one JSON object a line.
        max_unpacked_bytes: most that a compressed file may unpack to.

    Yields:
        One row a line. A file that breaks off, such as a gzip cut short, ends with a row that says
        so.

    Raises:
        DataError: a missing or empty file, another suffix, one of which nothing can be read, or one
            that unpacks to too much.
    """
    file = checked_file(path, SUFFIXES)
    name, number = str(file), 0
    try:
        with open_bytes(file, max_unpacked_bytes) as stream:
            for number, line, too_long in numbered_lines(stream):
                if not line.isspace():
                    yield parse_line(number, line, too_long, name)
    except READ_ERRORS as error:
        if number == 0:
            raise DataError(f"{file}: cannot be read ({error})") from error
        yield SourceRow(number + 1, None, CUT_SHORT, str(error), name)


def parse_line(number: int, line: bytes, too_long: bool, file: str) -> SourceRow:
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
