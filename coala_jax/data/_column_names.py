"""Columns of a source under the names that mean something here, with values of the right type."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from coala_jax.data._errors import DataError
from coala_jax.data._rows import NUMBER_KEYS, SURROGATE, RowFault
from coala_jax.data._sources import Source
from coala_jax.data._sources._row import SourceRow, columns_of, each_row, first_rows
from coala_jax.data._sources._values import as_structs

# Under this name a column stays that another one takes the place of.
REPLACED = "original_{}"


def named_rows(source: Source, columns: Mapping[str, str]) -> Iterator[SourceRow]:
    """Rows of a source under the names of this package.

    Args:
        source: what to read.
        columns: a name here to the column's name there.

    Raises:
        DataError: a column that none of the first rows has.
    """
    fields, rows = first_rows(source.rows)
    _require_columns(source.name, columns, fields)
    return each_row(rows, lambda row, fields: [_named(row, fields, columns, source)])


def _require_columns(
    name: str, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]
) -> None:
    there = columns_of(rows)
    lost = [column for column in columns.values() if column not in there]
    if there and lost:
        raise DataError(
            f"columns: {name} has no column {lost[0]!r}; it has {', '.join(map(str, there))}"
        )


def _named(
    row: SourceRow, there: Mapping[str, Any], columns: Mapping[str, str], source: Source
) -> SourceRow:
    for column, value in there.items():
        if not (_is_unicode(column) and _is_unicode(value)):
            raise RowFault(f"{_shown(column)} is not valid Unicode")
    fields = {name: as_structs(value) for name, value in _renamed(there, columns).items()}
    if source.all_text:
        fields |= {key: _number(fields[key]) for key in NUMBER_KEYS if key in fields}
    if source.root is not None and fields.get("id") is None:
        file = Path(row.file).relative_to(source.root)
        fields["id"] = f"{file.with_suffix('').as_posix()}-{row.number}"
    return row if fields == there else row._replace(fields=fields, content=row.kept())


def _is_unicode(value: Any) -> bool:
    """Whether no text of a value holds half a character, a lone surrogate."""
    if isinstance(value, str):
        return value.isascii() or not SURROGATE.search(value)
    if isinstance(value, Mapping):
        return all(_is_unicode(key) and _is_unicode(item) for key, item in value.items())
    return not isinstance(value, list | tuple) or all(map(_is_unicode, value))


def _shown(column: Any) -> str:
    return str(column).encode(errors="backslashreplace").decode()


def _renamed(fields: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    taken = set(columns.values())
    kept = {
        REPLACED.format(key) if key in columns else key: value
        for key, value in fields.items()
        if key not in taken
    }
    return kept | {name: fields.get(column) for name, column in columns.items()}


def _number(text: Any) -> Any:
    """The number that a text says, or the text, which the checks of a row then name."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return text
