"""Where rows come from: a file, a folder, a hub id or records in memory, behind one function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._hub_ids import DATA_SET_ID
from coala_jax.data._errors import DataError
from coala_jax.data._options import COLUMNS, SourceOptions, require_options
from coala_jax.data._sources import _arrow as arrow
from coala_jax.data._sources import _csv_table as csv_table
from coala_jax.data._sources import _json_file as json_file
from coala_jax.data._sources._bytes import checked_file
from coala_jax.data._sources._folder import DEFAULT_SPLIT, common_root, files_of_folder
from coala_jax.data._sources._hub import hub_rows, record_rows
from coala_jax.data._sources._json_table import rows_within
from coala_jax.data._sources._row import SourceRow, until_cut

IN_MEMORY = "rows in memory"
READERS: Mapping[tuple[str, ...], Callable[..., Iterator[SourceRow]]] = {
    json_file.SUFFIXES: json_file.read_json,
    csv_table.SUFFIXES: csv_table.read_csv,
    arrow.SUFFIXES: arrow.read_arrow,
}
SUFFIXES = tuple(suffix for suffixes in READERS for suffix in suffixes)


class Source(NamedTuple):
    """Rows, and how to read them.

    Attributes:
        name: for messages.
        rows: can be gone through once.
        all_text: values are text whatever they mean, as in CSV.
        root: the folder that the names of several files are said from: row numbers alone do not
            tell their rows apart. None for one file.
        notes: what must be known of the source, such as a part of it that is missing.
    """

    name: str
    rows: Iterator[SourceRow]
    all_text: bool = False
    root: Path | None = None
    notes: tuple[str, ...] = ()


def open_source(
    source: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    options: SourceOptions = SourceOptions(),
) -> Source:
    r"""Open what holds rows; nothing is read yet.

    Args:
        source: a file (``.jsonl``, ``.json``, ``.csv``, ``.tsv``, each also ``.gz`` or ``.zst``,
            ``.parquet``, ``.arrow``); a folder of such files, or one that ``datasets`` saved; a hub
            id; or records in memory: a ``datasets`` object, a DataFrame, a list of dicts.
        options: which of its rows.

    Returns:
        The rows to come, and how to read them.

    Raises:
        DataError: nothing of the kind, or options that do not fit it.

    Example:
        >>> from pathlib import Path
        >>> from coala_jax.data import SourceOptions, open_source
        >>> _ = Path("rows.jsonl").write_text('{"prompt": "2 + 2?"}\n')
        >>> source = open_source("rows.jsonl", SourceOptions())
        >>> [row.fields for row in source.rows]
        [{'prompt': '2 + 2?'}]
    """
    require_options(options, SourceOptions)
    if not isinstance(source, str | os.PathLike):
        return _in_memory(source, options.split)
    path, most = Path(source), options.max_unpacked_bytes
    if path.is_dir():
        if options.revision is not None:
            raise DataError(
                f"revision={options.revision!r}: {path} is a folder, only hub ids have revisions; "
                "leave it out"
            )
        files, notes = files_of_folder(path, SUFFIXES, options.config, options.split)
        root = common_root(files) if len(files) > 1 else None
        rows = _rows_of_files(files, most)
        return Source(str(path), rows, _is_text(files[:1]), root, notes)
    name = str(source)
    if not path.exists() and DATA_SET_ID.fullmatch(name) and not name.endswith(SUFFIXES):
        return Source(name, hub_rows(name, options))
    options.require_whole(f"{path} is one file, which")
    file = checked_file(path, SUFFIXES)
    return Source(str(file), _rows_of_files([file], most), _is_text([file]))


def _rows_of_files(files: Sequence[Path], max_unpacked_bytes: int) -> Iterator[SourceRow]:
    for file in files:
        read = next(read for kinds, read in READERS.items() if file.name.endswith(kinds))
        yield from until_cut(file, read(file, max_unpacked_bytes))


def _is_text(files: Sequence[Path]) -> bool:
    return any(file.name.endswith(csv_table.SUFFIXES) for file in files)


def _in_memory(records: Any, split: str | None) -> Source:
    name = split or DEFAULT_SPLIT
    if not isinstance(records, Mapping):
        if split is not None:
            raise DataError(f"split={split!r}: the rows in memory have no splits; leave it out")
    elif name in records:  # a DatasetDict
        records = records[name]
    elif split is None and any(column in records for column in COLUMNS):
        if (rows := rows_within(records, IN_MEMORY)) is None:
            raise DataError(
                f"{IN_MEMORY} are one row, of {', '.join(map(str, records))}; give a list of rows"
            )
        records = rows
    else:
        raise DataError(f"split={name!r}: there are {', '.join(map(str, records))}; give one")
    return Source(IN_MEMORY, record_rows(records, IN_MEMORY))
