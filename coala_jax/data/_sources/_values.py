"""Values of numpy, pandas, Arrow and ``datasets`` as JSON has them."""

import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from coala_jax.data._errors import DataError
from coala_jax.data._message import MESSAGE_KEYS

_JSON_TYPES = (str, int, float, bool, type(None))
# pandas' words for a missing value; its third one is a NaN.
_MISSING = ("NAType", "NaTType")
# Formats of ``datasets`` under which a row is a table.
_TABLE_FORMATS = ("pandas", "polars", "arrow")
# Lists of such mappings are stored as a mapping of lists by ``datasets``.
_STRUCTS = (*MESSAGE_KEYS, {"answer", "rank"}, {"response", "overall_score"})


def plain_record(record: Any) -> dict[str, Any] | None:
    """The columns of a mapping, a row of pandas or a named tuple; None for anything else.

    A NaN in a column is a missing value, as pandas writes it.
    """
    for convert in ("to_dict", "_asdict"):
        if not isinstance(record, Mapping) and hasattr(record, convert):
            record = getattr(record, convert)()
    if not isinstance(record, Mapping):
        return None
    fields = {key: plain(value) for key, value in record.items()}
    return {key: None if value != value else value for key, value in fields.items()}


def plain(value: Any) -> Any:
    """The value without types of other libraries; what JSON has no like for stays as it is."""
    if type(value) in _JSON_TYPES:
        return value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, Decimal):
        return float(value)
    if hasattr(value, "tolist"):  # arrays and scalars of numpy, series of pandas, tensors
        listed = value.tolist()
        if type(listed) is not type(value):
            return plain(listed)
        # Python has no float of such precision, and the list of one is itself.
        return float(listed) if isinstance(listed, numbers.Real) else listed
    return None if type(value).__name__ in _MISSING else value


def _decoded(value: bytes) -> str | bytes:
    """The text that bytes are; bytes that are none, such as a picture, stay."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def records_of(records: Any) -> Iterable[Any]:
    """The rows of what gives no rows when it is gone through: a DataFrame, a table; else the same.

    Raises:
        DataError: a DataFrame with two columns of one name.
    """
    form = getattr(records, "format", None)
    if isinstance(form, Mapping) and form.get("type") in _TABLE_FORMATS:
        records = records.with_format(None)
    if hasattr(records, "iter_rows"):  # polars
        return iter(records.iter_rows(named=True))
    if hasattr(records, "to_batches"):  # pyarrow
        return (record for batch in records.to_batches() for record in batch.to_pylist())
    if not hasattr(records, "itertuples"):
        return records
    if any(name is not None for name in records.index.names):
        records = records.reset_index()
    columns = [str(column) for column in records.columns]
    if repeated := [column for column in columns if columns.count(column) > 1]:
        raise DataError(f"a DataFrame with two columns {repeated[0]!r}; give each its own name")
    rows: Iterator[tuple[Any, ...]] = records.itertuples(index=False, name=None)
    return (dict(zip(columns, row, strict=True)) for row in rows)


def class_names(features: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """The names of the classes of columns that are stored as numbers.

    Args:
        features: of a data set, as ``datasets`` writes them down.
    """
    named = {}
    for column, feature in features.items():
        while isinstance(feature, Mapping) and isinstance(feature.get("feature"), Mapping):
            feature = feature["feature"]
        if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
            named[column] = feature.get("names") or ()
    return {column: names for column, names in named.items() if names}


def with_class_names(
    fields: Mapping[str, Any], names: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """A row whose classes are names; a number below 0 is a missing one."""

    def name(value: Any, names: Sequence[str]) -> Any:
        if isinstance(value, list):
            return [name(item, names) for item in value]
        if isinstance(value, bool) or not isinstance(value, int) or value >= len(names):
            return value
        return names[value] if value >= 0 else None

    return {
        column: name(value, names[column]) if column in names else value
        for column, value in fields.items()
    }


def as_structs(value: Any) -> Any:
    """A mapping of lists as the list of mappings that it stands for, where it is one."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [as_structs(item) for item in value]
    if not isinstance(value, dict) or not any(keys <= value.keys() for keys in _STRUCTS):
        return value
    if not all(isinstance(items, list) for items in value.values()):
        return value
    if len({len(items) for items in value.values()}) != 1:
        return value
    return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
