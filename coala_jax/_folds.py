"""Folds of rows that belong together: every row is judged once by what has not seen its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FOLDS = 5


class Fold(NamedTuple):
    """Rows to fit on and rows to judge: (n,) booleans each, no key in both."""

    train: np.ndarray
    test: np.ndarray


def fold_parts(keys: Sequence[str], seed: int) -> list[Fold]:
    """Folds of rows by their (n,) keys, so that every row is judged once; none of a single key."""
    fold = folds_of(keys, FOLDS, seed)
    return [Fold(fold != number, fold == number) for number in range(fold.max() + 1) if fold.max()]


def folds_of(keys: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """(n,) fold of every row from 0, equal for equal keys; as many keys in each as can be.

    Fewer keys than folds give a fold each.
    """
    names = sorted(set(keys))
    order = np.random.default_rng(seed).permutation(len(names))
    fold = {names[index]: place % folds for place, index in enumerate(order)}
    return np.array([fold[key] for key in keys])
