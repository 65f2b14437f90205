"""All figures of one model, from its annotations and the user's files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coala_jax.evaluation._bootstrap import DRAWS
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.alpaca_eval._annotations import Annotations
from coala_jax.evaluation.alpaca_eval._length_controlled import (
    LengthControlled,
    comparison_of,
    length_adjusted,
    length_controlled,
    of_the_baseline,
)
from coala_jax.evaluation.alpaca_eval._length_data import LengthData
from coala_jax.evaluation.alpaca_eval._outputs import Question
from coala_jax.evaluation.alpaca_eval._win_rate import WinRate, win_rate


class Score(NamedTuple):
    """The figures of one model.

    Attributes:
        annotations: that they are of.
        of_set: instructions in the set; None where the set is not known.
        won: the win rate.
        length_controlled: the leaderboard's; None without the rows of the gamed baselines.
        length_adjusted: a rate of our own in its place, not comparable with the leaderboard's; None
            where the other is there, or where it cannot be had.
        reason: why it cannot.
        lengths: mean characters of the baseline's answers and of the model's.
    """

    annotations: Annotations
    of_set: int | None
    won: WinRate
    length_controlled: LengthControlled | None
    length_adjusted: LengthControlled | None
    reason: str | None
    lengths: tuple[float, float]


def score(
    annotations: Annotations,
    questions: Sequence[Question] | None = None,
    data: LengthData | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Score:
    """Win rate, and the win rate at equal lengths.

    Args:
        annotations: of a model.
        questions: (n,) of the set in its order; None where it is not known.
        data: difficulties of these and rows of the gamed baselines; without it there is no
            length-controlled win rate, and one adjusted by the model's own rows takes its place.
        draws: of intervals by resampling.
        seed: of the draws.

    Raises:
        EvaluationError: no preference that could be read, data without questions, a regression
            that cannot be made of what was given, or scikit-learn is missing.
    """
    if data is not None and questions is None:
        raise EvaluationError("questions: not given, so difficulties belong to no instruction")
    won = win_rate(annotations.preferences())
    controlled = adjusted = reason = None
    if annotations.baseline == annotations.model:
        controlled = of_the_baseline()
    elif questions is not None and data is not None:
        comparison = comparison_of(annotations, questions, data.difficulty)
        controlled = length_controlled(comparison, data, draws=draws, seed=seed)
    else:
        own = [row.pair.question for row in annotations.rows] if questions is None else questions
        comparison = comparison_of(annotations, own, np.zeros(len(own)))
        try:
            adjusted = length_adjusted(comparison, draws=draws, seed=seed)
        except EvaluationError as fault:  # which was not asked for, and takes nothing else away
            reason = str(fault)
    lengths = annotations.lengths().mean(axis=0)
    return Score(
        annotations,
        None if questions is None else len(questions),
        won,
        controlled,
        adjusted,
        reason,
        (float(lengths[0]), float(lengths[1])),
    )
