"""The feature store: a folder with a manifest and numbered shards, written once, never by halves.

``write_store`` fills ``<path>.partial``, where the manifest lists the shards that are whole, and
renames it when the last one is. A run that was killed goes on at the first missing shard; one whose
first shard cannot be made leaves nothing. Of a store that was damaged later, finished or not, the
damaged shards alone are made again.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coala_jax._files import FULL, PARTIAL_SUFFIX, full_disk, partial_path, sync_folder
from coala_jax._lock import only_writer, remove_dead_lock
from coala_jax._stored_rows import ArrayFile, StoredRows
from coala_jax.features._errors import FeatureError
from coala_jax.features._identity import FeatureIdentity
from coala_jax.features._manifest import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST_NAME,
    manifest_in,
    read_manifest,
    require_same_settings,
    write_manifest,
)
from coala_jax.features._prefixes import PairPrefixes, join_prefixes
from coala_jax.features._shard import (
    CUTS,
    RowRecord,
    Shard,
    read_cuts,
    read_records,
    shard_fault,
    shard_paths,
    write_shard,
)
from coala_jax.features._table import FeatureTable, table_in_memory


class FeatureStore(NamedTuple):
    """A store that has been verified.

    Attributes:
        path: the folder.
        manifest: as written.
        table: the features, memory-mapped where one shard holds them all.
        repaired: what was wrong with the shards that `write_store` made again, a line each.
    """

    path: Path
    manifest: Mapping[str, Any]
    table: FeatureTable
    repaired: tuple[str, ...] = ()


class _Found(NamedTuple):
    """What an earlier run left: the manifest's entries, and the faults of shards by number."""

    entries: list[dict[str, Any]]
    faults: dict[int, str]

    def missing(self, n_shards: int) -> list[int]:
        """Numbers of the shards to make."""
        return [
            number
            for number in range(n_shards)
            if number >= len(self.entries) or number in self.faults
        ]


def write_store(
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    make_shard: Callable[[int, int | None], Shard],
    n_shards: int,
    report: Callable[[str], object] = lambda _: None,
) -> FeatureStore:
    """Write a store, go on with one that was not finished, or repair a damaged one.

    Args:
        path: the folder to make. A finished, whole store with the same settings is returned as it
            is; of a damaged one, the damaged shards alone are made again.
        settings: all that decides the features, as JSON values; ``identity`` among them.
        make_shard: gives the shard of a number, under the token budget that the manifest records
            for it, or else for the shard before it (None for the first); called in order, for
            shards that are missing or damaged alone.
        n_shards: how many there are.
        report: called with a line for every damaged shard, before it is made again, and where the
            file system knows no locks.

    Returns:
        The finished store, with what was repaired.

    Raises:
        FeatureError: ``path`` holds something else, or a store (finished or not) that was made
            with other settings, named with both values; another process is writing it; the disk is
            full, after which the finished shards stay. One that ``make_shard`` raises passes
            through. An unfinished store without a whole shard is removed.
    """
    final = Path(path)
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, **settings}
    # Through JSON and back, so that it compares with what is read.
    header = json.loads(json.dumps(header))
    if _holds_something(final):
        found = _found(final, header)
        if not found.missing(n_shards) and not _leftovers(final):
            remove_dead_lock(final)
            return _with_features(_read_store(final))
    with only_writer(final, report, FeatureError):
        return _with_features(_write_missing(final, header, make_shard, n_shards, report))


def _write_missing(
    final: Path,
    header: Mapping[str, Any],
    make_shard: Callable[[int, int | None], Shard],
    n_shards: int,
    report: Callable[[str], object],
) -> FeatureStore:
    """Make every shard that is not there whole; looks anew at what there is, under the lock."""
    finished = _holds_something(final)
    folder = final if finished else partial_path(final)
    found = _found(folder, header) if finished or folder.exists() else _Found([], {})
    entries, missing, repaired = found.entries, found.missing(n_shards), []
    done = n_shards - len(missing)
    try:
        with _full_disk_named(folder, done, n_shards):
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in _leftovers(folder):
                leftover.unlink()
            if not entries:
                write_manifest(folder, header, entries)
        for number in missing:
            fault = found.faults.get(number, "")
            if fault:
                report(f"{folder}: {fault}; that shard is made again")
            shard = make_shard(number, _recorded_budget(entries, number))
            with _full_disk_named(folder, done, n_shards):
                entry = write_shard(folder, number, shard)
                if fault:
                    repaired.append(fault + _difference(entries[number], entry))
                entries[number : number + 1] = [entry]
                write_manifest(folder, header, entries)
            done += 1
    except FeatureError:
        if not entries and not finished:  # its settings would bar the next run
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if not finished:
        folder.rename(final)
        sync_folder(final.absolute().parent)
    return _read_store(final)._replace(repaired=tuple(repaired))


def open_store(path: str | os.PathLike[str]) -> FeatureStore:
    """Open a finished store; every shard is verified by its checksum.

    Args:
        path: the folder that ``write_store`` made.

    Returns:
        The store; its arrays are memory-mapped where it has one shard.

    Raises:
        FeatureError: no store, one that is not finished, another format version, a shard that is
            missing or damaged, a row count that does not agree.
    """
    return _with_features(verified_store(path))


