"""Pairs are held out by their keys, and both parts are large enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coala_jax.data._split import eval_mask
from coala_jax.features import FeatureError
from coala_jax.study._pair_set import PairSet

# Standardisation needs a spread: `solve` takes no fewer, and neither part of a split may have less.
FEWEST_PAIRS = 2


def hold_out(pairs: PairSet, eval_fraction: float, seed: int) -> np.ndarray:
    """(n,) booleans, true for held-out pairs; rows with the same key stay together.

    Raises:
        FeatureError: a part would have fewer than two pairs.
        DataError: ``eval_fraction`` out of range.
    """
    held_out = eval_mask(pairs.keys, eval_fraction, seed)
    require_two_parts(pairs, held_out)
    return held_out


def require_two_parts(pairs: PairSet, held_out: np.ndarray) -> None:
    """Raise where a split leaves a part too small, or a key in both.

    Raises:
        FeatureError: names the parts and the kind of key.
    """
    parts = {"training": ~held_out, "held-out": held_out}
    counts = {name: pairs.pair_count(rows) for name, rows in parts.items()}
    if min(counts.values()) < FEWEST_PAIRS:
        keys = len(set(pairs.keys))
        mend = (
            f"give pairs of more {pairs.split_by}s, or another --eval-fraction or --seed, since "
            "each is drawn by itself"
        )
        if keys == 1:
            mend = f"all share one {pairs.split_by}, which is never split: give pairs of others"
        raise FeatureError(
            f"{pairs.source}: split by {pairs.split_by} ({keys} of them), its "
            f"{pairs.pair_count()} pairs give {counts['training']} for training and "
            f"{counts['held-out']} held out; each part needs {FEWEST_PAIRS}: {mend}"
        )
    for part, rows in parts.items():
        if pairs.weight is not None and not np.any(pairs.weight[rows]):
            raise FeatureError(
                f"{pairs.source}: all {part} pairs have weight 0; give another --eval-fraction or "
                "--seed, or weights above 0"
            )
    if shared := shared_keys(pairs.keys, held_out):
        raise FeatureError(
            f"{pairs.source}: {len(shared)} {pairs.split_by} keys are on both sides of the split, "
            f"such as {min(shared)!r}"
        )


def shared_keys(keys: Sequence[str], held_out: np.ndarray) -> set[str]:
    """Of (n,) keys those that stand on both sides of a split."""
    marked = list(zip(keys, held_out.tolist(), strict=True))
    return {key for key, out in marked if out} & {key for key, out in marked if not out}
