"""What rules reach on unseen prompts that understand nothing: length, and words alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._accuracy import TIE, pairwise_accuracy
from coala_jax._folds import Fold
from coala_jax._intervals import Interval, share_interval
from coala_jax.data import PreferenceRow
from coala_jax.study._vocabulary import (
    HOW_TO_INSTALL,
    can_probe,
    count_words,
    fit_vocabulary_probe,
)

TOO_LITTLE = "too little text: no word is in two training responses"


class Accuracy(NamedTuple):
    """How often a rule picks the chosen response of rows whose keys it was not fitted on.

    Attributes:
        interval: share of rows with its 95 % interval, a tie counts half; None where there is none.
        rows: rows that were held out.
        why_not: why there is no figure.
    """

    interval: Interval | None
    rows: int = 0
    why_not: str = ""


def given_part(keys: Sequence[str], is_held_out: np.ndarray) -> list[Fold]:
    """The part of a split made elsewhere, (n,) booleans, without rows whose key is trained on."""
    trained = {key for key, out in zip(keys, is_held_out, strict=True) if not out}
    test = np.array([key not in trained for key in keys])
    return [Fold(~is_held_out, test)] if test.any() else []


def length_rule(
    chosen: np.ndarray, rejected: np.ndarray, keys: Sequence[str], parts: Sequence[Fold]
) -> Accuracy:
    """Accuracy of preferring the longer response, or the shorter one, as training rows say.

    Args:
        chosen: (n,) lengths.
        rejected: (n,) lengths.
        keys: (n,) what is never split.
        parts: one or more, what to fit on and what to judge.
    """
    longer = pairwise_accuracy(chosen, rejected)

    def judged(part: Fold) -> np.ndarray:
        prefers_longer = longer[part.train].mean() >= TIE
        return longer[part.test] if prefers_longer else 1 - longer[part.test]

    return _accuracy(judged, keys, parts)


def vocabulary_probe(
    rows: Sequence[PreferenceRow], keys: Sequence[str], parts: Sequence[Fold]
) -> Accuracy:
    """Accuracy of a linear probe on TF-IDF of the responses; the prompts are not read.

    Args:
        rows: (n,) rows.
        keys: (n,) what is never split.
        parts: one or more, what to fit on and what to judge.
    """
    if not can_probe():
        return Accuracy(None, why_not=HOW_TO_INSTALL)
    counts = count_words([row.chosen for row in rows] + [row.rejected for row in rows])
    chosen, rejected = counts[: len(rows)], counts[len(rows) :]

    def judged(part: Fold) -> np.ndarray | None:
        probe = fit_vocabulary_probe(chosen[part.train], rejected[part.train])
        if probe is None:
            return None
        return pairwise_accuracy(
            probe.rewards(chosen[part.test]), probe.rewards(rejected[part.test])
        )

    return _accuracy(judged, keys, parts)


def _accuracy(
    judged: Callable[[Fold], np.ndarray | None],
    keys: Sequence[str],
    parts: Sequence[Fold],
) -> Accuracy:
    """Accuracy over the test rows of all parts; no row is in two."""
    correct = np.full(len(keys), np.nan)
    for part in parts:
        values = judged(part)
        if values is None:
            return Accuracy(None, why_not=TOO_LITTLE)
        correct[part.test] = values
    tested = np.isfinite(correct)
    tested_keys = [key for key, is_tested in zip(keys, tested, strict=True) if is_tested]
    return Accuracy(share_interval(correct[tested], tested_keys), int(tested.sum()))