def verified_store(path: str | os.PathLike[str]) -> FeatureStore:
    """`open_store` whose features are `StoredRows`, not read yet."""
    folder = Path(path)
    manifest = read_manifest(folder)
    if not manifest["shards"]:
        raise FeatureError(f"{folder}: no shards in it; extract the features again")
    require_sound(placed_shards(folder, manifest))
    return _read_store(folder)


def _read_store(folder: Path) -> FeatureStore:
    """A store whose shards are known to be whole; its features are not read yet."""
    manifest = read_manifest(folder)
    table = table_of_shards(placed_shards(folder, manifest), manifest)
    if len(table.ids) != manifest["rows"]:
        raise FeatureError(
            f"{folder}: {len(table.ids)} rows in its shards, {manifest['rows']} in "
            f"{MANIFEST_NAME}; run the same extraction again"
        )
    return FeatureStore(folder, manifest, table)


def _with_features(store: FeatureStore) -> FeatureStore:
    return store._replace(table=table_in_memory(store.table))


class PlacedShard(NamedTuple):
    """A shard, and where it is.

    Attributes:
        folder: of its store, or of its part of one.
        number: in that folder.
        entry: in the folder's manifest.
    """

    folder: Path
    number: int
    entry: Mapping[str, Any]


def placed_shards(folder: Path, manifest: Mapping[str, Any]) -> list[PlacedShard]:
    """The shards of a folder, in order."""
    return [PlacedShard(folder, *numbered) for numbered in enumerate(manifest["shards"])]


def require_sound(shards: Iterable[PlacedShard]) -> None:
    """Check every shard by its checksum.

    Raises:
        FeatureError: one is missing or damaged.
    """
    for shard in shards:
        if fault := shard_fault(*shard):
            raise FeatureError(
                f"{shard.folder}: {fault}; run the same extraction again: it makes that shard "
                "again and keeps the others"
            )


def table_of_shards(shards: Sequence[PlacedShard], manifest: Mapping[str, Any]) -> FeatureTable:
    """The rows of some shards that are known to be whole, one at least, in their order.

    Features are `StoredRows`, not read yet.
    """
    records: list[RowRecord] = []
    cuts: list[PairPrefixes] = []
    paths = [shard_paths(folder, number) for folder, number, _ in shards]
    for (folder, number, entry), own in zip(shards, paths, strict=True):
        if CUTS in entry:
            cuts.append(read_cuts(folder, number))
        records.extend(read_records(own.rows))
    chosen, rejected = (
        [ArrayFile.of(getattr(own, side)) for own in paths] for side in ("chosen", "rejected")
    )
    identity = FeatureIdentity.from_dict(manifest["identity"])
    sizes = [file.shape[0] for file in chosen]
    prefixes = join_prefixes(cuts, sizes) if len(cuts) == len(sizes) else None
    found = _table(StoredRows(chosen), StoredRows(rejected), records, identity)
    return found._replace(prefixes=prefixes)


def _holds_something(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _leftovers(folder: Path) -> list[Path]:
    """Temporary files of a run that was killed."""
    return list(folder.glob(f"*{PARTIAL_SUFFIX}"))


def _found(folder: Path, header: Mapping[str, Any]) -> _Found:
    """The shards that an earlier run made in a folder, and which of them are damaged."""
    if folder.name.endswith(PARTIAL_SUFFIX) and not (folder / MANIFEST_NAME).is_file():
        if len(_leftovers(folder)) < len(list(folder.iterdir())):
            raise FeatureError(f"{folder}: in the way and not an unfinished store; remove it")
        return _Found([], {})
    manifest = manifest_in(folder)
    require_same_settings(folder, manifest, header)
    entries = manifest["shards"]
    faults = {number: shard_fault(folder, number, entry) for number, entry in enumerate(entries)}
    return _Found(entries, {number: fault for number, fault in faults.items() if fault})


def _recorded_budget(entries: Sequence[Mapping[str, Any]], number: int) -> int | None:
    """The token budget of a shard that is made again, or of the one before a new one."""
    return entries[min(number, len(entries) - 1)]["token_budget"] if entries else None


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What to add where a shard that was made again is not the one it was."""
    if before["sha256"] == after["sha256"]:
        return ""
    return "; made again with other bytes: the device, a library or the token budget has changed"


@contextmanager
def _full_disk_named(folder: Path, done: int, n_shards: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise FeatureError(
            f"{full_disk(folder, error)}; {done} of {n_shards} shards are finished and kept: free "
            "some space and run the same command again, it goes on from there"
        ) from error


def _table(
    chosen: StoredRows,
    rejected: StoredRows,
    records: Sequence[RowRecord],
    identity: FeatureIdentity,
) -> FeatureTable:
    groups = [record.group for record in records]
    lengths = [(record.chosen_chars, record.rejected_chars) for record in records]
    known = all(None not in pair for pair in lengths)
    return FeatureTable(
        chosen=chosen,
        rejected=rejected,
        ids=tuple(record.id for record in records),
        prompt_hashes=tuple(record.prompt_sha256 for record in records),
        margin=_column([record.margin for record in records], 0.0),
        weight=_column([record.weight for record in records], 1.0),
        groups=None if None in groups else tuple(str(group) for group in groups),
        lengths=np.array(lengths, np.int64) if known else None,
        identity=identity,
    )


def _column(values: Sequence[float | None], neutral: float) -> np.ndarray | None:
    """(n,) float32 with the neutral value where a row has none; None where no row has one."""
    if all(value is None for value in values):
        return None
    return np.array([neutral if value is None else value for value in values], np.float32)
