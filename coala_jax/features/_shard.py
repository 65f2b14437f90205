"""A shard of a feature store: consecutive rows in files with their checksums."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from coala_jax._files import file_sha256, write_files
from coala_jax._stored_rows import ArrayFile, StoredRows, as_floats, in_memory
from coala_jax.features._errors import FeatureError
from coala_jax.features._prefixes import PairPrefixes

# Fields of a shard that its entry in the manifest keeps.
SHARD_RESULTS = ("cut", "tokens", "flops", "shapes", "token_budget", "devices")

# The field of an entry that says how many cuts a shard has; other stores know none.
CUTS = "prefixes"

# By axis of the mesh of `coala_jax.backbones._sharding`, which readers do without.
ONE_DEVICE = MappingProxyType({"data": 1, "model": 1})


class RowRecord(NamedTuple):
    """What the store keeps of a row beside its features.

    Stores of before 0.2 do not have the characters of both responses.
    """

    id: str
    prompt_sha256: str
    margin: float | None = None
    weight: float | None = None
    group: str | None = None
    chosen_chars: int | None = None
    rejected_chars: int | None = None


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
        prefixes: cuts of its pairs, numbered within the shard; None in a store without them.
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
    prefixes: PairPrefixes | None = None


class ShardPaths(NamedTuple):
    """The files of a shard."""

    chosen: Path
    rejected: Path
    rows: Path


class PrefixPaths(NamedTuple):
    """The files of a shard's cuts: features, and an (c, 2) int32 array of pair and tokens."""

    chosen: Path
    rejected: Path
    places: Path


def shard_paths(folder: Path, number: int) -> ShardPaths:
    """The files of the shard of a number in a store's folder."""
    stem = f"shard-{number:05d}"
    return ShardPaths(
        folder / f"{stem}-chosen.npy",
        folder / f"{stem}-rejected.npy",
        folder / f"{stem}-rows.jsonl",
    )


def prefix_paths(folder: Path, number: int) -> PrefixPaths:
    """The files of the cuts of a shard, where there are some."""
    stem = f"shard-{number:05d}"
    return PrefixPaths(
        folder / f"{stem}-chosen-prefixes.npy",
        folder / f"{stem}-rejected-prefixes.npy",
        folder / f"{stem}-prefix-places.npy",
    )


def write_shard(folder: Path, number: int, shard: Shard) -> dict[str, Any]:
    """Write the files of a shard; gives its entry in the manifest."""
    paths = shard_paths(folder, number)
    lines = [json.dumps(record._asdict(), sort_keys=True) + "\n" for record in shard.records]
    cuts = shard.prefixes
    files: dict[Path, Any] = {
        paths.chosen: partial(save_array, array=shard.chosen),
        paths.rejected: partial(save_array, array=shard.rejected),
        paths.rows: "".join(lines).encode(),
    }
    if cuts is not None:
        places = np.stack([cuts.pair, cuts.tokens], axis=1).astype(np.int32)
        of_cuts = zip(
            prefix_paths(folder, number),
            (in_memory(cuts.chosen), in_memory(cuts.rejected), places),
            strict=True,
        )
        files |= {path: partial(save_array, array=array) for path, array in of_cuts}
    write_files(files)
    return {
        "rows": len(shard.records),
        "cut": dict(shard.cut),
        "tokens": dict(shard.tokens),
        "flops": shard.flops,
        "shapes": [list(shape) for shape in shard.shapes],
        "token_budget": shard.token_budget,
        "devices": dict(shard.devices),
        "sha256": {path.name: file_sha256(path) for path in files},
        **({} if cuts is None else {CUTS: len(cuts.pair)}),
    }


def read_shard(folder: Path, number: int, entry: Mapping[str, Any]) -> Shard:
    """A shard as it was given to ``write_store``.

    Args:
        folder: of the store.
        number: of the shard.
        entry: of the shard in the manifest.

    Raises:
        FeatureError: a file of it that is missing or damaged.
    """
    if fault := shard_fault(folder, number, entry):
        raise FeatureError(f"{folder}: {fault}; extract the features again")
    paths = shard_paths(folder, number)
    return Shard(
        chosen=as_floats(np.load(paths.chosen, allow_pickle=False)),
        rejected=as_floats(np.load(paths.rejected, allow_pickle=False)),
        records=read_records(paths.rows),
        prefixes=read_cuts(folder, number).in_memory() if CUTS in entry else None,
        **{name: entry[name] for name in SHARD_RESULTS},
    )


def read_cuts(folder: Path, number: int) -> PairPrefixes:
    """The cuts of a shard whose files are known to be whole; their features are not read yet."""
    chosen, rejected, places = prefix_paths(folder, number)
    pair, tokens = np.load(places, allow_pickle=False).T.astype(np.int64)
    sides = (StoredRows([ArrayFile.of(chosen)]), StoredRows([ArrayFile.of(rejected)]))
    return PairPrefixes(*sides, pair, tokens)


def read_records(path: Path) -> list[RowRecord]:
    """The rows of a shard's last file, which is known to be whole."""
    return [RowRecord(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def shard_fault(folder: Path, number: int, entry: Mapping[str, Any]) -> str:
    """What is wrong with the files of a shard, or an empty string."""
    cuts = prefix_paths(folder, number) if CUTS in entry else ()
    for path in (*shard_paths(folder, number), *cuts):
        if not path.is_file():
            return f"{path.name} is missing"
        if file_sha256(path) != entry["sha256"].get(path.name):
            return f"{path.name} is damaged, its checksum differs"
    return ""


def save_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write an array in the ``.npy`` format; an error keeps its number."""
    np.lib.format.write_array(_Writer(file), array, allow_pickle=False)


class _Writer:
    """Hides from numpy that a file is one: ``tofile`` reports a full disk without its number."""

    def __init__(self, file: BinaryIO) -> None:
        self.write: Callable[[Any], int] = file.write
