"""Rows of a CSV or TSV file with a header; every value is text."""

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coala_jax.data._errors import DataError
from coala_jax.data._options import MAX_UNPACKED_BYTES
from coala_jax.data._sources._bytes import (
    COMPRESSIONS,
    MAX_LINE_BYTES,
    READ_ERRORS,
    checked_file,
    open_bytes,
)
from coala_jax.data._sources._row import CUT_SHORT, FIELD_COUNT, NOT_UTF8, SourceRow

# What reading raises where the file, not the program, is at fault.
ERRORS: tuple[type[Exception], ...] = (*READ_ERRORS, csv.Error)
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = tuple(f"{kind}{packed}" for packed in ("", *COMPRESSIONS) for kind in DELIMITERS)


def read_csv(
    path: str | os.PathLike[str], *, max_unpacked_bytes: int = MAX_UNPACKED_BYTES
) -> Iterator[SourceRow]:
    """Read a ``.csv`` or ``.tsv`` file; its first line names the columns.

    Args:
        path: the file, UTF-8, quoted as spreadsheets do; a quoted field may hold line breaks.
        max_unpacked_bytes: most that a compressed file may unpack to.

    Yields:
        One row a record, numbered by the line it begins at; empty fields are None.

    Raises:
        DataError: as `read_json_lines` does, or column names that are empty or not distinct.
    """
    file = checked_file(path, SUFFIXES)
    name, line = str(file), 0
    try:
        with open_bytes(file, max_unpacked_bytes) as stream, _field_size(MAX_LINE_BYTES):
            text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
            reader = csv.reader(text, delimiter=_delimiter(file), strict=True)
            columns = _columns(file, next(reader, []))
            line = reader.line_num
            for values in reader:
                number, line = line + 1, reader.line_num
                if values:
                    yield _row(number, columns, values, name)
    except ERRORS as error:
        if line == 0:
            raise DataError(f"{file}: cannot be read ({error})") from error
        yield SourceRow(line + 1, None, CUT_SHORT, str(error), name)


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
    if any(_has_surrogate(value) for value in values):
        shown = [value.encode(errors="surrogateescape") for value in values]
        return SourceRow(
            number, None, NOT_UTF8, [v.decode(errors="backslashreplace") for v in shown], file
        )
    if len(values) != len(columns):
        return SourceRow(number, None, FIELD_COUNT, values, file)
    fields = {name: value or None for name, value in zip(columns, values, strict=True)}
    return SourceRow(number, fields, "", None, file)


def _has_surrogate(value: str) -> bool:
    if value.isascii():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False
