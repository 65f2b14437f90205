"""Stores of random features without a backbone: whole, and in the parts that processes make."""

from pathlib import Path

import numpy as np

from coala_jax.features import FeatureIdentity
from coala_jax.features._join import Part, part_path, part_settings
from coala_jax.features._shard import RowRecord, Shard
from coala_jax.features._store import write_store

SHARD_ROWS = 16
IDENTITY = FeatureIdentity(*(f"{name} of it" for name in FeatureIdentity._fields))


def write_stores(
    folder: Path,
    rows: list[RowRecord],
    chosen,
    rejected,
    parts: int = 0,
    shard_rows: int = SHARD_ROWS,
) -> Path:
    """``folder / "store"`` of some rows, or that many parts of it, and no store."""
    store = folder / "store"
    numbers = range(0, len(rows), shard_rows)
    shards = [range(first, min(first + shard_rows, len(rows))) for first in numbers]
    settings = {
        "identity": IDENTITY._asdict(),
        "rows": len(rows),
        "width": chosen.shape[1],
        "dtype": chosen.dtype.name,
        "shard_rows": shard_rows,
        "refused": {"empty": 3},
    }

    def shard(own):
        return Shard(
            chosen[list(own)],
            rejected[list(own)],
            [rows[row] for row in own],
            {"prompt": 0, "response": 1},
            {"given": 10, "distinct": 10, "run": 10},
            100,
            [(1, 8)],
            64,
        )

    if not parts:
        write_store(store, settings, lambda number, _: shard(shards[number]), len(shards))
    for number in range(parts):
        part = Part(number, parts)
        own = part.own(shards)
        write_store(
            part_path(store, part),
            part_settings(settings, part, own),
            lambda at, _, own=own: shard(own[at]),
            len(own),
        )
    return store


def draw_rows(count: int, width: int, seed: int = 0):
    """Rows with prompts of two each, margins and lengths, and their features."""
    rng = np.random.default_rng(seed)
    rows = [
        RowRecord(
            f"row {row}",
            f"{row // 2:064x}",
            margin=round(float(rng.uniform(0, 0.3)), 3),
            chosen_chars=int(rng.integers(10, 90)),
            rejected_chars=int(rng.integers(10, 90)),
        )
        for row in range(count)
    ]
    chosen, rejected = rng.standard_normal((2, count, width)).astype(np.float32)
    return rows, chosen + np.float32(0.6), rejected


def draw_group_rows(groups: int, width: int, seed: int = 0):
    """Rows of groups of three, the best against each of the others."""
    rng = np.random.default_rng(seed)
    rows, chosen, rejected = [], [], []
    for group in range(groups):
        best = rng.standard_normal(width) + 1
        for other in (1, 2):
            rows.append(RowRecord(f"g{group}/0>{other}", f"{group:064x}", margin=float(other)))
            chosen.append(best)
            rejected.append(rng.standard_normal(width))
    return rows, np.float32(chosen), np.float32(rejected)
