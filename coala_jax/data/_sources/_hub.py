"""Data sets of the Hugging Face hub, through ``datasets``; fetched only when asked for.

No code of a repository is run: ``datasets`` 4 and later cannot, and nothing here asks for it.
"""

from collections.abc import Iterator
from typing import Any

from coala_jax.data._errors import DataError
from coala_jax.data._options import SourceOptions
from coala_jax.data._reasons import NOT_A_RECORD
from coala_jax.data._sources._folder import DEFAULT_SPLIT
from coala_jax.data._sources._row import SourceRow
from coala_jax.data._sources._unpacking import INSTALL
from coala_jax.data._sources._values import (
    class_names,
    plain_record,
    records_of,
    with_class_names,
)

# Above this the set is streamed: no copy of it is made on disk.
STREAM_ABOVE_BYTES = 4 * 2**30


def hub_rows(hub_id: str, options: SourceOptions) -> Iterator[SourceRow]:
    """Rows of a split of a hub data set.

    Args:
        hub_id: ``org/name``.
        options: which; ``download`` must be true: a set that is on disk is read by its path.

    Raises:
        DataError: not asked for, not installed, or it cannot be had; while it is gone through, one
            that breaks off, with the row reached.
    """
    if not options.download:
        raise DataError(
            f"{hub_id}: no such file or folder; if it is a hub id, pass download=True "
            "(--download) to fetch it"
        )
    config, split, revision = options.config, options.split or DEFAULT_SPLIT, options.revision
    which = f"{hub_id} (config {config}, split {split}, revision {revision})"
    return _whole_or_error(_open(hub_id, which, config, split, revision), hub_id, which)


def record_rows(records: Any, name: str) -> Iterator[SourceRow]:
    """Rows of anything that gives records: a ``datasets.Dataset``, a DataFrame, a list of dicts."""
    features: Any = getattr(records, "features", None)
    names = class_names(features.to_dict() if hasattr(features, "to_dict") else {})
    for number, record in enumerate(records_of(records), start=1):
        fields = plain_record(record)
        if fields is None:
            yield SourceRow(number, None, NOT_A_RECORD, repr(record), name)
        else:
            yield SourceRow(number, with_class_names(fields, names), "", None, name)


def _whole_or_error(records: Any, hub_id: str, which: str) -> Iterator[SourceRow]:
    """Rows of records; half a set is no set, so an error on the way is one of the whole."""
    reached = 0
    try:
        for row in record_rows(records, hub_id):
            reached = row.number
            yield row
    except Exception as error:  # of the network, a parser, a decoder: each has errors of its own
        raise DataError(
            f"{which}: breaks off after row {reached}; try again, or fetch the repository and give "
            f"its folder ({_reason(error)})"
        ) from error


def _open(hub_id: str, which: str, config: str | None, split: str, revision: str | None) -> Any:
    try:
        import datasets
    except ModuleNotFoundError:
        raise DataError(f"{hub_id}: reading from the hub needs datasets; {INSTALL}") from None
    try:
        builder = datasets.load_dataset_builder(hub_id, config, revision=revision)
        if (builder.info.download_size or 0) > STREAM_ABOVE_BYTES:
            return builder.as_streaming_dataset(split=split)
        builder.download_and_prepare()
        return builder.as_dataset(split=split)
    except Exception as error:  # its HTTP client has errors of its own, and changes with versions
        raise DataError(
            f"{which}: cannot be fetched; check the names, the network and, where it is gated, the "
            f"login (`hf auth login`) ({_reason(error)})"
        ) from error


def _reason(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
