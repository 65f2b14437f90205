"""Which rows of features are one process's own, of several that solve together: `own_rows`.

Rows are dealt out in their order, as many to each: of a store, of the parts of one that were not
joined, of Parquet, of a saved data set. A process reads the shards or row groups that it has rows
of, and no others; an ``.npz`` it reads whole. Rows of one group of responses stay together.
"""

from __future__ import annotations

import bisect
import functools
import glob
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.data._answer_groups import members_of
from coala_jax.features._errors import FeatureError
from coala_jax.features._export import is_dataset_folder, read_dataset_folder
from coala_jax.features._join import (
    Part,
    part_path,
    require_whole,
    sorted_parts,
)
from coala_jax.features._load import load_features
from coala_jax.features._manifest import read_manifest
from coala_jax.features._parquet import is_parquet, parquet_rows, read_parquet
from coala_jax.features._shard import read_records, shard_paths
from coala_jax.features._store import (
    PlacedShard,
    placed_shards,
    require_sound,
    table_of_shards,
    verified_store,
)
from coala_jax.features._table import FeatureTable, table_rows


class OwnRows(NamedTuple):
    """Rows of a process, and what is known of how they were made.

    Attributes:
        table: the rows, whose features are not read yet where they are of a store.
        refused: unusable rows of the whole, by reason; None where the source does not say.
        cut: of these rows' shards, how many lost tokens to the context, by part; None likewise.
    """

    table: FeatureTable
    refused: Mapping[str, int] | None = None
    cut: Mapping[str, int] | None = None


def parts_here(path: str | os.PathLike[str]) -> int | None:
    """How many parts of a store that was not joined are all here; None where there are not all.

    Raises:
        FeatureError: all of them are here more than once, in other numbers, and no joined store.
    """
    counts = sorted({int(part.name.rpartition("-")[2]) for part in _part_folders(path)})
    whole = [
        count
        for count in counts
        if all(part_path(path, Part(number, count)).is_dir() for number in range(count))
    ]
    if len(whole) > 1 and not Path(path).exists():
        sets = " and ".join(part_path(path, Part(0, count)).name for count in whole)
        raise FeatureError(
            f"{path}: all parts are here {len(whole)} times, those of {sets}: which of them is "
            "meant? Move the others elsewhere, or `join` those that are meant"
        )
    return whole[0] if whole else None


def own_rows(path: str | os.PathLike[str], part: Part, *, all_here: bool = True) -> OwnRows:
    """The rows of a process, of whatever `load_features` reads or of the parts of a store.

    Args:
        path: as `load_features` takes it; or ``STORE`` where ``STORE.part-I-of-N`` lie beside.
        part: which process this is.
        all_here: of parts, whether all processes see all of them. They are then one store, whose
            rows are dealt out; else part I is read by process I of N.

    Raises:
        FeatureError: what `load_features` raises; fewer rows than processes; parts that are missing
            or do not belong together, or as many as there are processes and not here.
    """
    source = Path(path)
    if source.exists():
        if part.of == 1:
            return _whole(source)
        if is_dataset_folder(source):
            table = read_dataset_folder(source)
        elif is_parquet(source):
            start, stop = _share(path, parquet_rows(source), part)
            return OwnRows(read_parquet(source, start, stop))
        elif source.is_dir():
            manifest = read_manifest(source)
            require_whole(source, manifest)
            return _own_of_shards(path, placed_shards(source, manifest), manifest, part)
        else:
            table = load_features(source)
        share = _share(path, len(table.ids), part, table.ids.__getitem__)
        return OwnRows(table_rows(table, *share))
    if not _part_folders(path):
        return _whole(source)  # which says what is missing
    count = parts_here(path)
    if all_here and count is not None:
        folders = [part_path(path, Part(number, count)) for number in range(count)]
        parts = sorted_parts([(folder, read_manifest(folder)) for folder in folders])
        shards = _in_order([placed_shards(*each) for each in parts])
        return _own_of_shards(path, shards, parts[0][1], part)
    own = part_path(path, part)
    if not own.is_dir():
        raise FeatureError(
            f"{path}: process {part.number} of {part.of} sees {_seen(path)}, and neither "
            f"{own.name} nor all parts: put them where every process sees all of them, or solve "
            "with one process a part"
        )
    manifest = read_manifest(own)
    return _read(placed_shards(own, manifest), manifest)


