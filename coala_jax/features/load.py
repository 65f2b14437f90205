"""Features from whatever file holds them: a store or an .npz."""

import os
import zipfile
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from coala_jax.features.errors import FeatureError
from coala_jax.features.join import open_whole_store
from coala_jax.features.table import FeatureTable

REQUIRED = ("chosen", "rejected")
NUMBERS = ("weight", "margin")
NAMES = ("id", "group", "prompt_sha256")
# Of an archive with files and of an empty one; numpy takes what begins otherwise for a pickle.
ARCHIVE_STARTS = (b"PK\x03\x04", b"PK\x05\x06")


def load_features(path: str | os.PathLike[str]) -> FeatureTable:
    """Load features of preference pairs.

    Args:
        path: a feature store, or an ``.npz`` with ``chosen`` and ``rejected``, (n, d) floating
            point, and where known ``weight`` and ``margin``, (n,) numbers, and ``id``, ``group``
            and ``prompt_sha256``, (n,) texts. Other arrays are ignored.

    Returns:
        The table. Rows of an ``.npz`` without ``id`` are named by their number from 0.

    Raises:
        FeatureError: a missing or unreadable file, or an array that is missing, of another shape
            or type, empty or not finite; names the file and the array.
    """
    source = Path(path)
    if source.is_dir():
        return open_whole_store(source).table
    if not source.exists():
        raise FeatureError(f"{source}: no such file or folder; give a feature store or an .npz")
    if source.suffix != ".npz":
        raise FeatureError(f"{source}: neither a feature store (a folder) nor an .npz")
    arrays = _read_npz(source)
    _check_features(source, arrays)
    n = len(arrays["chosen"])
    names = {name: _names(source, name, arrays[name], n) for name in NAMES if name in arrays}
    numbers = {name: _numbers(source, name, arrays[name], n) for name in NUMBERS if name in arrays}
    return FeatureTable(
        chosen=arrays["chosen"],
        rejected=arrays["rejected"],
        ids=names.get("id") or tuple(map(str, range(n))),
        prompt_hashes=names.get("prompt_sha256"),
        margin=numbers.get("margin"),
        weight=numbers.get("weight"),
        groups=names.get("group"),
    )


def _read_npz(source: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, as numpy leaves a damaged archive open.
        with source.open("rb") as opened, _open_archive(source, opened) as file:
            present = [name for name in (*REQUIRED, *NUMBERS, *NAMES) if name in file.files]
            return {name: _read_array(source, name, file) for name in present}
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise FeatureError(
            f"{source}: cannot be read as .npz ({error}); save or copy it again"
        ) from error


def _open_archive(source: Path, opened: BufferedReader) -> NpzFile:
    if not opened.peek().startswith(ARCHIVE_STARTS):
        raise FeatureError(
            f"{source}: not an .npz file, though named so; make one with "
            "np.savez(path, chosen=..., rejected=...)"
        )
    archive: NpzFile = np.load(opened, allow_pickle=False)
    return archive


def _read_array(source: Path, name: str, file: NpzFile) -> np.ndarray:
    try:
        return np.asarray(file[name])
    except ValueError as error:
        # Its text alone tells an array of objects from a damaged one.
        if "allow_pickle" not in str(error):
            raise FeatureError(
                f"{source}: {name} cannot be read ({error}); save it again"
            ) from error
        kind, dtype = ("text", "str") if name in NAMES else ("float", "float32")
        raise FeatureError(
            f"{source}: {name} is a pickled array of Python objects, which are refused; save a "
            f"plain {kind} array: .astype({dtype!r})"
        ) from None


def _check_features(source: Path, arrays: dict[str, np.ndarray]) -> None:
    for name in REQUIRED:
        if name not in arrays:
            raise FeatureError(f"{source}: no array named {name!r}; both {REQUIRED} are needed")
        array = arrays[name]
        if array.ndim == 2 and not len(array):
            raise FeatureError(f"{source}: {name} holds no pairs; give one row of features a pair")
        if array.ndim != 2 or 0 in array.shape:
            raise FeatureError(f"{source}: {name} has shape {array.shape}, expected (n, d)")
        if not np.issubdtype(array.dtype, np.floating):
            raise FeatureError(
                f"{source}: {name} has type {array.dtype}, expected float16, float32 or float64; "
                "save it with .astype('float32') if these numbers are features"
            )
    if arrays["chosen"].shape != arrays["rejected"].shape:
        raise FeatureError(
            f"{source}: chosen has shape {arrays['chosen'].shape}, rejected "
            f"{arrays['rejected'].shape}; save both with one row a pair, in the same order, from "
            "the same backbone and pooling"
        )
    for name in REQUIRED:
        bad = np.flatnonzero(~np.isfinite(arrays[name]).all(1))
        if bad.size:
            raise FeatureError(
                f"{source}: {name} holds NaN or infinity in {bad.size} rows, the first is row "
                f"{bad[0]}; remove these rows or extract them again"
            )


def _names(source: Path, name: str, array: np.ndarray, n: int) -> tuple[str, ...]:
    if array.shape != (n,):
        raise FeatureError(f"{source}: {name} has shape {array.shape}, expected ({n},)")
    return tuple(map(str, array.tolist()))


def _numbers(source: Path, name: str, array: np.ndarray, n: int) -> np.ndarray:
    if array.shape != (n,):
        raise FeatureError(f"{source}: {name} has shape {array.shape}, expected ({n},)")
    is_number = np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)
    if not is_number or not np.isfinite(array).all():
        raise FeatureError(f"{source}: {name} must hold finite numbers")
    if name == "weight" and (array < 0).any():
        raise FeatureError(f"{source}: weight must not be negative")
    return array.astype(np.float32)
