"""Folders of data files: what ``datasets`` saves to disk, and the layout of a hub repository."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from coala_jax.data._errors import DataError
from coala_jax.data._writing import SET_ASIDE_NAME

# Files of ``Dataset.save_to_disk`` and ``DatasetDict.save_to_disk``, and what ``datasets`` and the
# hub keep beside the rows.
SAVED_STATE, SAVED_SPLITS, INFO = "state.json", "dataset_dict.json", "dataset_info.json"
NO_ROWS = (SAVED_STATE, SAVED_SPLITS, INFO, "dataset_infos.json")
# In the cache of ``datasets``: what its ``map`` and ``filter`` made.
CACHED_RESULTS = "cache-"
# Folders of the cache of the hub.
SNAPSHOTS, BLOBS, MAIN = "snapshots", "blobs", Path("refs/main")
DEFAULT_SPLIT = "train"
# By these words files are known to be of different splits.
SPLIT_WORDS = ("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval")
# train-00000-of-00001, which may end in a hash.
_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)(?:-[0-9a-f]+)?")
_PART = re.compile(r"[-_.](?:part|shard|chunk)?[-_.]?\d+$")
_BETWEEN_WORDS = re.compile(r"[-_. ]")
# A message names this many files.
NAMED_FILES = 5


class FolderFiles(NamedTuple):
    """Files to read.

    Attributes:
        files: in order.
        notes: what must be known of them, such as a part that is missing.
    """

    files: list[Path]
    notes: tuple[str, ...] = ()


class _Named(NamedTuple):
    """A file; the split its name says; its number and the total where it is a shard, else zero."""

    file: Path
    split: str
    shard: int = 0
    shards: int = 0


def files_of_folder(
    folder: Path, suffixes: Sequence[str], config: str | None, split: str | None
) -> FolderFiles:
    """The files of one split of a folder, sorted.

    Args:
        folder: what ``datasets`` saved or cached, or files named as in a hub repository
            (``data/train-00000-of-00001.parquet``, ``train.jsonl.gz``, ``train/part.parquet``).
        suffixes: of data files.
        config: a folder in it; None means all.
        split: the split; None means ``train`` where there is one, else all files, which must then
            be of no split.

    Raises:
        DataError: no such split or config, several splits of which none is asked for, no data
            files, or files of several kinds.
    """
    if config is not None:
        folder = folder / config
        if not folder.is_dir():
            raise DataError(f"config={config!r}: no folder {folder}; give another or leave it out")
    folder = _snapshot(folder)
    if (folder / SAVED_SPLITS).is_file():
        folder, split = _saved_split(folder, split or DEFAULT_SPLIT), None
    if (folder / SAVED_STATE).is_file():
        if split is not None:
            raise DataError(f"split={split!r}: {folder} is one saved data set; leave it out")
        return FolderFiles(_saved_files(folder))
    found, notes = _of_split(folder, _data_files(folder, suffixes), split)
    kinds = sorted({_kind(named.file, suffixes) for named in found})
    if len(kinds) > 1:
        raise DataError(
            f"{folder}: holds files of several kinds ({', '.join(kinds)}); give the path of one"
        )
    return FolderFiles([named.file for named in found], (*notes, *_missing_shards(found)))


def _snapshot(folder: Path) -> Path:
    """The folder itself; of a repository in the cache of the hub the revision that is main there.

    Raises:
        DataError: there are several, and none of them is.
    """
    if not ((folder / SNAPSHOTS).is_dir() and (folder / BLOBS).is_dir()):
        return folder
    revisions = sorted(each for each in (folder / SNAPSHOTS).iterdir() if each.is_dir())
    if (folder / MAIN).is_file():
        revisions = [each for each in revisions if each.name == (folder / MAIN).read_text().strip()]
    if len(revisions) != 1:
        raise DataError(f"{folder}: a cache of the hub; give one of the folders in its {SNAPSHOTS}")
    return revisions[0]


def _saved_split(folder: Path, split: str) -> Path:
    if not (folder / split).is_dir():
        there = sorted(each.name for each in folder.iterdir() if each.is_dir())
        raise DataError(
            f"split={split!r}: no folder {folder / split}; there are {', '.join(there)}, give one "
            "of them (--split)"
        )
    return folder / split


def _saved_files(folder: Path) -> list[Path]:
    try:
        state = json.loads((folder / SAVED_STATE).read_text(encoding="utf-8"))
        files = [folder / str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / SAVED_STATE}: cannot be read ({error})") from error
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: listed in {SAVED_STATE} and not there; copy the whole folder")
    return files


def _data_files(folder: Path, suffixes: Sequence[str]) -> list[_Named]:
    """The data files below a folder, with what their names say."""
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.name.endswith(tuple(suffixes)) and file.is_file() and not _is_hidden(file, folder)
    )
    caches = {file.parent for file in files if file.name == INFO}
    every = [
        file
        for file in files
        if not (file.name in NO_ROWS or file.name.endswith(SET_ASIDE_NAME))
        and not (file.parent in caches and file.name.startswith(CACHED_RESULTS))
    ]
    if not every:
        raise DataError(f"{folder}: no data file in it; expected {', '.join(suffixes)}")
    caches &= {file.parent for file in every}
    if len(caches) > 1:
        raise DataError(
            f"{folder}: a cache of several data sets "
            f"({_shown(str(cache.relative_to(folder)) for cache in sorted(caches))}); give the "
            "folder of one"
        )
    splits = {cache: _cached_splits(cache / INFO) for cache in caches}
    return [_named(file, folder, suffixes, splits.get(file.parent, ())) for file in every]


def _cached_splits(info: Path) -> Sequence[str]:
    """The splits that ``datasets`` notes; its files are called after the set and one of these."""
    try:
        return list(json.loads(info.read_text(encoding="utf-8"))["splits"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _named(file: Path, folder: Path, suffixes: Sequence[str], cached: Sequence[str]) -> _Named:
    stem = file.name.removesuffix(_kind(file, suffixes))
    shard = _SHARD.fullmatch(stem)
    split = shard[1] if shard else _PART.sub("", stem)
    split = next((name for name in cached if split.endswith(f"-{name}")), split)
    parts = file.relative_to(folder).parts[:-1]
    if words := [part for part in parts if part.lower() in SPLIT_WORDS]:
        split = words[-1]
    return _Named(file, split, *((int(shard[2]), int(shard[3])) if shard else ()))


def _of_split(
    folder: Path, every: list[_Named], split: str | None
) -> tuple[list[_Named], list[str]]:
    """The files of the split, and what is said of others that may be meant too."""
    wanted = (split or DEFAULT_SPLIT).lower()
    exact = [
        named
        for named in every
        if wanted == named.split.lower()
        or named.file.name.lower().startswith(f"{wanted}.")
        or wanted in map(str.lower, named.file.relative_to(folder).parts[:-1])
    ]
    near = [named for named in every if wanted in _words(named)]
    if exact:
        others = {named.split for named in set(near) - set(exact)}
        notes = (
            [f"{folder}: split {split or DEFAULT_SPLIT} is read, not {_shown(others)}"]
            if others
            else []
        )
        return exact, notes
    if near:
        _require_one(folder, near, split)
        return near, []
    if split is not None:
        raise DataError(
            f"split={split!r}: no file of {folder} is named after it; there are "
            f"{_shown(str(named.file.relative_to(folder)) for named in every)}"
        )
    words = {word for named in every for word in _words(named)}
    if any(named.shards for named in every) or words & set(SPLIT_WORDS):
        _require_one(folder, every, split)
    return every, []


def _words(named: _Named) -> list[str]:
    """The words of a split's name, in lower case."""
    return _BETWEEN_WORDS.split(named.split.lower())


