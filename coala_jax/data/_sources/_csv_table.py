"""Rows of a CSV or TSV file with a header; every value is text."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coala_jax.data._errors import DataError
from coala_jax.data._sources._bytes import COMPRESSIONS, MAX_LINE_BYTES, open_bytes
from coala_jax.data._sources._row import FIELD_COUNT, NOT_UTF8, SourceRow

DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = tuple(f"{kind}{packed}" for packed in ("", *COMPRESSIONS) for kind in DELIMITERS)


def read_csv(file: Path, max_unpacked_bytes: int) -> Iterator[SourceRow]:
    """A row of every record, numbered by the line it begins at; empty fields are None.

    The file is quoted as spreadsheets do: a quoted field may hold line breaks.

    Raises:
        DataError: its first line does not give every column a name of its own.
    """
    with open_bytes(file, max_unpacked_bytes) as stream, _field_size(MAX_LINE_BYTES):
        text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
        reader = csv.reader(text, delimiter=_delimiter(file), strict=True)
        columns = _columns(file, next(reader, []))
        line = reader.line_num
        for values in reader:
            number, line = line + 1, reader.line_num
            if values:
                yield _row(number, columns, values, str(file))


@contextmanager
def _field_size(most: int) -> Iterator[None]:
    """A larger limit of the csv module, which is one for the whole process, while this reads."""
    before = csv.field_size_limit(most)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _delimiter(file: Path) -> str:
    return next(mark for kind, mark in DELIMITERS.items() if kind in file.suffixes)


def _columns(file: Path, names: list[str]) -> list[str]:
    columns = [name.strip() for name in names]
    if not all(columns) or len(set(columns)) < len(columns) or not columns:
        raise DataError(
            f"{file}: its first line names the columns {columns}; each must have a name of its own"
        )
    return columns


def _row(number: int, columns: list[str], values: list[str], file: str) -> SourceRow:
    try:
        "".join(values).encode()
    except UnicodeEncodeError:  # what is no UTF-8 was read as lone surrogates
        raw = [value.encode(errors="surrogateescape") for value in values]
        shown = [value.decode(errors="backslashreplace") for value in raw]
        return SourceRow(number, None, NOT_UTF8, shown, file)
    if len(values) != len(columns):
        return SourceRow(number, None, FIELD_COUNT, values, file)
    fields = {name: value or None for name, value in zip(columns, values, strict=True)}
    return SourceRow(number, fields, "", None, file)
