"""Features to other formats and back: ``.npz``, and Arrow through Hugging Face ``datasets``."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coala_jax._files import FULL, full_disk, partial_path, write_files
from coala_jax._progress import quiet_in_a_pipe
from coala_jax._stored_rows import BFLOAT16
from coala_jax.features._arrow_columns import numpy_column, with_arrow
from coala_jax.features._errors import FeatureError
from coala_jax.features._identity import FeatureIdentity
from coala_jax.features._table import (
    NAMES,
    NUMBERS,
    REQUIRED,
    FeatureTable,
    columns_of_table,
    identity_text,
    parse_identity,
    table_of_columns,
)

if TYPE_CHECKING:  # an extra of its own
    from datasets import Dataset

IDENTITY = "identity"
# Where ``datasets`` keeps texts of one's own: its description, which ``map`` and ``select`` keep.
DESCRIPTION = "coala-jax features"
# The files of a data set on disk, beside its numbered ``.arrow`` files.
DATASET_FILES = ("dataset_info.json", "state.json")


def write_npz(path: str | os.PathLike[str], table: FeatureTable) -> Path:
    """Write features as an ``.npz`` that `coala_jax.features.load_features` reads.

    Args:
        path: ends in ``.npz``; replaced when the new one is whole.
        table: features and columns. ``identity`` becomes a JSON text, so that a head made from the
            file can score texts.

    Returns:
        The path.

    Raises:
        FeatureError: another suffix, or a full disk.

    Example:
        >>> import numpy as np
        >>> from coala_jax.features import FeatureTable, load_features, write_npz
        >>> table = FeatureTable(np.ones((2, 4)), np.zeros((2, 4)), ("a", "b"))
        >>> load_features(write_npz("features.npz", table)).chosen.shape
        (2, 4)
    """
    target = Path(path)
    if target.suffix != ".npz":
        raise FeatureError(f"{target}: must end in .npz, or it would not be read again")
    arrays: dict[str, Any] = {
        name: np.asarray(column) for name, column in columns_of_table(table).items()
    }
    if table.identity is not None:
        arrays[IDENTITY] = np.array(identity_text(table.identity))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_files({target: lambda file: np.savez(file, **arrays)})
    except OSError as error:
        raise _export_error(target, error) from error
    return target


def to_dataset(table: FeatureTable) -> "Dataset":
    """Features as a Hugging Face ``Dataset``, without a copy of the arrays.

    Args:
        table: features and columns.

    Returns:
        Columns ``id``, ``prompt_sha256``, ``chosen`` and ``rejected`` (lists of d numbers of the
        table's type, of bfloat16 as float32), ``margin``, ``weight``, ``group``, ``chosen_chars``
        and ``rejected_chars``, those that the table has. Its description holds the identity.

    Raises:
        FeatureError: ``datasets`` is not installed; features with beginnings of responses, which
            have no place in rows of one pair each.

    Example:
        >>> import numpy as np
        >>> from coala_jax.features import FeatureTable, from_dataset, to_dataset
        >>> table = FeatureTable(np.ones((2, 4)), np.zeros((2, 4)), ("a", "b"))
        >>> dataset = to_dataset(table)
        >>> from_dataset(dataset.select([1])).ids
        ('b',)
    """
    datasets, arrow = with_arrow("datasets", "Arrow")
    if table.prefixes is not None:
        raise FeatureError(
            f"prefixes: {len(table.prefixes.pair)} beginnings of responses have no place in a data "
            "set of one row a pair; write an .npz, which keeps them, or leave them out: "
            "to_dataset(table._replace(prefixes=None))"
        )
    columns = columns_of_table(table)
    described = {"format": DESCRIPTION}
    if table.identity is not None:
        described[IDENTITY] = identity_text(table.identity)
    data = arrow.table({name: _arrow_column(arrow, column) for name, column in columns.items()})
    info = datasets.DatasetInfo(description=json.dumps(described))
    # Without one, `datasets` would pickle all arrays to find it.
    return datasets.Dataset(data, info=info, fingerprint=_fingerprint(columns, described))


def from_dataset(dataset: "Dataset", source: str | os.PathLike[str] = "dataset") -> FeatureTable:
    """Features of a Hugging Face ``Dataset``.

    Args:
        dataset: with columns as `to_dataset` makes them, selected or shuffled as you like;
            ``chosen`` and ``rejected`` may be any lists of as many numbers, and others are ignored.
        source: what to call it in messages.

    Returns:
        The table; without identity where the description does not hold one.

    Raises:
        FeatureError: ``datasets`` is not installed, or a column that is missing, of another shape
            or type, empty, null or not finite.
    """
    datasets, arrow = with_arrow("datasets", "Arrow")
    if not isinstance(dataset, datasets.Dataset):
        raise FeatureError(
            f"{source}: expected a Dataset, got {type(dataset).__name__}; of several splits give "
            "one, as in dataset['train']"
        )
    wanted = [name for name in (*REQUIRED, *NUMBERS, *NAMES) if name in dataset.column_names]
    rows = dataset.select_columns(wanted).with_format("arrow")[:]
    columns = {
        name: numpy_column(arrow, source, name, rows.column(name), texts=name in NAMES)
        for name in wanted
    }
    return table_of_columns(source, columns, _described_identity(source, dataset))


def write_dataset_folder(path: str | os.PathLike[str], table: FeatureTable) -> Path:
    """Write features as a folder that ``datasets.load_from_disk`` reads.

    Args:
        path: a folder that does not exist or is empty.
        table: features and columns.

    Returns:
        The path.

    Raises:
        FeatureError: ``datasets`` is not installed, something is in the way, or the disk is full.
    """
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise FeatureError(f"{target}: in the way; remove it or give another path")
    (datasets, _), dataset = with_arrow("datasets", "Arrow"), to_dataset(table)
    partial = partial_path(target)
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        with quiet_in_a_pipe(datasets.utils):
            dataset.save_to_disk(str(partial))
        partial.replace(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _export_error(target, error) from error
    return target


def is_dataset_folder(path: Path) -> bool:
    """Whether ``datasets`` saved this folder."""
    return all((path / name).is_file() for name in DATASET_FILES)


def read_dataset_folder(path: Path) -> FeatureTable:
    """Features of a folder that ``datasets`` saved, memory-mapped.

    Raises:
        FeatureError: it cannot be read, or what `from_dataset` raises.
    """
    datasets, arrow = with_arrow("datasets", "Arrow")
    try:
        dataset = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError, arrow.ArrowException) as error:
        raise FeatureError(f"{path}: cannot be read as a data set ({error})") from error
    return from_dataset(dataset, path)


def _export_error(target: Path, error: OSError) -> Exception:
    if error.errno in FULL:
        return FeatureError(f"{full_disk(target, error)}; nothing was written: free some space")
    return error


def _fingerprint(columns: Mapping[str, Any], described: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(described).encode())
    for name, column in columns.items():
        digest.update(name.encode())
        whole = np.ascontiguousarray(column)
        digest.update(f"{whole.dtype} {whole.shape}".encode())
        digest.update(whole.view(np.uint8).data if whole.dtype == BFLOAT16 else whole.data)
    return digest.hexdigest()[:16]


def _arrow_column(arrow: Any, column: np.ndarray | tuple[str, ...]) -> Any:
    if not isinstance(column, np.ndarray):
        return arrow.array(column, arrow.string())
    if column.ndim == 1:
        return arrow.array(column)
    if column.dtype == BFLOAT16:  # which Arrow has not
        column = column.astype(np.float32)
    values = arrow.array(np.ascontiguousarray(column).reshape(-1))
    return arrow.FixedSizeListArray.from_arrays(values, column.shape[1])


def _described_identity(source: Any, dataset: "Dataset") -> FeatureIdentity | None:
    try:
        fields = json.loads(dataset.info.description)
    except json.JSONDecodeError:  # a description of somebody else's
        return None
    if not isinstance(fields, dict) or fields.get("format") != DESCRIPTION:
        return None
    return parse_identity(source, fields[IDENTITY]) if IDENTITY in fields else None
