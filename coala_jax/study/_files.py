"""What an experiment writes: JSON, a folder of files that belong together, and early checks."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coala_jax._files import partial_path


def valid_json(value: Any) -> Any:
    """The same value with NaN and infinities as None, which JSON can say."""
    if isinstance(value, Mapping):
        return {str(key): valid_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [valid_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any) -> str:
    """Indented JSON with a last line break; NaN becomes null."""
    return json.dumps(valid_json(value), indent=2, allow_nan=False) + "\n"


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