def _require_one(folder: Path, found: Iterable[_Named], split: str | None) -> None:
    """Raise where files are of several splits."""
    splits = sorted({named.split for named in found})
    if len(splits) > 1:
        asked = "split" if split is None else f"split={split!r}"
        raise DataError(
            f"{asked}: {folder} holds several, {_shown(splits)}; give one (--split {splits[0]})"
        )


def _missing_shards(found: Iterable[_Named]) -> list[str]:
    """What is said of splits some shards of which are not there."""
    there: dict[tuple[Path, str, int], set[int]] = {}
    for named in found:
        if named.shards:
            key = (named.file.parent, named.split, named.shards)
            there.setdefault(key, set()).add(named.shard)
    notes = []
    for (parent, split, shards), numbers in there.items():
        if lost := [number for number in range(shards) if number not in numbers]:
            notes.append(
                f"{parent}: of the {shards} shards of {split} {len(lost)} "
                f"{'is' if len(lost) == 1 else 'are'} missing "
                f"({_shown(f'{number:05}-of-{shards:05}' for number in lost)}): not all rows are "
                "read"
            )
    return notes


def common_root(files: Sequence[Path]) -> Path:
    """The folder that all files lie in, which their names are said from."""
    return Path(os.path.commonpath([file.parent for file in files]))


def _shown(names: Iterable[str]) -> str:
    first = sorted(set(names))
    return ", ".join(first[:NAMED_FILES]) + (", ..." if len(first) > NAMED_FILES else "")


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _kind(file: Path, suffixes: Sequence[str]) -> str:
    return max((suffix for suffix in suffixes if file.name.endswith(suffix)), key=len)