def _whole(source: Path) -> OwnRows:
    if source.is_dir() and not is_dataset_folder(source) and not is_parquet(source):
        store = verified_store(source)
        require_whole(source, store.manifest)
        return OwnRows(store.table, store.manifest.get("refused"), store.manifest.get("cut"))
    return OwnRows(load_features(source))


def _part_folders(path: str | os.PathLike[str]) -> list[Path]:
    whole = Path(path).absolute()
    return sorted(
        found
        for found in whole.parent.glob(f"{glob.escape(whole.name)}.part-*-of-*")
        if found.is_dir() and found.name.rpartition("-")[2].isdigit()
    )


def _seen(path: str | os.PathLike[str]) -> str:
    return ", ".join(found.name for found in _part_folders(path)) or "no part"


def _in_order(parts: Sequence[Sequence[PlacedShard]]) -> list[PlacedShard]:
    """Shards of all parts as they follow in the whole store: shard k is of part k modulo N."""
    total = sum(map(len, parts))
    return [parts[number % len(parts)][number // len(parts)] for number in range(total)]


def _own_of_shards(
    path: str | os.PathLike[str],
    shards: Sequence[PlacedShard],
    manifest: Mapping[str, Any],
    part: Part,
) -> OwnRows:
    """The rows of a process, of shards that follow one another."""
    ends = [0]
    for shard in shards:
        ends.append(ends[-1] + shard.entry["rows"])

    @functools.cache
    def ids_of(number: int) -> list[str]:
        require_sound([shards[number]])
        paths = shard_paths(shards[number].folder, shards[number].number)
        return [record.id for record in read_records(paths.rows)]

    def name_of(row: int) -> str:
        number = bisect.bisect_right(ends, row) - 1
        return ids_of(number)[row - ends[number]]

    start, stop = _share(path, ends[-1], part, name_of)
    first, last = bisect.bisect_right(ends, start) - 1, bisect.bisect_left(ends, stop)
    # A shard at a border is read by two processes, and counted by that of its first row.
    counted = shards[first if ends[first] == start else first + 1 : last]
    found = _read(shards[first:last], manifest, counted)
    table = table_rows(found.table, start - ends[first], stop - ends[first])
    return found._replace(table=table)


def _share(
    path: str | os.PathLike[str], rows: int, part: Part, name_of: Callable[[int], str] | None = None
) -> tuple[int, int]:
    """The first row of a process and the one behind its last.

    Args:
        path: for messages.
        rows: of all processes.
        part: which process this is.
        name_of: id of a row, by which rows of one group of responses are known; None for any.
    """
    part.check()

    def border(number: int) -> int:
        row = rows * number // part.of
        while name_of is not None and 0 < row < rows:
            one, other = (members_of(name_of(place)) for place in (row - 1, row))
            if one is None or other is None or one[:2] != other[:2]:
                break
            row += 1
        return row

    start, stop = border(part.number), border(part.number + 1)
    if start >= stop:
        raise FeatureError(
            f"{path}: {rows} rows for {part.of} processes leave none to process {part.number}; use "
            "fewer processes"
        )
    return start, stop


def _read(
    shards: Sequence[PlacedShard],
    manifest: Mapping[str, Any],
    counted: Sequence[PlacedShard] | None = None,
) -> OwnRows:
    require_sound(shards)
    cut = dict.fromkeys(manifest.get("cut", {}), 0)
    for shard in shards if counted is None else counted:
        for name, count in shard.entry["cut"].items():
            cut[name] = cut.get(name, 0) + count
    return OwnRows(table_of_shards(shards, manifest), manifest.get("refused"), cut)
