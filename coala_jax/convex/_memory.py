"""What a solve of Phase I takes of a device's memory, by formula, and whether the device has it."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from coala_jax import _row_blocks
from coala_jax._errors import CoalaError
from coala_jax._row_mesh import parts_of, row_mesh_of
from coala_jax._types import Config, GroupFeatures, PreferenceFeatures, float_dtype

# Of the formula, which is a bound: what is reserved is more than this share of it.
LEAST_SHARE = 0.45
# Widest D^2 over m at which row penalties pay, with some room (`_penalties._DEAREST_UPDATE`).
_WIDEST = 100
_GIGABYTE = 1e9
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
        pays = config.adapt_rows and columns**2 <= _WIDEST * rows
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

    By the formula of docs/solver.md, Memory; Phase II takes less.

    Args:
        pairs: n; of groups half as many as they have members.
        width: d, features of a response.
        config: `model`, `n_gates`, `adapt_rows` and `rows` are read.
        dtype: of the features; whole rows are cast to the solver's.
        devices: over which the rows are split.

    Raises:
        CoalaError: a number that is not positive, named.

    Example:
        >>> from coala_jax import Config
        >>> from coala_jax.convex import memory_needed
        >>> compact = Config(rows="compact")
        >>> memory_needed(1_000_000, 4096, compact, "bfloat16") < memory_needed(1_000_000, 4096) / 5
        True
    """
    for name, value in (("pairs", pairs), ("width", width), ("devices", devices)):
        if value < 1:
            raise CoalaError(f"{name}={value!r} must be at least 1")
    rows = -(-pairs // devices) * 2
    widest = float_dtype().itemsize
    kept = min(jnp.dtype(dtype).itemsize, widest) if config.rows == "compact" else widest
    return rows * width * kept + temporary_bytes(rows, width + 1, config)


def require_memory(features: Any, config: Config) -> None:
    """Raise where a solve cannot fit the devices that its rows lie on.

    Nothing is said under a caller's jit, nor where the formula may be above what is reserved: the
    device then says it itself.

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
    if any(isinstance(side, jax.core.Tracer) or not side.size for side in sides):
        return
    width, parts = sides[0].shape[-1], parts_of(row_mesh_of(sides[0]))
    rows, dtype = sum(side.size for side in sides) // width, sides[0].dtype
    available = _device_bytes(sides[0])

    def needed(parts: int, config: Config) -> int:
        return memory_needed(-(-rows // 2), width, config, dtype, parts)

    if available is None or LEAST_SHARE * needed(parts, config) <= available:
        return
    where = f"{parts} devices" if parts > 1 else "a device"
    compact = dataclasses.replace(config, rows="compact")
    mends = [
        f"{name} {_told(needed(parts, other))}"
        for name, other in (
            ("Config(rows='compact') takes", compact),
            ("with adapt_rows=False too", dataclasses.replace(compact, adapt_rows=False)),
        )
        if other != config
    ]
    doing = [count for count in _POWERS if count > parts and needed(count, config) <= available]
    if doing:
        mends.append(f"rows over {doing[0]} such devices fit (coala_jax.shard_rows)")
    raise CoalaError(
        f"features: {rows} responses of {width} features with {config.n_gates} gates take up "
        f"to {_told(needed(parts, config))} on {where} of {_told(available)}: {', '.join(mends)}"
    )


def _told(size: float) -> str:
    return f"{size / _GIGABYTE:.3g} GB"


def _device_bytes(side: jax.Array | np.ndarray) -> float | None:
    """What one of the devices of an array may use; None where it does not say."""
    devices = side.devices() if isinstance(side, jax.Array) else jnp.zeros(()).devices()
    device = min(devices, key=lambda device: device.id)
    if device.platform == "cpu":
        # The devices of a process share what the machine has.
        names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
        if any(name not in os.sysconf_names for name in names):
            return None
        return math.prod(os.sysconf(name) for name in names) / len(jax.local_devices())
    if device.process_index != jax.process_index():
        return None
    stats = device.memory_stats() or {}
    return stats.get("bytes_limit")
