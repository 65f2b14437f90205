"""The feature store: a folder with a manifest and numbered shards, written once, never by halves.

``write_store`` fills ``<path>.partial``, where the manifest lists the shards that are whole, and
renames it when the last one is. A run that was killed goes on at the first missing shard; one whose
first shard cannot be made leaves nothing.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coala_jax.features.errors import FeatureError
from coala_jax.features.identity import FeatureIdentity
from coala_jax.features.table import FeatureTable

MANIFEST_NAME = "manifest.json"
FORMAT = "coala-jax feature store"
FORMAT_VERSION = 2
PARTIAL_SUFFIX = ".partial"
# Keys of the manifest that a run adds; all others are settings that a resumed run must share.
RESULT_KEYS = ("shards", "cut", "tokens", "flops", "shapes")


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
    """

    chosen: np.ndarray
    rejected: np.ndarray
    records: Sequence[RowRecord]
    cut: Mapping[str, int]
    tokens: Mapping[str, int]
    flops: int
    shapes: Sequence[tuple[int, ...]]
    token_budget: int


class FeatureStore(NamedTuple):
    """A store that has been verified.

    Attributes:
        path: the folder.
        manifest: as written.
        table: the features, memory-mapped where one shard holds them all.
    """

    path: Path
    manifest: Mapping[str, Any]
    table: FeatureTable


def write_store(
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    make_shard: Callable[[int, Mapping[str, Any] | None], Shard],
    n_shards: int,
) -> FeatureStore:
    """Write a store, or go on with one that was not finished.

    Args:
        path: the folder to make. A finished store with the same settings is returned as it is.
        settings: all that decides the features, as JSON values; ``identity`` among them.
        make_shard: gives the shard of a number, from the manifest's entry of the shard before it
            (None for the first); called in order, for missing shards alone.
        n_shards: how many there are.

    Returns:
        The finished store.

    Raises:
        FeatureError: ``path`` holds something else, or a store (finished or not) that was made
            with other settings, named with both values. One that ``make_shard`` raises passes
            through, and an unfinished store without a whole shard is removed.
    """
    final = Path(path)
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, **settings}
    # Through JSON and back, so that it compares with what is read.
    header = json.loads(json.dumps(header))
    if final.exists() and not _is_empty_folder(final):
        _require_same_settings(final, read_manifest(final), header)
        return open_store(final)
    partial = final.with_name(final.name + PARTIAL_SUFFIX)
    shards = _finished_shards(partial, header) if partial.exists() else []
    partial.mkdir(parents=True, exist_ok=True)
    _write_manifest(partial, header, shards)
    for number in range(len(shards), n_shards):
        try:
            shard = make_shard(number, shards[-1] if shards else None)
        except FeatureError:
            if not shards:  # nothing to go on with, and its settings would bar the next run
                shutil.rmtree(partial)
            raise
        shards.append(_write_shard(partial, number, shard))
        _write_manifest(partial, header, shards)
    partial.rename(final)
    return open_store(final)


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
            raise FeatureError(f"{folder}: {fault}; extract the features again")
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
            f"{folder}: {len(records)} rows in its shards, {manifest['rows']} in {MANIFEST_NAME}"
        )
    whole = {name: _joined(parts) for name, parts in arrays.items()}
    identity = FeatureIdentity.from_dict(manifest["identity"])
    return FeatureStore(folder, manifest, _table(whole, records, identity))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a store, checked for its format alone.

    Raises:
        FeatureError: no store, one that is not finished, or another format version.
    """
    file = folder / MANIFEST_NAME
    if folder.name.endswith(PARTIAL_SUFFIX):
        raise FeatureError(f"{folder}: not finished; run the same extraction again to finish it")
    if not file.is_file():
        raise FeatureError(f"{folder}: not a feature store, it holds no {MANIFEST_NAME}")
    return _parse_manifest(file)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _parse_manifest(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FeatureError(f"{file}: cannot be read as JSON ({error})") from error
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
    _write_whole(folder / MANIFEST_NAME, lambda file: file.write_text(text + "\n", "utf-8"))


def _totals(shards: Sequence[Mapping[str, Any]], field: str, keys: Sequence[str]) -> dict[str, int]:
    return {key: sum(entry[field][key] for entry in shards) for key in keys}


def _write_shard(folder: Path, number: int, shard: Shard) -> dict[str, Any]:
    """Write the files of a shard; gives its entry in the manifest."""
    paths = _shard_paths(folder, number)
    _write_whole(paths[0], lambda file: _save_array(file, shard.chosen))
    _write_whole(paths[1], lambda file: _save_array(file, shard.rejected))
    lines = [json.dumps(record._asdict(), sort_keys=True) for record in shard.records]
    _write_whole(paths[2], lambda file: file.write_text("\n".join(lines) + "\n", "utf-8"))
    return {
        "rows": len(shard.records),
        "cut": dict(shard.cut),
        "tokens": dict(shard.tokens),
        "flops": shard.flops,
        "shapes": [list(shape) for shape in shard.shapes],
        "token_budget": shard.token_budget,
        "sha256": {path.name: _file_sha256(path) for path in paths},
    }


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write under another name and rename: the file is whole or not there."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    write(partial)
    partial.replace(path)


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
        if _file_sha256(path) != entry["sha256"].get(path.name):
            return f"{path.name} is damaged, its checksum differs"
    return ""


def _finished_shards(partial: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries of the shards that an earlier run finished, up to the first that is not whole."""
    if not (partial / MANIFEST_NAME).is_file():
        if any(partial.iterdir()):
            raise FeatureError(f"{partial}: in the way and not an unfinished store; remove it")
        return []
    manifest = _parse_manifest(partial / MANIFEST_NAME)
    _require_same_settings(partial, manifest, header)
    whole = []
    for number, entry in enumerate(manifest["shards"]):
        if _shard_fault(partial, number, entry):
            break
        whole.append(entry)
    return whole


def _require_same_settings(
    folder: Path, manifest: Mapping[str, Any], header: Mapping[str, Any]
) -> None:
    """Raise where a store was made with other settings, each named with both values."""
    old = _flat({key: value for key, value in manifest.items() if key not in RESULT_KEYS})
    new = _flat(header)
    differing = [
        f"{key} is {old.get(key)!r} there, {new.get(key)!r} now"
        for key in sorted({*old, *new})
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
