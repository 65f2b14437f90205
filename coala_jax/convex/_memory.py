"""What a solve of Phase I takes of a device's memory, by formula, and whether the device has it."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.typing import DTypeLike

from coala_jax import _row_blocks
from coala_jax._errors import CoalaError
from coala_jax._row_mesh import parts_of, row_mesh_of
from coala_jax._types import Config, GroupFeatures, PreferenceFeatures, float_dtype
from coala_jax.convex._penalties import DEAREST_PROJECTION

# Of the formula, which is a bound: what is reserved is more than this share of it.
LEAST_SHARE = 0.45
_GIGABYTE = 1e9
# Where Linux says what a container may use, or "max".
_CONTAINER = Path("/sys/fs/cgroup/memory.max")
# Numbers of devices that are looked at.
_POWERS = tuple(1 << power for power in range(1, 14))


def temporary_bytes(rows: int, columns: int, config: Config) -> int:
    """Most bytes that XLA reserves beside arguments and results, on a device with so many rows.

    Args:
        rows: m, responses.
        columns: D = d + 1.
        config: `model`, `n_gates`, `adapt_rows` and `rows` are read.
    """
    gates = config.n_gates
    features = 4 * rows * columns
    if config.rows == "compact":
        features = 3 * min(_row_blocks.BLOCK_NUMBERS, rows * columns)
    if config.model == "gated_relu":
        numbers = features + 10 * gates * rows + 4 * columns**2 + 60 * rows
    else:
        pays = config.adapt_rows and columns**2 <= DEAREST_PROJECTION * rows
        inverses = (6 * gates if pays else 4) * columns**2
        numbers = features + 15 * (2 * gates * rows) + inverses + 60 * rows
    return numbers * float_dtype().itemsize


def memory_needed(
    pairs: int,
    width: int,
    config: Config = Config(),
    dtype: DTypeLike = "float32",
    devices: int = 1,
) -> int:
    """Bytes that Phase I takes at most on each of some devices, features included.

    By the formula of docs/solver.md, Memory; Phase II takes less. Where jax runs on a CPU compact
    rows of 2 bytes a number count twice, since it copies their bits.

    Args:
        pairs: n; of groups half as many as they have members.
        width: d, features of a response.
        config: `model`, `n_gates`, `adapt_rows` and `rows` are read.
        dtype: of the features; whole rows are cast to the solver's.
        devices: over which the rows are split.

    Returns:
        Bytes on each device.

    Raises:
        CoalaError: a number that is not positive, named.

    Example:
        >>> from coala_jax import Config
        >>> from coala_jax.convex import memory_needed
        >>> compact = Config(rows="compact")
        >>> memory_needed(1_000_000, 4096, compact, "bfloat16") < memory_needed(1_000_000, 4096) / 3
        True
    """
    for name, value in (("pairs", pairs), ("width", width), ("devices", devices)):
        if value < 1:
            raise CoalaError(f"{name}={value!r} must be at least 1")
    rows = -(-pairs // devices) * 2
    widest = float_dtype().itemsize
    kept = min(jnp.dtype(dtype).itemsize, widest) if config.rows == "compact" else widest
    copies = 2 if kept == _row_blocks.BIT_BYTES and jax.default_backend() == "cpu" else 1
    return copies * rows * width * kept + temporary_bytes(rows, width + 1, config)


def refuse_what_cannot_fit(features: Any, config: Config) -> None:
    """Raise where a solve is sure not to fit the devices that its rows lie on.

    Nothing is said under a caller's jit, nor where the formula may be above what is reserved: the
    device then says it itself. Several processes decide by the least that one of them has.

    Raises:
        CoalaError: what is needed, what there is, and what would do.
    """
    sides: tuple[jax.Array | np.ndarray, ...]
    if isinstance(features, GroupFeatures):
        sides = (features.responses,)
    elif isinstance(features, PreferenceFeatures):
        sides = (features.chosen, features.rejected)
    else:
        return  # the checks of features say what it is
    if not all(isinstance(side, jax.Array | np.ndarray) for side in sides):
        return
    # Under a jit that closes over features every new array is traced.
    if any(isinstance(each, jax.core.Tracer) for each in (*sides, jnp.zeros(()))):
        return
    if not all(side.size for side in sides):
        return
    width, parts = sides[0].shape[-1], parts_of(row_mesh_of(sides[0]))
    responses = sum(side.size for side in sides) // width
    refuse_rows_that_cannot_fit(responses, width, sides[0].dtype, config, parts, sides[0])


def refuse_rows_that_cannot_fit(
    responses: int,
    width: int,
    dtype: DTypeLike,
    config: Config,
    devices: int,
    side: jax.Array | np.ndarray | None = None,
) -> None:
    """`refuse_what_cannot_fit` of rows that need not be anywhere yet.

    Args:
        responses: of all processes.
        width: d, features of a response.
        dtype: of the features where they lie, which compact rows keep.
        config: of the solve.
        devices: over which rows are split.
        side: some of the rows where they lie on a device already; None for jax's default device.
    """
    pairs, available = -(-responses // 2), _device_bytes(side)

    def needed(devices: int, config: Config, dtype: DTypeLike = dtype) -> int:
        return memory_needed(pairs, width, config, dtype, devices)

    if LEAST_SHARE * needed(devices, config) <= available:
        return
    where = f"{devices} devices" if devices > 1 else "a device"
    compact = dataclasses.replace(config, rows="compact")
    fewer = dataclasses.replace(compact, adapt_rows=False)
    is_narrow = jnp.dtype(dtype).itemsize <= _row_blocks.BIT_BYTES
    narrow, cast = (dtype, "") if is_narrow else ("bfloat16", " with features in bfloat16")
    others: dict[str, tuple[Config, DTypeLike]] = {
        "Config(rows='compact')": (compact, dtype),
        f"Config(rows='compact'){cast}": (compact, narrow),
        f"Config(rows='compact', adapt_rows=False){cast}": (fewer, narrow),
    }
    mends = [
        f"{name} takes {_told(needed(devices, other, kept))}"
        for name, (other, kept) in others.items()
        if other != config and needed(devices, other, kept) <= available
    ]
    doing = [count for count in _POWERS if count > devices and needed(count, config) <= available]
    if doing:
        mends.append(f"rows over {doing[0]} such devices fit (coala_jax.shard_rows)")
    raise CoalaError(
        f"features: {2 * pairs} responses of {width} {jnp.dtype(dtype).name} features, "
        f"Config(rows={config.rows!r}) and {config.n_gates} gates take up "
        f"to {_told(needed(devices, config))} on {where} of {_told(available)}: "
        f"{', '.join(mends) or 'neither compact rows nor more devices do, give fewer gates'}"
    )


def _told(size: float) -> str:
    return f"{size / _GIGABYTE:.3g} GB"


def _device_bytes(side: jax.Array | np.ndarray | None) -> float:
    """What a device of an array may use, the least of all processes; infinite where none says."""
    here = _own_device_bytes(side)
    if jax.process_count() > 1:
        here = float(np.min(multihost_utils.process_allgather(np.asarray(here, np.float32))))
    return here


def _own_device_bytes(side: jax.Array | np.ndarray | None) -> float:
    on = side.addressable_shards[0].device if isinstance(side, jax.Array) else None
    device = on or min(jnp.zeros(()).devices(), key=lambda device: device.id)
    if device.platform != "cpu":
        return float((device.memory_stats() or {}).get("bytes_limit", math.inf))
    # The devices of a process share what the machine, or its container, has.
    known: dict[str, int] = getattr(os, "sysconf_names", {})
    names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
    machine = math.prod(map(os.sysconf, names)) if all(n in known for n in names) else math.inf
    limit = _CONTAINER.read_text().strip() if _CONTAINER.is_file() else ""
    return min(machine, float(limit) if limit.isdecimal() else math.inf) / len(jax.local_devices())
