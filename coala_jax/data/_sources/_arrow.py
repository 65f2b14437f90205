"""Rows of Parquet and Arrow files, a batch in memory at a time."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from coala_jax.data._errors import DataError
from coala_jax.data._sources._bytes import INSTALL
from coala_jax.data._sources._file_kinds import HEAD_BYTES, other_kind
from coala_jax.data._sources._row import NOT_UTF8, SourceRow

PARQUET, ARROW = ".parquet", ".arrow"
SUFFIXES = (PARQUET, ARROW)
BEGINNINGS = {PARQUET: b"PAR1", ARROW: b"ARROW1"}
# Rows that become Python objects together: 1 MB of short rows.
BATCH_ROWS = 1024


def read_arrow(file: Path, _: int) -> Iterator[SourceRow]:
    """A row of every record of a ``.parquet`` or ``.arrow`` file, which may be a stream.

    Raises:
        DataError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise DataError(f"{file}: reading {file.suffix} needs pyarrow; {INSTALL}") from None
    batches = map(_records, _batches(pyarrow, file))
    try:
        for number, fields in enumerate(chain.from_iterable(batches), start=1):
            yield SourceRow(number, fields, NOT_UTF8 if fields is None else "", None, str(file))
    except pyarrow.ArrowException as error:
        raise OSError(str(error)) from error


def _batches(pyarrow: ModuleType, file: Path) -> Iterator[Any]:
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if not head.startswith(BEGINNINGS[file.suffix]) and (kind := other_kind(head)):
        raise OSError(f"it is {kind}")
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
