"""What the rewards of one prompt's answers are worth, as RewardBench 1 and 2 count it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coala_jax.evaluation.reward_bench._rows import (
    REF,
    TIED,
    BenchRow,
    require_paired_ties,
    ties_number,
)

# Of the score of Ties, in the order of `TiesTerms`; `process_single_model` of rewardbench/utils.py.
TIES_WEIGHTS = (0.30, 0.30, 0.20, 0.20, 0.01)


class TiesTerms(NamedTuple):
    """The terms of the score of Ties: means over questions.

    With the gap, worst right answer minus best wrong one, and the spread, best right answer minus
    worst right one:

    Attributes:
        tied_accuracy: the gap is above 0 where several answers are right.
        ref_accuracy: it is where one is.
        preferred: the gap of the tied row is above its spread.
        preferred_hard: the smaller of both rows' gaps is above the spread.
        margin: tanh(smaller gap / spread - 1), 0 where both are 0.
    """

    tied_accuracy: float
    ref_accuracy: float
    preferred: float
    preferred_hard: float
    margin: float

    @property
    def score(self) -> float:
        """Their weighted sum, from -0.01 to 1.01."""
        return sum(weight * term for weight, term in zip(TIES_WEIGHTS, self, strict=True))


def pair_credit(scores: Sequence[float]) -> float:
    """1 where the chosen answer has the higher reward, else 0: a tie counts as wrong.

    ``scripts/run_rm.py`` of allenai/reward-bench.
    """
    chosen, rejected = scores
    return float(chosen > rejected)


def best_of_credit(scores: Sequence[float]) -> float:
    """1 over the number of highest rewards where the first answer has one of them, else 0.

    ``reroll_and_score_dataset`` of rewardbench/utils.py.
    """
    highest = max(scores)
    return 1 / list(scores).count(highest) if scores[0] == highest else 0.0


def is_tied(row: BenchRow, scores: Sequence[float]) -> bool:
    """Whether rewards leave open if a right answer is best: one of them equals the best wrong."""
    return max(scores[: row.correct]) == max(scores[row.correct :])


def ties_table(
    rows: Sequence[BenchRow], scores: Sequence[Sequence[float]]
) -> tuple[list[str], np.ndarray]:
    """The terms of the score of Ties by question.

    Args:
        rows: of the subset.
        scores: of each row's answers, the right ones first.

    Returns:
        The numbers of the questions, and a (questions, 5) table of `TiesTerms`, NaN where a
        question lacks the row that a term needs.

    Raises:
        EvaluationError: no question has both its rows.
    """
    require_paired_ties(rows)
    gaps: dict[str, dict[str, float]] = {REF: {}, TIED: {}}
    spreads: dict[str, float] = {}
    for row, own in zip(rows, scores, strict=True):
        kind, number = ties_number(row)
        right, wrong = own[: row.correct], own[row.correct :]
        gaps[kind][number] = min(right) - max(wrong)
        if kind == TIED:
            spreads[number] = max(right) - min(right)
    numbers = list(dict.fromkeys((*gaps[TIED], *gaps[REF])))
    tied, ref, spread = (
        np.array([found.get(number, np.nan) for number in numbers])
        for found in (gaps[TIED], gaps[REF], spreads)
    )
    both = np.minimum(tied, ref)  # NaN where either is
    # A gap of 0 over a spread of 0 is undefined, and counts as 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.tanh(np.nan_to_num(both / spread, nan=1.0, posinf=np.inf, neginf=-np.inf) - 1)
    terms = [
        np.where(np.isnan(needed), np.nan, term)
        for needed, term in (
            (tied, tied > 0),
            (ref, ref > 0),
            (both, tied > spread),
            (both, both > spread),
            (both, margin),
        )
    ]
    return numbers, np.stack(terms, axis=1)


def ties_terms(rows: Sequence[BenchRow], scores: Sequence[Sequence[float]]) -> TiesTerms:
    """The terms of the score of Ties; a term is the mean of the questions that have its rows."""
    means = np.nanmean(ties_table(rows, scores)[1], axis=0)
    return TiesTerms(*map(float, means))
