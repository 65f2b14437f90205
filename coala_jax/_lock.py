"""One writer at a time, by a lock of the operating system, which ends with its process."""

import errno
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from coala_jax._errors import CoalaError
from coala_jax._files import FULL, full_disk

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_SUFFIX = ".lock"
HELD = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
# Windows bars others from reading the byte that is locked: one behind all that the file holds.
LOCKED_BYTE = 1 << 30
# More than a process and a host take.
MOST_BYTES = 4096


@contextmanager
def only_writer(
    target: Path, report: Callable[[str], object], error: type[CoalaError]
) -> Iterator[None]:
    """Hold the lock ``<target>.lock``; it is removed at the end.

    A file that a dead process left locks nothing and is taken over.

    Args:
        target: what will be written; its parent is made.
        report: called with a line where the file system knows no locks; then nothing is locked.
        error: what to raise where another process holds it, named by its id and its host, or where
            the disk is full.
    """
    path = target.with_name(target.name + LOCK_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_locked(target, path, report, error)
    except OSError as fault:
        if fault.errno not in FULL:
            raise
        raise error(f"{full_disk(path, fault)}; free some space") from fault
    try:
        with suppress(OSError):  # a full disk; the lock holds without its text
            holder = {"process": os.getpid(), "host": socket.gethostname()}
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(holder).encode())
        yield
    finally:
        if sys.platform == "win32":  # where an open file cannot be removed
            os.close(descriptor)
            with suppress(OSError):  # the next writer may have it by now
                path.unlink()
        else:  # before it is let go: whoever opened it sees that it is gone and tries again
            path.unlink(missing_ok=True)
            os.close(descriptor)


def remove_dead_lock(target: Path) -> None:
    """Remove the lock that a process left which died with its work done."""
    if target.with_name(target.name + LOCK_SUFFIX).exists():
        with suppress(CoalaError, OSError), only_writer(target, lambda _: None, CoalaError):
            pass


def _open_locked(
    target: Path, path: Path, report: Callable[[str], object], error: type[CoalaError]
) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
        except OSError as fault:
            if fault.errno in HELD:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise error(
                    f"{target}: {holder} is writing it; wait until that has ended, or stop it, "
                    "then run the same command again: it goes on from there"
                ) from None
            report(f"{path}: cannot be locked ({fault.strerror}); let no other run write {target}")
            return descriptor
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # the holder before removed it after it was opened here


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        fields = json.loads(os.read(descriptor, MOST_BYTES))
        return f"process {fields['process']} on host {fields['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has not written it yet
        return "another process"
