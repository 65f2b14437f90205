"""Folders of data files: what ``datasets`` saves to disk, and the layout of a hub repository."""

import json
from collections.abc import Sequence
from pathlib import Path

from coala_jax.data._errors import DataError

# Files of ``Dataset.save_to_disk`` and ``DatasetDict.save_to_disk``.
SAVED_STATE, SAVED_SPLITS = "state.json", "dataset_dict.json"
DEFAULT_SPLIT = "train"
# Which parts a file may name after its split, as in train-00000-of-00001.parquet.
AFTER_SPLIT = ("-", ".", "_")


def files_of_folder(
    folder: Path, suffixes: Sequence[str], config: str | None, split: str | None
) -> list[Path]:
    """The files of one split of a folder, sorted.

    Args:
        folder: what ``datasets`` saved, or files named as in a hub repository
            (``data/train-00000-of-00001.parquet``, ``train.jsonl.gz``, ``train/part.parquet``).
        suffixes: of data files.
        config: a folder in it; None means all.
        split: the split; None means ``train`` where there is one, else all files.

    Raises:
        DataError: no such split or config, no data files, or files of several kinds.
    """
    if config is not None:
        folder = folder / config
        if not folder.is_dir():
            raise DataError(f"config={config!r}: no folder {folder}; give another or leave it out")
    if (folder / SAVED_SPLITS).is_file():
        folder = folder / (split or DEFAULT_SPLIT)
        split = None
        if not folder.is_dir():
            raise DataError(f"split: no folder {folder}; give one of the splits beside it")
    if (folder / SAVED_STATE).is_file():
        if split is not None:
            raise DataError(f"split={split!r}: {folder} is one saved data set; leave it out")
        return _saved_files(folder)
    files = _split_files(folder, suffixes, split)
    kinds = sorted({_kind(file, suffixes) for file in files})
    if len(kinds) > 1:
        raise DataError(f"{folder}: holds files of several kinds ({', '.join(kinds)}); name one")
    return files


def _saved_files(folder: Path) -> list[Path]:
    try:
        state = json.loads((folder / SAVED_STATE).read_text(encoding="utf-8"))
        return [folder / str(entry["filename"]) for entry in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / SAVED_STATE}: cannot be read ({error})") from error


def _split_files(folder: Path, suffixes: Sequence[str], split: str | None) -> list[Path]:
    every = sorted(
        file
        for file in folder.rglob("*")
        if file.name.endswith(tuple(suffixes)) and file.is_file() and not _is_hidden(file, folder)
    )
    if not every:
        raise DataError(f"{folder}: no data file in it; expected {', '.join(suffixes)}")
    wanted = [file for file in every if _is_of_split(file, folder, split or DEFAULT_SPLIT)]
    if not wanted and split is not None:
        raise DataError(
            f"split={split!r}: no file of {folder} is named after it; there are "
            f"{', '.join(str(file.relative_to(folder)) for file in every[:5])}"
        )
    return wanted or every


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _is_of_split(file: Path, folder: Path, split: str) -> bool:
    inner = file.relative_to(folder)
    return split in inner.parts[:-1] or inner.name.startswith(
        tuple(split + mark for mark in AFTER_SPLIT)
    )


def _kind(file: Path, suffixes: Sequence[str]) -> str:
    return max((suffix for suffix in suffixes if file.name.endswith(suffix)), key=len)
