"""Files that are whole or not there, after a kill, a power cut or on a full disk."""

import errno
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

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


def save_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write an array in the ``.npy`` format; an error keeps its number."""
    np.lib.format.write_array(_Writer(file), array, allow_pickle=False)


class _Writer:
    """Hides from numpy that a file is one: ``tofile`` reports a full disk without its number."""

    def __init__(self, file: BinaryIO) -> None:
        self.write: Callable[[Any], int] = file.write


def full_disk(folder: Path, error: OSError) -> str:
    """What is full: the folder, and where its disk is mounted."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    while not os.path.ismount(place):
        place = place.parent
    return f"{folder}: {error.strerror} (the disk at {place})"
