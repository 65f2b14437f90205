"""The manifest of a feature store: what made it, and which of its shards are whole."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coala_jax._files import PARTIAL_SUFFIX, write_files
from coala_jax._json import read_json_object
from coala_jax.features._errors import FeatureError
from coala_jax.features._identity import DECIDE_NOTHING

MANIFEST_NAME = "manifest.json"
FORMAT = "coala-jax feature store"
FORMAT_VERSION = 2
# Keys of the manifest that a run adds; all others are settings that a resumed run must share.
RESULT_KEYS = ("shards", "cut", "tokens", "flops", "shapes")
# What says nothing of how features were made.
FOR_PEOPLE = {f"identity.{name}" for name in DECIDE_NOTHING}


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
        raise FeatureError(
            f"{folder}: not a feature store, it holds no {MANIFEST_NAME}{_parquet_below(folder)}"
        )
    return _parse_manifest(file)


def _parquet_below(folder: Path) -> str:
    """Words for a folder whose Parquet lies in subfolders, as Spark's partitions do; else none."""
    files = itertools.chain(folder.glob("*/*.parquet"), folder.glob("*/*/*.parquet"))
    found = next(files, None)
    if found is None:
        return ""
    return (
        "; Parquet is read from one folder, and here it lies in subfolders such as "
        f"{found.parent.relative_to(folder)}: write it without partitions"
    )


def write_manifest(
    folder: Path, header: Mapping[str, Any], shards: Sequence[Mapping[str, Any]]
) -> None:
    """Write the settings of a store, the entries of its whole shards, and their totals.

    Args:
        folder: of the store.
        header: format and settings.
        shards: the entries, in order.
    """
    results = {
        "cut": _totals(shards, "cut", ("prompt", "response")),
        "tokens": _totals(shards, "tokens", ("given", "distinct", "run")),
        "flops": sum(entry["flops"] for entry in shards),
        "shapes": len({tuple(shape) for entry in shards for shape in entry["shapes"]}),
        "shards": shards,
    }
    text = json.dumps({**header, **results}, indent=2, sort_keys=True)
    write_files({folder / MANIFEST_NAME: f"{text}\n".encode()})


def _totals(shards: Sequence[Mapping[str, Any]], field: str, keys: Sequence[str]) -> dict[str, int]:
    return {key: sum(entry[field][key] for entry in shards) for key in keys}


def require_same_settings(
    folder: Path, manifest: Mapping[str, Any], header: Mapping[str, Any]
) -> None:
    """Raise where a store was made of other rows or settings, each named with both values."""
    old = {key: value for key, value in manifest.items() if key not in RESULT_KEYS}
    if differing := setting_differences(old, header, "now"):
        # Of messages the rows are as a chat template writes them, which is a setting.
        rows = "data_sha256" in differing and "identity." not in differing
        what = "of other rows than the data are now" if rows else "made with other settings"
        raise FeatureError(
            f"{folder}: holds features {what}: {differing}; remove it or give another path"
        )


def setting_differences(old: Mapping[str, Any], new: Mapping[str, Any], here: str) -> str:
    """The settings that differ, each with both values; empty where they are the same."""
    left, right = _flat(old), _flat(new)
    return "; ".join(
        f"{key} is {left.get(key)!r} there, {right.get(key)!r} {here}"
        for key in sorted({*left, *right} - FOR_PEOPLE)
        if left.get(key) != right.get(key)
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


def _parse_manifest(file: Path) -> dict[str, Any]:
    manifest = read_json_object(file, FeatureError, "remove the folder and extract again")
    if manifest.get("format") != FORMAT:
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
