"""Rows of Parquet and Arrow files, a batch in memory at a time."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from coala_jax.data._errors import DataError
from coala_jax.data._sources._bytes import INSTALL, checked_file
from coala_jax.data._sources._row import CUT_SHORT, NOT_UTF8, SourceRow

PARQUET, ARROW = ".parquet", ".arrow"
SUFFIXES = (PARQUET, ARROW)
# Rows that become Python objects together: 1 MB of short rows.
BATCH_ROWS = 1024


def read_arrow(path: str | os.PathLike[str], **_: Any) -> Iterator[SourceRow]:
    """Read a ``.parquet`` or ``.arrow`` file (a stream, as ``datasets`` writes it, or a file).

    Args:
        path: the file.

    Yields:
        One row a record, numbered from 1.

    Raises:
        DataError: a missing or empty file, one of which nothing can be read, or pyarrow is not
            installed.
    """
    file = checked_file(path, SUFFIXES)
    pyarrow = _pyarrow(file)
    name, number = str(file), 0
    try:
        for batch in _batches(pyarrow, file):
            for fields in _records(batch):
                number += 1
                if fields is None:
                    yield SourceRow(number, None, NOT_UTF8, None, name)
                else:
                    yield SourceRow(number, fields, "", None, name)
    except (OSError, pyarrow.ArrowException) as error:
        if number == 0:
            raise DataError(f"{file}: cannot be read ({error})") from error
        yield SourceRow(number + 1, None, CUT_SHORT, str(error), name)


def _pyarrow(file: Path) -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise DataError(f"{file}: reading {file.suffix} needs pyarrow; {INSTALL}") from None
    module: ModuleType = pyarrow
    return module


def _batches(pyarrow: ModuleType, file: Path) -> Iterator[Any]:
    if file.suffix == PARQUET:
        with pyarrow.parquet.ParquetFile(file) as table:
            yield from table.iter_batches(BATCH_ROWS)
        return
    with pyarrow.memory_map(str(file)) as mapped:
        try:
            reader = pyarrow.ipc.open_stream(mapped)
        except pyarrow.ArrowInvalid:
            reader = pyarrow.ipc.open_file(mapped)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            batches = iter(reader)
        for batch in batches:
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS)


def _records(batch: Any) -> list[dict[str, Any] | None]:
    """Records of a batch; None for one whose text is no UTF-8, which Arrow does not check."""
    try:
        records: list[dict[str, Any] | None] = batch.to_pylist()
        return records
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return [None]
        return [one for row in range(batch.num_rows) for one in _records(batch.slice(row, 1))]
