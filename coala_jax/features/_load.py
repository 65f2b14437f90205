"""Features from whatever file holds them: a store, an .npz or a data set in Arrow."""

import os
import zipfile
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from coala_jax._stored_rows import as_floats
from coala_jax.features._errors import FeatureError
from coala_jax.features._export import IDENTITY, is_dataset_folder, read_dataset_folder
from coala_jax.features._join import open_whole_store
from coala_jax.features._parquet import is_parquet, read_parquet
from coala_jax.features._table import (
    CUT_COLUMNS,
    NAMES,
    NUMBERS,
    REQUIRED,
    FeatureTable,
    parse_identity,
    table_of_columns,
)

# Of an archive with files and of an empty one; numpy takes what begins otherwise for a pickle.
ARCHIVE_STARTS = (b"PK\x03\x04", b"PK\x05\x06")


def load_features(path: str | os.PathLike[str]) -> FeatureTable:
    """Load features of preference pairs.

    Args:
        path: a feature store, or an ``.npz`` with ``chosen`` and ``rejected``, (n, d) floating
            point of 16 to 64 bits, and where known ``weight`` and ``margin``, (n,) numbers, ``id``,
            ``group`` and ``prompt_sha256``, (n,) texts, and ``identity``, a text that `write_npz`
            made; and of c beginnings ``prefix_chosen`` and ``prefix_rejected``, (c, d),
            ``prefix_pair`` and ``prefix_tokens``, (c,) integers. Other arrays are ignored. Or a
            folder that ``datasets`` saved, with columns of these names. Or a ``.parquet`` file or a
            folder of such, as Ray Data and Spark write them, with columns of these names but for
            identity and beginnings, and maybe ``prompt``, (n,) texts.

    Returns:
        The table. Rows of an ``.npz`` without ``id`` are named by their number from 0.

    Raises:
        FeatureError: a missing or unreadable file, or an array that is missing, of another shape
            or type, empty or not finite; names the file and the array.

    Example:
        >>> import numpy as np
        >>> from coala_jax.features import load_features
        >>> rng = np.random.default_rng(0)
        >>> np.savez("mine.npz", chosen=rng.normal(size=(8, 4)), rejected=rng.normal(size=(8, 4)))
        >>> table = load_features("mine.npz")
        >>> table.chosen.shape, table.ids[:2]
        ((8, 4), ('0', '1'))
    """
    source = Path(path)
    if is_dataset_folder(source):
        return read_dataset_folder(source)
    if is_parquet(source) and source.exists():
        return read_parquet(source)
    if source.is_dir():
        return open_whole_store(source).table
    if not source.exists():
        raise FeatureError(
            f"{source}: no such file or folder; give a feature store, an .npz or Parquet"
        )
    if source.suffix != ".npz":
        raise FeatureError(f"{source}: neither a feature store (a folder) nor an .npz nor Parquet")
    arrays = _read_npz(source)
    identity = arrays.pop(IDENTITY, None)
    return table_of_columns(
        source, arrays, None if identity is None else parse_identity(source, str(identity))
    )


def _read_npz(source: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, as numpy leaves a damaged archive open.
        with source.open("rb") as opened, _open_archive(source, opened) as file:
            known = (*REQUIRED, *NUMBERS, *NAMES, *CUT_COLUMNS, IDENTITY)
            present = [name for name in known if name in file.files]
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
        return as_floats(np.asarray(file[name]))
    except ValueError as error:
        # Its text alone tells an array of objects from a damaged one.
        if "allow_pickle" not in str(error):
            raise FeatureError(
                f"{source}: {name} cannot be read ({error}); save it again"
            ) from error
        kind, dtype = ("text", "str") if name in (*NAMES, IDENTITY) else ("float", "float32")
        raise FeatureError(
            f"{source}: {name} is a pickled array of Python objects, which are refused; save a "
            f"plain {kind} array: .astype({dtype!r})"
        ) from None
