"""Compiled programs that outlast the process: jax's persistent cache, in a folder of the user."""

from __future__ import annotations

import os
import re
import stat
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import jaxlib

VARIABLE = "COALA_JAX_COMPILE_CACHE"
OFF = ("off", "0", "no", "false")
# Programs of some hundred shapes. jax bounds the bytes of its cache itself (its setting
# `jax_compilation_cache_max_size`) only with the package filelock, by a lock and a write for every
# program that is read, which a read-only folder refuses.
MOST_BYTES = 1 << 29
MOST_FILES = 5000
_FOLDER = "jax_compilation_cache_dir"
# Most of a command's programs are small ones of a few milliseconds each, which jax leaves out by
# default. XLA's own caches, of GPUs, would lie in a subfolder that has no bound.
SETTINGS: dict[str, float | str] = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_enable_xla_caches": "none",
}
# After the first and before the second of these versions, XLA logs two errors for every program
# that a CPU with AVX-512 reads, about "features" that are preferences of its own (openxla/xla,
# issue 44565). Nothing that is set once jax is imported silences them.
_QUIET_UNTIL, _QUIET_FROM = (0, 8, 0), (0, 10, 2)


def keep_compiled_programs(report: Callable[[str], object]) -> None:
    """Read compiled programs from the user's cache folder, and write those that it lacks.

    The folder is the one that `COALA_JAX_COMPILE_CACHE` names, or that of the platform; "off" keeps
    nothing. Where jax has a folder already, by `JAX_COMPILATION_CACHE_DIR` say, that stays. What
    was used least recently is removed beyond `MOST_BYTES` or `MOST_FILES`. Programs are keyed by
    jax: by its version, the device and its features, and all that is compiled.

    Args:
        report: called with a line where the folder cannot be used; programs are compiled then.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if getattr(jax.config, _FOLDER) or named.lower() in OFF:
        return
    if not named and not _reads_quietly():
        return
    try:
        folder = Path(named).expanduser() if named else _platform_folder() / "coala-jax" / "xla"
        _require_own(folder)
        _remove_least_recent(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        report(f"warning: no compiled programs are kept ({error}); {VARIABLE}=off says no to it")
        return
    # A full disk, an entry that another process has not finished: such a program is compiled.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    for name, value in SETTINGS.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    jax.config.update(_FOLDER, str(folder))


def _reads_quietly() -> bool:
    version = tuple(int(part) for part in re.findall(r"\d+", jaxlib.__version__)[:3])
    return version <= _QUIET_UNTIL or version >= _QUIET_FROM


def _platform_folder() -> Path:
    """Where the platform keeps what programs can make again."""
    given = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the XDG specification ignores others
        return Path(given)
    if sys.platform == "win32":
        return Path.home() / "AppData" / "Local"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _require_own(folder: Path) -> None:
    """Make the folder, for its user alone: whoever writes there runs code here.

    Raises:
        OSError: it cannot be made, or others may write there.
    """
    if not folder.is_absolute():
        raise OSError(f"{VARIABLE}={folder}: neither off nor an absolute path")
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if sys.platform == "win32":  # where modes say nothing; the profile is the user's
        return
    status = folder.stat()
    if status.st_uid not in (os.geteuid(), 0):
        raise OSError(f"{folder}: it belongs to another user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError(f"{folder}: others may write there; chmod 700 it")


def _remove_least_recent(folder: Path) -> None:
    """Remove files beyond the bounds, those first that were read or written longest ago."""
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # another process removes some too
                continue
            if stat.S_ISREG(status.st_mode):
                used = max(status.st_atime, status.st_mtime)
                files.append((used, status.st_size, entry.path))
    total = 0
    for place, (_, size, path) in enumerate(sorted(files, reverse=True)):
        total += size
        if total > MOST_BYTES or place >= MOST_FILES:
            Path(path).unlink(missing_ok=True)
