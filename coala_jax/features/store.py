"""The feature store: a folder with a manifest and numbered shards, written once, never by halves.

``write_store`` fills ``<path>.partial``, where the manifest lists the shards that are whole, and
renames it when the last one is. A run that was killed goes on at the first missing shard; one whose
first shard cannot be made leaves nothing. Of a store that was damaged later, finished or not, the
damaged shards alone are made again.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from coala_jax.features.errors import FeatureError
from coala_jax.features.identity import FeatureIdentity
from coala_jax.features.lock import only_writer, remove_dead_lock
from coala_jax.features.npy import save_array
from coala_jax.features.table import FeatureTable
from coala_jax.files import (
    FULL,
    PARTIAL_SUFFIX,
    file_sha256,
    full_disk,
    partial_path,
    sync_folder,
    write_files,
)

MANIFEST_NAME = "manifest.json"
FORMAT = "coala-jax feature store"
FORMAT_VERSION = 2
# Keys of the manifest that a run adds; all others are settings that a resumed run must share.
RESULT_KEYS = ("shards", "cut", "tokens", "flops", "shapes")
# What people call the backbone, which decides nothing.
NAME_KEY = "identity.backbone"
# Fields of a shard that its entry in the manifest keeps.
SHARD_RESULTS = ("cut", "tokens", "flops", "shapes", "token_budget", "devices")

# By axis of the mesh of `coala_jax.backbones.sharding`, which readers do without.
ONE_DEVICE = MappingProxyType({"data": 1, "model": 1})


class RowRecord(NamedTuple):
    """What the store keeps of a row beside its features."""

    id: str
    prompt_sha256: str
    margin: float | None = None
    weight: float | None = None
    group: str | None = None


class Shard(NamedTuple):
    """Consecutive rows of a store.

    Attributes:
        chosen: (k, d) features.
        rejected: (k, d) features.
        records: (k,) one a row.
        cut: how many rows lost tokens to the context's length, by ``prompt`` and ``response``.
        tokens: how many were ``given``, ``distinct`` and ``run``.
        flops: floating-point operations of all that ran.
        shapes: the shapes of the batches that ran, a compilation each.
        token_budget: slots of a batch; a lower one than asked for begins a new plan.
        devices: how many ran it, by axis of the mesh; more of them round otherwise in the last
            digits, so no setting but to be known.
    """

    chosen: np.ndarray
    rejected: np.ndarray
    records: Sequence[RowRecord]
    cut: Mapping[str, int]
    tokens: Mapping[str, int]
    flops: int
    shapes: Sequence[tuple[int, ...]]
    token_budget: int
    devices: Mapping[str, int] = ONE_DEVICE


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


def _nothing(_: str) -> None:
    """Report nothing."""


def write_store(
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    make_shard: Callable[[int, int | None], Shard],
    n_shards: int,
    report: Callable[[str], object] = _nothing,
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
            return _read_store(final)
    with only_writer(final, report):
        return _write_missing(final, header, make_shard, n_shards, report)


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
                _write_manifest(folder, header, entries)
        for number in missing:
            fault = found.faults.get(number, "")
            if fault:
                report(f"{folder}: {fault}; that shard is made again")
            shard = make_shard(number, _recorded_budget(entries, number))
            with _full_disk_named(folder, done, n_shards):
                entry = _write_shard(folder, number, shard)
                if fault:
                    repaired.append(fault + _difference(entries[number], entry))
                entries[number : number + 1] = [entry]
                _write_manifest(folder, header, entries)
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
    folder = Path(path)
    manifest = read_manifest(folder)
    if not manifest["shards"]:
        raise FeatureError(f"{folder}: no shards in it; extract the features again")
    for number, entry in enumerate(manifest["shards"]):
        if fault := _shard_fault(folder, number, entry):
            raise FeatureError(
                f"{folder}: {fault}; run the same extraction again: it makes that shard again and "
                "keeps the others"
            )
    return _read_store(folder)


def _read_store(folder: Path) -> FeatureStore:
    """A store whose shards are known to be whole."""
    manifest = read_manifest(folder)
    arrays: dict[str, list[np.ndarray]] = {"chosen": [], "rejected": []}
    records: list[RowRecord] = []
    for number in range(len(manifest["shards"])):
        chosen, rejected, rows = _shard_paths(folder, number)
        arrays["chosen"].append(np.load(chosen, mmap_mode="r", allow_pickle=False))
        arrays["rejected"].append(np.load(rejected, mmap_mode="r", allow_pickle=False))
        lines = rows.read_text(encoding="utf-8").splitlines()
        records.extend(RowRecord(**json.loads(line)) for line in lines)
    if len(records) != manifest["rows"]:
        raise FeatureError(
            f"{folder}: {len(records)} rows in its shards, {manifest['rows']} in {MANIFEST_NAME}; "
            "run the same extraction again"
        )
    whole = {name: _joined(parts) for name, parts in arrays.items()}
    identity = FeatureIdentity.from_dict(manifest["identity"])
    return FeatureStore(folder, manifest, _table(whole, records, identity))


def read_shard(folder: Path, number: int, entry: Mapping[str, Any]) -> Shard:
    """A shard as it was given to ``write_store``.

    Args:
        folder: of the store.
        number: of the shard.
        entry: of the shard in the manifest.

    Raises:
        FeatureError: a file of it that is missing or damaged.
    """
    if fault := _shard_fault(folder, number, entry):
        raise FeatureError(f"{folder}: {fault}; extract the features again")
    chosen, rejected, rows = _shard_paths(folder, number)
    return Shard(
        chosen=np.load(chosen, allow_pickle=False),
        rejected=np.load(rejected, allow_pickle=False),
        records=[RowRecord(**json.loads(line)) for line in rows.read_text("utf-8").splitlines()],
        **{name: entry[name] for name in SHARD_RESULTS},
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store, checked for its format alone.

    Raises:
        FeatureError: no store, one that is not finished, or another format version.
    """
    if folder.name.endswith(PARTIAL_SUFFIX):
        raise FeatureError(f"{folder}: not finished; run the same extraction again to finish it")
    return manifest_in(folder)


