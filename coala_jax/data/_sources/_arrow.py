"""Rows of Parquet and Arrow files, a batch in memory at a time."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from coala_jax.data._errors import DataError
from coala_jax.data._reasons import NOT_UTF8
from coala_jax.data._rows import RowFault
from coala_jax.data._sources._file_kinds import HEAD_BYTES, other_kind
from coala_jax.data._sources._json_lines import json_value
from coala_jax.data._sources._row import SourceRow
from coala_jax.data._sources._unpacking import INSTALL
from coala_jax.data._sources._values import class_names, plain, with_class_names

PARQUET, ARROW = ".parquet", ".arrow"
SUFFIXES = (PARQUET, ARROW)
BEGINNINGS = {PARQUET: b"PAR1", ARROW: b"ARROW1"}
# Rows that become Python objects together: 1 MB of short rows.
BATCH_ROWS = 1024
# Where ``datasets`` keeps what its features are.
FEATURES = b"huggingface"
_BINARY = ("binary", "large_binary", "binary_view", "fixed_size_binary")
# A record, or the reason that it is none.
_Record: TypeAlias = Mapping[str, Any] | str


def read_arrow(file: Path, _: int) -> Iterator[SourceRow]:
    """A row of every record of a ``.parquet`` or ``.arrow`` file, which may be a stream.

    Text that is stored as bytes or as JSON, decimals and the classes of ``datasets`` become text,
    objects, numbers and their names.

    Raises:
        DataError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise DataError(f"{file}: reading {file.suffix} needs pyarrow; {INSTALL}") from None
    try:
        records = chain.from_iterable(map(_records, _batches(pyarrow, file)))
        for number, record in enumerate(records, start=1):
            if isinstance(record, str):
                yield SourceRow(number, None, record, None, str(file))
            else:
                yield SourceRow(number, record, "", None, str(file))
    # A value that Python cannot say, such as a date of the year 10000, or names that are no UTF-8.
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:
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


def _records(batch: Any) -> Iterator[_Record]:
    """The records of a batch."""
    make = _maker(batch.schema)
    for record in _raw_records(batch):
        try:
            yield record if isinstance(record, str) else make(record)
        except RowFault as fault:
            yield str(fault)


def _raw_records(batch: Any) -> list[_Record]:
    """Records as pyarrow gives them; a reason where text is no UTF-8.

    Nothing is taken out of a batch before it is checked: offsets that are damaged point anywhere.
    """
    try:
        batch.validate(full=True)
        records: list[_Record] = batch.to_pylist()
        return records
    except UnicodeDecodeError:
        pass
    except ValueError as error:  # of pyarrow's
        if "UTF8" not in str(error):
            raise
    if batch.num_rows == 1:
        return [NOT_UTF8]
    return [one for row in range(batch.num_rows) for one in _raw_records(batch.slice(row, 1))]


def _maker(schema: Any) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """What makes a record's values plain."""
    whole = _converter(schema)
    try:
        features = json.loads((schema.metadata or {})[FEATURES])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        features = {}
    names = class_names(features)

    def make(record: Mapping[str, Any]) -> Mapping[str, Any]:
        record = record if whole is None else whole(record)
        return with_class_names(record, names) if names else record

    return make


def _converter(
    kind: Any, metadata: Mapping[bytes, bytes] | None = None
) -> Callable[[Any], Any] | None:
    """What makes values of a type plain; None where pyarrow gives them so.

    Args:
        kind: the type, or the schema of a record.
        metadata: of its field: it names an extension that pyarrow does not know.
    """
    extension = (metadata or {}).get(b"ARROW:extension:name", b"").decode()
    if getattr(kind, "extension_name", extension) == "arrow.json":
        return lambda text: text if text is None else _parsed(text)
    name = str(kind).split("[")[0].split("<")[0]
    if name in _BINARY or name.startswith("decimal"):
        return plain
    if hasattr(kind, "value_field"):  # lists of every kind
        inner = _converter(kind.value_field.type, kind.value_field.metadata)
        return inner and (lambda items: items and [inner(item) for item in items])
    if hasattr(kind, "names") or name == "struct":  # the schema itself is one
        fields = list(map(kind.field, range(len(kind))))
        inners = {each.name: _converter(each.type, each.metadata) for each in fields}
        made = {key: inner for key, inner in inners.items() if inner is not None}
        return (lambda value: value and _with(value, made)) if made else None
    return None


def _with(
    value: Mapping[str, Any], converters: Mapping[str, Callable[[Any], Any]]
) -> Mapping[str, Any]:
    return {
        key: converters[key](item) if key in converters else item for key, item in value.items()
    }


def _parsed(text: str) -> Any:
    """What JSON says; text that is none stays.

    Raises:
        RowFault: an object that cannot be told.
    """
    try:
        value, _, reason = json_value(text)
    except (ValueError, RecursionError):
        return text
    if reason:
        raise RowFault(reason)
    return value
