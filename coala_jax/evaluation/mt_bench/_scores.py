"""Scores of single-answer grading: FastChat's means, with intervals by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._intervals import Interval, cluster_interval
from coala_jax.evaluation.mt_bench._judgments import SingleJudgment, require_categories
from coala_jax.evaluation.mt_bench._verdicts import NO_SCORE

LOWEST, HIGHEST = 1, 10


class ModelScores(NamedTuple):
    """Scores of one model, from 1 to 10; None where no judgment gives one.

    Attributes:
        model: its name.
        both: the mean over all grades, those of first and second turns alike.
        turns: of each turn.
        categories: of each category, over both turns; empty without the questions.
        questions: how many have a grade.
        judgments: rows about it.
        unreadable: those that give no grade; left out, as FastChat does.
        failed: those for which the judge could not be reached; left out too.
        outside: grades below 1 or above 10, which count as they are, as with FastChat.
    """

    model: str
    both: Interval | None
    turns: Mapping[int, Interval | None]
    categories: Mapping[str, Interval | None]
    questions: int
    judgments: int
    unreadable: int
    failed: int
    outside: int


def model_scores(
    judgments: Sequence[SingleJudgment], categories: Mapping[str, str] | None = None
) -> list[ModelScores]:
    """Scores of every model, the highest first (`display_result_single` of show_result.py).

    Both turns of a question depend on each other: intervals treat them as one cluster.

    Args:
        judgments: of one judge, each answer once.
        categories: by question; None gives no scores of categories.

    Raises:
        EvaluationError: a judgment of a question that has no category.
    """
    require_categories(judgments, categories)
    models = list(dict.fromkeys(each.model for each in judgments))
    scores = [
        _scores(model, [each for each in judgments if each.model == model], categories or {})
        for model in models
    ]
    return sorted(scores, key=lambda each: -(each.both.mean if each.both else NO_SCORE))


def _scores(
    model: str, judgments: Sequence[SingleJudgment], categories: Mapping[str, str]
) -> ModelScores:
    graded = [each for each in judgments if each.score != NO_SCORE]
    turns = sorted({each.turn for each in judgments})
    failed = sum(each.failed for each in judgments)
    return ModelScores(
        model=model,
        both=_mean(graded),
        turns={turn: _mean([each for each in graded if each.turn == turn]) for turn in turns},
        categories={
            category: _mean([each for each in graded if categories[each.question] == category])
            for category in dict.fromkeys(categories.values())
        },
        questions=len({each.question for each in graded}),
        judgments=len(judgments),
        unreadable=len(judgments) - len(graded) - failed,
        failed=failed,
        outside=sum(not LOWEST <= each.score <= HIGHEST for each in graded),
    )


def _mean(judgments: Sequence[SingleJudgment]) -> Interval | None:
    if not judgments:
        return None
    values = np.array([each.score for each in judgments], np.float64)
    lowest, highest = min(LOWEST, values.min()), max(HIGHEST, values.max())
    interval = cluster_interval(values, [each.question for each in judgments])
    return interval.within(float(lowest), float(highest))
