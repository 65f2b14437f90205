"""One JSON object that holds all rows: a list of them under a key, or a table by its columns."""

from collections.abc import Mapping
from typing import Any

from coala_jax.data._errors import DataError
from coala_jax.data._message import MESSAGE_KEYS
from coala_jax.data._options import COLUMNS

# Where files keep a list of rows beside other lists.
ROWS_KEYS = ("data", "rows", "examples", "instances", "items", "records")
# Each row in an object of its own, as the viewer of the hub gives them.
NUMBERED = {"row_idx", "row"}
# Columns that tell a row from an object around rows, which may well have an id or a label too.
ROW_KEYS = {
    *("messages", "conversations", "utterances", "input", "preferred_output"),
    *("question_id", "uid"),  # of benchmarks, whose rows hold lists of games or choices
    *(set(COLUMNS) - {"id", "label", "group", "weight", "margin", "system"}),
}
# Of those, columns of one text a row: lists of them are columns of a table.
TEXT_KEYS = {"prompt", "chosen", "rejected", "completion", "response"}


def rows_within(whole: Mapping[str, Any], file: str) -> list[Any] | None:
    """The rows that an object holds; None where it is a row itself.

    It holds them as ``{"data": [{...}, ...]}``, or in one of pandas' layouts: ``columns``
    (``{"prompt": {"0": ...}}``), ``list`` (``{"prompt": [...]}``), ``index``
    (``{"0": {"prompt": ...}}``), ``split`` (``{"columns": [...], "data": [[...]]}``) and ``table``.

    Raises:
        DataError: several lists of rows.
    """
    values = list(whole.values())
    named = any(key in whole for key in ROW_KEYS)
    if all(isinstance(value, dict) for value in values) and values:
        keys = list(values[0])
        if named and all(list(value) == keys for value in values) and not _is_messages(values):
            return [{name: whole[name][key] for name in whole} for key in keys]
        if any(key in ROW_KEYS for key in keys):
            return values
    if all(isinstance(value, list) for value in values) and not TEXT_KEYS.isdisjoint(whole):
        lengths = {len(value) for value in values}
        if len(lengths) == 1 and not any(_is_messages(value) for value in values):
            return [dict(zip(whole, row, strict=True)) for row in zip(*values, strict=True)]
    if named:
        return None
    columns, data = whole.get("columns"), whole.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        fit = all(isinstance(row, list) and len(row) == len(columns) for row in data)
        return [dict(zip(columns, row, strict=True)) for row in data] if fit else None
    inner = [whole[key] for key in ROWS_KEYS if isinstance(whole.get(key), dict)]
    return rows_within(inner[0], file) if len(inner) == 1 else _only_list(whole, file)


def _only_list(whole: Mapping[str, Any], file: str) -> list[Any] | None:
    lists = {key: value for key, value in whole.items() if _is_rows(value)}
    if len(lists) > 1:
        lists = {key: value for key, value in lists.items() if key in ROWS_KEYS} or lists
    if len(lists) > 1:
        raise DataError(
            f"{file}: one JSON object with several lists of rows ({', '.join(lists)}); write each "
            "to a file of its own"
        )
    rows = next(iter(lists.values()), None)
    if rows and all(isinstance(row, dict) and row.keys() >= NUMBERED for row in rows):
        return [row["row"] for row in rows]
    return rows


def _is_rows(value: Any) -> bool:
    """Whether a value is meant as rows: a list of mappings that are no messages."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return False
    return not _is_messages(value)


def _is_messages(value: Any) -> bool:
    """Whether a value is a conversation, and so no list of rows."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and any(keys <= set(first) for keys in MESSAGE_KEYS)
