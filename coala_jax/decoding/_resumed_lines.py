"""JSON lines of a long run: what is finished is on the disk, and a later run goes on from there.

While it runs, ``OUT.partial`` holds the lines and ``OUT.partial.json`` how far they are finished;
at the end the lines are renamed to ``OUT``. A run that was killed leaves both.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from coala_jax._files import FULL, full_disk, partial_path, sync_folder, write_files
from coala_jax._lock import only_writer
from coala_jax.features import FeatureError

STATE_SUFFIX = ".json"
SHOWN = 24
Row = TypeVar("Row")


class ResumedLines:
    """The lines of one output, appended in pieces.

    Attributes:
        progress: what the run before said of the lines that it had finished; empty where there is
            nothing to go on from.
    """

    def __init__(self, path: Path, request: Mapping[str, Any]) -> None:
        """Open the lines of an earlier run, or begin.

        Args:
            path: of the finished output; its folder is made. The caller holds its lock.
            request: what decides the lines; as JSON can say it.

        Raises:
            FeatureError: an earlier run was asked for something else; what differs is named.
        """
        self.path, self._request = path, dict(request)
        self._partial = partial_path(path)
        self._state = self._partial.with_name(self._partial.name + STATE_SUFFIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier = self._earlier()
        if earlier is not None:
            self._require_same(earlier["request"])
        self._any_finished = earlier is not None
        self.progress: Mapping[str, Any] = earlier["progress"] if earlier else {}
        self._file: BinaryIO = self._partial.open("r+b" if earlier else "wb")
        # Of a piece that was not finished, something may have been written.
        self._file.truncate(earlier["bytes"] if earlier else 0)
        self._file.seek(0, os.SEEK_END)

    def __enter__(self) -> ResumedLines:
        """The lines themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; what is finished stays, and a file of nothing goes."""
        self._file.close()
        if not self._any_finished:
            self._partial.unlink(missing_ok=True)

    def append(self, lines: Iterable[Mapping[str, Any]], progress: Mapping[str, Any]) -> None:
        """Write a piece, and when it is on the disk, that it is finished.

        Args:
            lines: the piece.
            progress: what a later run needs to go on after it.

        Raises:
            FeatureError: the disk is full; what was finished before is kept.
        """
        try:
            self._file.write(b"".join(json_line(line) for line in lines))
            self._file.flush()
            os.fsync(self._file.fileno())
            size = self._file.tell()
            state = {"request": self._request, "progress": progress, "bytes": size}
            write_files({self._state: json.dumps(state).encode()})
            self._any_finished = True
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise FeatureError(
                f"{full_disk(self._partial, error)}; free some space and run the same command "
                "again: it goes on from what is finished"
            ) from error

    def finish(self) -> None:
        """Give the lines their name."""
        self._file.close()
        self._partial.replace(self.path)
        self._state.unlink(missing_ok=True)
        sync_folder(self.path.parent)

    def changed_input(self) -> FeatureError:
        """The error of an input that is not what the finished lines are of."""
        return FeatureError(
            f"{self._partial}: holds what an earlier run finished of another input; give that "
            f"input again, or remove {self._partial} to begin anew"
        )

    def _earlier(self) -> dict[str, Any] | None:
        """What an earlier run left, where it can be gone on from."""
        try:
            state = json.loads(self._state.read_text("utf-8"))
            size = self._partial.stat().st_size
            whole = size >= state["bytes"] and {"request", "progress"} <= state.keys()
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return state if whole else None

    def _require_same(self, earlier: Mapping[str, Any]) -> None:
        now = json.loads(json.dumps(self._request))
        differing = [
            f"{name} was {_short(earlier.get(name))}, is {_short(now.get(name))}"
            for name in dict.fromkeys((*earlier, *now))
            if earlier.get(name) != now.get(name)
        ]
        if differing:
            raise FeatureError(
                f"{self._partial}: an earlier run began it otherwise: {'; '.join(differing)}; run "
                f"it as before, or remove {self._partial} to begin anew"
            )


class PassedLines:
    """Lines to standard output: nothing of them is kept, so nothing can be gone on from."""

    progress: Mapping[str, Any] = {}

    def append(self, lines: Iterable[Mapping[str, Any]], progress: Mapping[str, Any]) -> None:
        """Write a piece and send it on."""
        sys.stdout.write(b"".join(json_line(line) for line in lines).decode())
        sys.stdout.flush()

    def finish(self) -> None:
        """Nothing is left to do."""

    def changed_input(self) -> FeatureError:
        """Never raised: there is no earlier run."""
        return FeatureError("standard output: no earlier run can be gone on from")


@contextmanager
def open_lines(
    out: Path | None, request: Mapping[str, Any], report: Callable[[str], object]
) -> Iterator[ResumedLines | PassedLines]:
    """The lines of an output, of which this is the only writer; None is standard output.

    Raises:
        FeatureError: as `ResumedLines` does, or another process writes them.
    """
    if out is None:
        yield PassedLines()
        return
    with only_writer(out, report, FeatureError), ResumedLines(out, request) as lines:
        yield lines


def chunks(rows: Iterable[Row], least: int, size: Callable[[Row], int]) -> Iterator[list[Row]]:
    """Rows in groups of this size at least, one after another: the same groups in every run."""
    chunk: list[Row] = []
    held = 0
    for row in rows:
        chunk.append(row)
        held += size(row)
        if held >= least:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def json_line(line: Mapping[str, Any]) -> bytes:
    """One line of JSON; NaN and infinity are errors."""
    return json.dumps(line, allow_nan=False).encode() + b"\n"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
