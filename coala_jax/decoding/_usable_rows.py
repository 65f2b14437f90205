"""Rows that a model can score, as they are read; the others are set aside, counted and kept."""

from __future__ import annotations

import gzip
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from coala_jax._files import partial_path
from coala_jax._head_files import load_head
from coala_jax.data import DataError, ResponseRow, RowOptions, SetAsideRow, stream_responses
from coala_jax.data._responses import ResponseStream
from coala_jax.data._rows import lost_note
from coala_jax.data._writing import set_aside_fields
from coala_jax.decoding._head_fits import head_identity
from coala_jax.decoding._reward_model import TextRewardModel, require_scores_responses
from coala_jax.features._chat import checkpoint_chat

# Of the options of a model, those that find its tokenizer.
PLACE = ("revision", "download", "chat_template")


def open_inputs(
    head_folder: str, backbone: str, data: str, rows: RowOptions = RowOptions(), **options: Any
) -> tuple[TextRewardModel, ResponseStream]:
    """Open what scores and what is to be scored; no weights are read before both are there.

    Args:
        head_folder: of a head that knows its backbone, or its hub id.
        backbone: a checkpoint folder, a GGUF file or a hub id.
        data: the rows, as ``stream_responses`` takes them; ``-`` is standard input.
        rows: how they are read.
        options: of the backbone: those of ``load_backbone``.

    Raises:
        HeadFileError, CheckpointError, FeatureError: as ``TextRewardModel.load`` does.
        HeadError: a head of beginnings of responses.
        DataError: no such rows, or columns that hold no responses.
    """
    metadata = load_head(head_folder, download=options.get("download", False))[1]
    identity = head_identity(head_folder, metadata)
    require_scores_responses(metadata.scores)
    place = {name: options[name] for name in PLACE if name in options}
    known = identity.chat_template
    stream = stream_responses(data, rows, lambda: checkpoint_chat(backbone, known=known, **place))
    return TextRewardModel.load(head_folder, backbone, **options), stream


class SetAside(NamedTuple):
    """Rows that could not be used.

    Attributes:
        counts: how many for each reason.
        path: where they are; None where there are none, or none were kept.
        notes: as a ``RowSet`` has them, once all rows are read.
    """

    counts: Mapping[str, int]
    path: Path | None
    notes: tuple[str, ...] = ()


class UsableRows:
    """The responses of each row, to be gone through once, to the end, within ``with``.

    Where that ends well, the rows set aside have their file, over what an earlier run left there.
    """

    def __init__(self, model: TextRewardModel, stream: ResponseStream, path: Path | None = None):
        """Begin before the first row.

        Args:
            model: that is to score them.
            stream: from ``stream_responses``.
            path: where rows go that are set aside; None only counts them.
        """
        self._model, self._stream, self._path = model, stream, path
        self._counts, self._first = Counter[str](), dict[str, int]()
        self._usable = 0
        self._file: BinaryIO | gzip.GzipFile | None = None

    def __enter__(self) -> UsableRows:
        """The rows themselves."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep what was set aside, unless it was broken off: the next run meets it again."""
        if self._path is None:
            return
        if self._file is not None:
            self._file.close()
            partial = partial_path(self._path)
            partial.replace(self._path) if kind is None else partial.unlink()
        elif kind is None and self._path.exists():
            self._path.write_bytes(b"")

    def __iter__(self) -> Iterator[tuple[ResponseRow, ...]]:
        """The responses of each usable row.

        Raises:
            FeatureError: conversations became text otherwise than those the head was trained on.
            DataError: at the end, where no row was usable; names the reasons.
        """
        for entry in self._stream.entries:
            if isinstance(entry, SetAsideRow):
                self._set_aside(entry)
            else:
                self._model.require_chat_template(self._stream.chat_template)
                self._model.require_known_text(entry[0].prompt)
                self._usable += 1
                yield entry
        if self._usable:
            return
        reasons = "; ".join(
            f"{reason}: {count} (first in line {self._first[reason]})"
            for reason, count in sorted(self._counts.items())
        )
        fault = f"no usable row; set aside: {reasons}" if reasons else "holds no rows"
        raise DataError(f"{self._stream.name}: {fault}")

    def responses(self) -> Iterator[ResponseRow]:
        """The responses one by one; raises as the rows do."""
        return itertools.chain.from_iterable(self)

    @property
    def set_aside(self) -> SetAside:
        """What was set aside."""
        kept = None if self._file is None else self._path
        counts = dict(sorted(self._counts.items()))
        lost = lost_note(self._stream.name, self._usable, counts)
        return SetAside(counts, kept, (*lost, *self._stream.notes))

    def _set_aside(self, row: SetAsideRow) -> None:
        self._counts[row.reason] += 1
        self._first.setdefault(row.reason, row.number)
        if self._path is None:
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file, packed = partial_path(self._path), self._path.suffix == ".gz"
            self._file = gzip.GzipFile(file, "wb", mtime=0) if packed else file.open("wb")
        self._file.write(json.dumps(set_aside_fields(row), default=str).encode() + b"\n")
