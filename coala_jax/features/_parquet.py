"""Features in Parquet, as Ray Data, Spark and others write them: one file, or a folder of many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coala_jax.data._split import text_sha256
from coala_jax.features._arrow_columns import numpy_column, with_arrow
from coala_jax.features._errors import FeatureError
from coala_jax.features._table import NAMES, NUMBERS, REQUIRED, FeatureTable, table_of_columns

SUFFIX = ".parquet"
# A column of texts, of which the table keeps the hashes.
PROMPT = "prompt"


class _Piece(NamedTuple):
    """Rows of a row group of a file that are wanted."""

    file: Path
    row_group: int
    start: int
    stop: int


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file, or a folder with some in it."""
    return path.suffix == SUFFIX if not path.is_dir() else bool(parquet_files(path))


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or those of a folder by name; what begins with ``_`` or ``.`` is none."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.glob(f"*{SUFFIX}") if file.name[0] not in "._")


def parquet_rows(path: Path) -> int:
    """How many rows there are, by the ends of the files alone.

    Raises:
        FeatureError: pyarrow is not installed, or a file that cannot be read.
    """
    return sum(count for _, counts in _row_groups(path) for count in counts)


def read_parquet(path: Path, start: int = 0, stop: int | None = None) -> FeatureTable:
    """Features of rows that Parquet holds; no row group is read that has none of them.

    Args:
        path: a file, or a folder whose files are taken in the order of their names.
        start: number of the first row.
        stop: behind the last one; None for the end.

    Returns:
        The table. Columns are ``chosen`` and ``rejected``, lists of as many numbers each, and
        where they are there `NUMBERS`, `NAMES` and ``prompt``, a text whose hash is kept; others
        are ignored. Rows without ``id`` are named by their number.

    Raises:
        FeatureError: pyarrow is not installed, a file that cannot be read, or a column that is
            missing, of another shape or type, empty, null or not finite; files of other columns.
    """
    groups = _row_groups(path)
    total = sum(count for _, counts in groups for count in counts)
    stop = total if stop is None else stop
    pieces, before = [], 0
    for file, counts in groups:
        for number, count in enumerate(counts):
            first, last = max(start - before, 0), min(stop - before, count)
            if first < last:
                pieces.append(_Piece(file, number, first, last))
            before += count
    if not pieces:
        raise FeatureError(f"{path}: holds no pairs; give one row of features a pair")
    columns = _columns(path, pieces)
    if PROMPT in columns:
        columns.setdefault("prompt_sha256", columns.pop(PROMPT))
    if "id" not in columns:
        columns["id"] = np.array([str(number) for number in range(start, stop)], dtype=str)
    return table_of_columns(path, columns, None)


def _row_groups(path: Path) -> list[tuple[Path, list[int]]]:
    """The files with the rows of each of their row groups."""
    parquet, _ = with_arrow("pyarrow.parquet", "Parquet")
    found = []
    for file in parquet_files(path):
        metadata = _opened(parquet, file).metadata
        counts = [metadata.row_group(each).num_rows for each in range(metadata.num_row_groups)]
        found.append((file, counts))
    return found


def _columns(path: Path, pieces: Sequence[_Piece]) -> dict[str, np.ndarray]:
    """The columns of some rows; of prompts their hashes."""
    parquet, arrow = with_arrow("pyarrow.parquet", "Parquet")
    first = pieces[0].file
    wanted = (*REQUIRED, *NUMBERS, *NAMES, PROMPT)
    names = [name for name in wanted if name in _opened(parquet, first).schema_arrow.names]
    if lost := [name for name in REQUIRED if name not in names]:
        raise FeatureError(f"{first}: no column named {lost[0]!r}; both {REQUIRED} are needed")
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for file, number, start, stop in pieces:
        opened = _opened(parquet, file)
        here = [name for name in wanted if name in opened.schema_arrow.names]
        if here != names:
            raise FeatureError(
                f"{file}: its columns are {', '.join(here)}, those of {first} {', '.join(names)}; "
                "give files of the same columns"
            )
        rows = opened.read_row_group(number, columns=names)
        for name in names:
            column = rows.column(name).slice(start, stop - start)
            if name == PROMPT:
                parts[name].append(_hashes(arrow, file, column))
            else:
                texts = name in NAMES
                parts[name].append(numpy_column(arrow, file, name, column, texts=texts))
    widths = {part.shape[1] for name in REQUIRED for part in parts[name] if part.ndim == 2}
    if len(widths) > 1:
        raise FeatureError(
            f"{path}: lists of {min(widths)} to {max(widths)} numbers; every row must have as many"
        )
    return {
        name: part[0] if len(part) == 1 else np.concatenate(part) for name, part in parts.items()
    }


def _hashes(arrow: Any, file: Path, prompts: Any) -> np.ndarray:
    """Hashes of the prompts of a row group: however long those are, no more of them is kept."""
    kind = prompts.type
    if arrow.types.is_dictionary(kind):
        kind = kind.value_type
    if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
        raise FeatureError(
            f"{file}: {PROMPT} holds {kind}, and must hold texts; write a conversation as one text "
            "(its messages as JSON, say), or leave the column out and give prompt_sha256 or group"
        )
    if prompts.null_count:
        raise FeatureError(f"{file}: {PROMPT} is null in {prompts.null_count} rows")
    texts = (text.as_py() for chunk in prompts.chunks for text in chunk)
    return np.array([text_sha256(text) for text in texts], dtype=str)


def _opened(parquet: Any, file: Path) -> Any:
    try:
        return parquet.ParquetFile(file)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise FeatureError(f"{file}: cannot be read as Parquet ({error})") from error