def manifest_in(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, finished or not."""
    file = folder / MANIFEST_NAME
    if not file.is_file():
        raise FeatureError(f"{folder}: not a feature store, it holds no {MANIFEST_NAME}")
    return _parse_manifest(file)


def _holds_something(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _leftovers(folder: Path) -> list[Path]:
    """Temporary files of a run that was killed."""
    return list(folder.glob(f"*{PARTIAL_SUFFIX}"))


def _parse_manifest(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FeatureError(
            f"{file}: cannot be read as JSON ({error}); remove the folder and extract the features "
            "again"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FeatureError(f"{file}: not the manifest of a feature store")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise FeatureError(
            f"{file}: format version {manifest.get('format_version')!r}, this package reads "
            f"{FORMAT_VERSION}; extract the features again"
        )
    lost = [key for key in ("identity", "rows", "shards") if key not in manifest]
    if lost:
        raise FeatureError(f"{file}: no {', '.join(lost)} in it; extract the features again")
    return manifest


def _write_manifest(
    folder: Path, header: Mapping[str, Any], shards: Sequence[Mapping[str, Any]]
) -> None:
    results = {
        "cut": _totals(shards, "cut", ("prompt", "response")),
        "tokens": _totals(shards, "tokens", ("given", "distinct", "run")),
        "flops": sum(entry["flops"] for entry in shards),
        "shapes": len({tuple(shape) for entry in shards for shape in entry["shapes"]}),
        "shards": shards,
    }
    text = json.dumps({**header, **results}, indent=2, sort_keys=True)
    write_files({folder / MANIFEST_NAME: lambda file: file.write(f"{text}\n".encode())})


def _totals(shards: Sequence[Mapping[str, Any]], field: str, keys: Sequence[str]) -> dict[str, int]:
    return {key: sum(entry[field][key] for entry in shards) for key in keys}


def _write_shard(folder: Path, number: int, shard: Shard) -> dict[str, Any]:
    """Write the files of a shard; gives its entry in the manifest."""
    paths = _shard_paths(folder, number)
    lines = [json.dumps(record._asdict(), sort_keys=True) + "\n" for record in shard.records]
    write_files(
        {
            paths[0]: partial(save_array, array=shard.chosen),
            paths[1]: partial(save_array, array=shard.rejected),
            paths[2]: lambda file: file.write("".join(lines).encode()),
        }
    )
    return {
        "rows": len(shard.records),
        "cut": dict(shard.cut),
        "tokens": dict(shard.tokens),
        "flops": shard.flops,
        "shapes": [list(shape) for shape in shard.shapes],
        "token_budget": shard.token_budget,
        "devices": dict(shard.devices),
        "sha256": {path.name: file_sha256(path) for path in paths},
    }


def _shard_paths(folder: Path, number: int) -> tuple[Path, Path, Path]:
    stem = f"shard-{number:05d}"
    return (
        folder / f"{stem}-chosen.npy",
        folder / f"{stem}-rejected.npy",
        folder / f"{stem}-rows.jsonl",
    )


def _shard_fault(folder: Path, number: int, entry: Mapping[str, Any]) -> str:
    """What is wrong with the files of a shard, or an empty string."""
    for path in _shard_paths(folder, number):
        if not path.is_file():
            return f"{path.name} is missing"
        if file_sha256(path) != entry["sha256"].get(path.name):
            return f"{path.name} is damaged, its checksum differs"
    return ""


def _found(folder: Path, header: Mapping[str, Any]) -> _Found:
    """The shards that an earlier run made in a folder, and which of them are damaged."""
    if folder.name.endswith(PARTIAL_SUFFIX) and not (folder / MANIFEST_NAME).is_file():
        if len(_leftovers(folder)) < len(list(folder.iterdir())):
            raise FeatureError(f"{folder}: in the way and not an unfinished store; remove it")
        return _Found([], {})
    manifest = manifest_in(folder)
    _require_same_settings(folder, manifest, header)
    entries = manifest["shards"]
    faults = {number: _shard_fault(folder, number, entry) for number, entry in enumerate(entries)}
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


def _require_same_settings(
    folder: Path, manifest: Mapping[str, Any], header: Mapping[str, Any]
) -> None:
    """Raise where a store was made with other settings, each named with both values."""
    old = _flat({key: value for key, value in manifest.items() if key not in RESULT_KEYS})
    new = _flat(header)
    differing = [
        f"{key} is {old.get(key)!r} there, {new.get(key)!r} now"
        for key in sorted({*old, *new} - {NAME_KEY})
        if old.get(key) != new.get(key)
    ]
    if differing:
        raise FeatureError(
            f"{folder}: holds features made with other settings: {'; '.join(differing)}; "
            "remove it or give another path"
        )


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One array of all shards; a single one stays memory-mapped."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _table(
    arrays: Mapping[str, np.ndarray], records: Sequence[RowRecord], identity: FeatureIdentity
) -> FeatureTable:
    groups = [record.group for record in records]
    return FeatureTable(
        chosen=arrays["chosen"],
        rejected=arrays["rejected"],
        ids=tuple(record.id for record in records),
        prompt_hashes=tuple(record.prompt_sha256 for record in records),
        margin=_column([record.margin for record in records], 0.0),
        weight=_column([record.weight for record in records], 1.0),
        groups=None if None in groups else tuple(str(group) for group in groups),
        identity=identity,
    )


def _column(values: Sequence[float | None], neutral: float) -> np.ndarray | None:
    """(n,) float32 with the neutral value where a row has none; None where no row has one."""
    if all(value is None for value in values):
        return None
    return np.array([neutral if value is None else value for value in values], np.float32)
