"""Every reply of a judge on the disk, by the hash of what was asked: append-only, one writer.

A line is written, unbuffered, as its reply arrives, so a run that is killed loses what was under
way and nothing else. Replies are found by model and request. The base URL is no part of the key:
a server on another port, or another provider of the same model, would else make everything be paid
for again. It stands in each line, so that a run can say which of its replies another endpoint gave:
two of them may serve different models under one name.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._files import FULL, full_disk
from coala_jax._lock import only_writer
from coala_jax.evaluation._chat import ChatRequest, Reply
from coala_jax.evaluation._errors import EvaluationError

HEADER = b'{"format": "coala-jax-replies/1"}\n'


def request_key(model: str, request: ChatRequest, *, send_temperature: bool = True) -> str:
    """SHA-256 of the canonical JSON of what decides a reply.

    Args:
        model: the judge.
        request: what it is asked.
        send_temperature: whether it is told the temperature.
    """
    temperature = float(request.temperature) if send_temperature else None
    asked = {"model": model, **request._asdict(), "temperature": temperature}
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class KeptReply(NamedTuple):
    """A reply, and the address that gave it."""

    reply: Reply
    base_url: str


class ReplyCache:
    """Replies by `request_key`.

    Attributes:
        path: of the file.
        unreadable: lines in the middle of the file that are none; what they held is asked anew.
    """

    def __init__(
        self, path: Path, file: io.FileIO | None, found: dict[str, KeptReply], bad: int
    ) -> None:
        self.path, self.unreadable = path, bad
        self._file, self._found, self._lock = file, found, threading.Lock()

    def get(self, key: str) -> KeptReply | None:
        """The reply to a request that was asked before."""
        return self._found.get(key)

    def add(self, key: str, reply: Reply, model: str, base_url: str) -> None:
        """Keep a reply, for good once this returns; threads may call it.

        Raises:
            EvaluationError: the disk is full; what was kept before stays.
        """
        fields = {name: value for name, value in reply._asdict().items() if value is not None}
        line = {"key": key, "model": model, "base_url": base_url, "reply": fields}
        assert self._file is not None
        with self._lock:
            start = self._file.tell()
            try:
                text = json.dumps(line).encode() + b"\n"
                if self._file.write(text) < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._file.truncate(start)
                raise EvaluationError(
                    f"{full_disk(self.path, error)}; free some space and run the same command "
                    "again: it goes on from what is kept"
                ) from error
            self._found[key] = KeptReply(reply, base_url)


@contextmanager
def open_cache(path: Path, report: Callable[[str], object]) -> Iterator[ReplyCache]:
    """The cache of a file, of which this is the only writer; it is made where there is none.

    Raises:
        EvaluationError: another process writes it, or it is a file of something else.
    """
    with only_writer(path, report, EvaluationError):
        end, found, bad = _read(path)
        with path.open("r+b" if path.exists() else "w+b", buffering=0) as file:
            # Behind the last whole line stands what a killed run had begun to write.
            file.truncate(end)
            file.seek(end)
            if not end:
                file.write(HEADER)
            yield ReplyCache(path, file, found, bad)
            os.fsync(file.fileno())


def read_cache(path: Path) -> ReplyCache:
    """What a cache holds, to look at alone; empty where there is no file.

    Raises:
        EvaluationError: it is a file of something else.
    """
    _, found, bad = _read(path)
    return ReplyCache(path, None, found, bad)


def _read(path: Path) -> tuple[int, dict[str, KeptReply], int]:
    """Where the last whole line ends, the replies, and how many lines are none."""
    if not path.exists():
        return 0, {}, 0
    found: dict[str, KeptReply] = {}
    bad = 0
    with path.open("rb") as file:
        first = file.readline()
        if first != HEADER:
            if HEADER.startswith(first):  # killed before the first line was whole
                return 0, {}, 0
            raise EvaluationError(
                f"{path}: is no cache of replies (its first line is not {HEADER.decode().strip()});"
                " give another file"
            )
        end = len(first)
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            kept = _kept(line)
            if kept is None:
                bad += 1
            else:
                found[kept[0]] = kept[1]
    return end, found, bad


def _kept(line: bytes) -> tuple[str, KeptReply] | None:
    """Key and reply of a line; None of one that holds none."""
    try:
        fields: Mapping[str, Any] = json.loads(line)
        reply = Reply(**{"text": None, **fields["reply"]})
        if not all(isinstance(each, str) for each in (fields["key"], reply.text)):
            return None
        return fields["key"], KeptReply(reply, fields["base_url"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
