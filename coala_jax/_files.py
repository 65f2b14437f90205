"""Files that are whole or not there, after a kill, a power cut or on a full disk; their hashes."""

import errno
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

PARTIAL_SUFFIX = ".partial"
# Errors that room on the disk or in the quota mends.
FULL = (errno.ENOSPC, errno.EDQUOT)


def partial_path(path: Path) -> Path:
    """The name that a file or folder has until it is whole."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def write_files(files: Mapping[Path, bytes | Callable[[BinaryIO], object]]) -> None:
    """Write files under temporary names and rename them when the last one is on the disk.

    Args:
        files: the bytes of each, or what writes them into an open file. They are renamed in this
            order; their folders are made.

    Raises:
        OSError: one cannot be written; the temporary files are removed.
    """
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial_path(path).open("wb") as file:
                file.write(content) if isinstance(content, bytes) else content(file)
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


def write_text(path: Path, text: str) -> None:
    """Write one file in UTF-8 as `write_files` does."""
    write_files({path: text.encode()})


def write_folder(folder: Path, names: tuple[str, ...], fill: Callable[[Path], None]) -> list[Path]:
    """Fill a folder beside the wanted one, then move its files there.

    Args:
        folder: made if missing. Of what it holds, ``names`` alone is replaced.
        names: the files that belong together; one that ``fill`` leaves out is removed, so that
            files of two runs never stand side by side.
        fill: writes files into the folder it is given.

    Returns:
        The files that were written.
    """
    folder = folder.absolute()  # `.` has no name to put a suffix to
    partial = partial_path(folder)
    if partial.exists():  # of a run that was killed
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    try:
        fill(partial)
        folder.mkdir(exist_ok=True)
        for name in names:
            if (partial / name).exists():
                os.replace(partial / name, folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [folder / name for name in names if (folder / name).exists()]


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


def require_writable(path: Path, *, folder: bool, option: str = "--out") -> None:
    """Raise where an output cannot be made, before any long work.

    Args:
        path: what will be written.
        folder: whether it will be a folder.
        option: that named it.

    Raises:
        OSError: names the path in the way.
    """
    # os.path, not Path: a folder that may not be entered counts as missing and raises nothing.
    if os.path.exists(path) and os.path.isdir(path) != folder:
        kind = "a file" if folder else "a folder"
        raise FileExistsError(f"{path}: {kind} is in the way; give another {option}")
    nearest = path.absolute().parent  # what is written stands beside the output first
    while not os.path.exists(nearest):
        nearest = nearest.parent
    if not os.path.isdir(nearest):
        raise NotADirectoryError(f"{path}: {nearest} is a file; give another {option}")
    for place in (nearest, path) if os.path.isdir(path) else (nearest,):
        _require_room(path, place, option)


def _require_room(path: Path, place: Path, option: str) -> None:
    """Raise where no file can be made in a folder; permissions alone do not tell, as in /proc."""
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise PermissionError(
            f"{path}: no file can be made in {place} ({error.strerror}); give another {option}"
        ) from error
