"""Files that are whole or not there, after a kill, a power cut or on a full disk; their hashes."""

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

PARTIAL_SUFFIX = ".partial"
# Errors that room on the disk or in the quota mends.
FULL = (errno.ENOSPC, errno.EDQUOT)


def partial_path(path: Path) -> Path:
    """The name that a file or folder has until it is whole."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def write_files(files: Mapping[Path, Callable[[BinaryIO], object]]) -> None:
    """Write files under temporary names and rename them when the last one is on the disk.

    Args:
        files: what writes each into an open file. They are renamed in this order.

    Raises:
        OSError: one cannot be written; the temporary files are removed.
    """
    try:
        for path, write in files.items():
            with partial_path(path).open("wb") as file:
                write(file)
                # A rename may reach the disk before the bytes do, unless these are sent first.
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            partial_path(path).replace(path)
    except BaseException:
        for path in files:
            partial_path(path).unlink(missing_ok=True)
        raise
    for folder in {path.parent for path in files}:
        sync_folder(folder)


def write_bytes(path: Path, content: bytes) -> None:
    """Write one file as `write_files` does; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_files({path: lambda file: file.write(content)})


def write_text(path: Path, text: str) -> None:
    """Write one file in UTF-8 as `write_files` does; its folder is made."""
    write_bytes(path, text.encode())


def sync_folder(folder: Path) -> None:
    """Send the names in a folder to the disk, so that renames outlast a power cut."""
    if sys.platform == "win32":  # where a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that syncs no folders
            raise
    finally:
        os.close(descriptor)


def full_disk(folder: Path, error: OSError) -> str:
    """What is full: the folder, and where its disk is mounted."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    while not os.path.ismount(place):
        place = place.parent
    return f"{folder}: {error.strerror} (the disk at {place})"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
