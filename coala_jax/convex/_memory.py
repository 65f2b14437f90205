"""What a solve of Phase I takes of a device's memory, by formula, and whether the device has it."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax import _row_blocks
from coala_jax._errors import CoalaError
from coala_jax._row_mesh import row_mesh_of
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
    columns, mesh = sides[0].shape[-1] + 1, row_mesh_of(sides[0])
    rows, parts = sum(side.size for side in sides) // (columns - 1), mesh.parts if mesh else 1
    available = _device_bytes(sides[0])
    widest = float_dtype().itemsize

    def needed(parts: int, config: Config, share: float = 1.0) -> float:
        kept = [side.dtype.itemsize if config.rows == "compact" else widest for side in sides]
        held = sum(side.size * min(size, widest) for side, size in zip(sides, kept, strict=True))
        here = temporary_bytes(-(-rows // parts), columns, config)
        return held / parts + share * here

    if available is None or needed(parts, config, LEAST_SHARE) <= available:
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
        f"features: {rows} responses of {columns - 1} features with {config.n_gates} gates take up "
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
