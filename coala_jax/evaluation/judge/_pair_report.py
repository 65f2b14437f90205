"""What a judge's comparisons say of two systems, and of the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from coala_jax._intervals import UNKNOWN, Interval, share_interval
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._order_effect import order_warnings
from coala_jax.evaluation.judge._pairwise import Judged, PairOutcome


class PairReport(NamedTuple):
    """Of the first system against the second; intervals of 95 % over questions.

    A question's score is the mean of both orders, so a judge that only looks at the place gives
    1/2. Questions of which one order could not be read are left out whole: with the one that could
    they would carry the judge's liking for a place.

    Attributes:
        win_rate: mean score of the questions, ties half.
        discordant_as_ties: the same by FastChat's rule: a question is won where both orders say so,
            and a tie where they differ.
        wins: questions that FastChat's rule gives to the first system; ``ties`` and ``losses``
            likewise.
        ties: see ``wins``.
        losses: see ``wins``.
        counted: questions in the rates.
        left_out: questions of which a reply could not be read.
        equal_answers: questions with two equal answers, ties that nobody was asked about.
        consistent: share of questions asked about on which both orders agree (who is better, or
            that neither is).
        first_place: share of verdicts for the answer shown first, ties half; 1/2 is no bias.
        characters: mean length of both systems' answers.
        longer_wins: the first system's win rate were the longer answer always the better.
        prefers_longer: how often the judge is for the longer of two answers, ties half.
        from_text: verdicts wanted from log probabilities that were read from the text.
    """

    win_rate: Interval
    discordant_as_ties: Interval
    wins: int
    ties: int
    losses: int
    counted: int
    left_out: int
    equal_answers: int
    consistent: Interval
    first_place: Interval
    characters: tuple[float, float]
    longer_wins: float
    prefers_longer: Interval
    from_text: int

    def account(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            name: value._asdict() if isinstance(value, Interval) else value
            for name, value in self._asdict().items()
        }


def pair_report(judged: Judged) -> PairReport:
    """The report of what `judge_pairs` gave.

    Raises:
        EvaluationError: no question counts.
    """
    counted = [outcome for outcome in judged.outcomes if outcome.scores is not None]
    if not counted:
        raise EvaluationError(
            f"none of {len(judged.outcomes)} questions has two replies that can be read, one in "
            "each order; run the same command again, or take another judge"
        )
    asked = [outcome for outcome in counted if outcome.replies]
    unequal = [each for each in counted if each.characters[0] != each.characters[1]]
    by_rule = np.array([_by_fastchat(outcome) for outcome in counted])
    wins, losses = int((by_rule == 1).sum()), int((by_rule == 0).sum())
    longer = [(np.sign(each.characters[0] - each.characters[1]) + 1) / 2 for each in counted]
    return PairReport(
        win_rate=_share(counted, _mean_score),
        discordant_as_ties=_share(counted, _by_fastchat),
        wins=wins,
        ties=len(counted) - wins - losses,
        losses=losses,
        counted=len(counted),
        left_out=len(judged.outcomes) - len(counted),
        equal_answers=len(counted) - len(asked),
        consistent=_share(asked, _agrees),
        first_place=_share(asked, _for_first_place),
        characters=(
            float(np.mean([each.characters[0] for each in counted])),
            float(np.mean([each.characters[1] for each in counted])),
        ),
        longer_wins=float(np.mean(longer)),
        prefers_longer=_share([each for each in unequal if each.replies], _for_longer),
        from_text=sum(v.from_text for each in judged.outcomes for v in each.verdicts),
    )


def pair_warnings(report: PairReport) -> list[str]:
    """What a reader of the win rate must know of the judge."""
    notes = []
    if report.equal_answers == report.counted:
        notes.append("all answers are equal: nobody was asked")
    elif report.wins == report.losses == 0:
        notes.append(
            "no question was won by either system in both orders: this judge does not tell them "
            "apart, and the interval says nothing"
        )
    notes += order_warnings(report.consistent.mean)
    if report.left_out:
        notes.append(
            f"{report.left_out:,} questions are left out: a reply to each of them is missing or "
            "cannot be read"
        )
    if report.from_text:
        notes.append(
            f"{report.from_text:,} verdicts were read from the text, as 1 or 0: the endpoint gave "
            "no log probabilities"
        )
    return notes


def _share(outcomes: Sequence[PairOutcome], value: Callable[[PairOutcome], float]) -> Interval:
    if not outcomes:
        return UNKNOWN
    values = np.array([value(outcome) for outcome in outcomes])
    return share_interval(values, [outcome.question for outcome in outcomes])


def _scores(outcome: PairOutcome) -> tuple[float, float]:
    assert outcome.scores is not None
    return outcome.scores


def _mean_score(outcome: PairOutcome) -> float:
    return sum(_scores(outcome)) / 2


def _winner(score: float) -> int:
    """1 for the first system, -1 for the second, 0 for neither."""
    return (score > 0.5) - (score < 0.5)


def _by_fastchat(outcome: PairOutcome) -> float:
    """1, 0 or 1/2 (fastchat/llm_judge/show_result.py)."""
    one, other = map(_winner, _scores(outcome))
    return (one + 1) / 2 if one == other else 0.5


def _agrees(outcome: PairOutcome) -> float:
    one, other = map(_winner, _scores(outcome))
    return float(one == other)


def _for_first_place(outcome: PairOutcome) -> float:
    shown_first, shown_second = _scores(outcome)
    return (shown_first + 1 - shown_second) / 2


def _for_longer(outcome: PairOutcome) -> float:
    score = _mean_score(outcome)
    return score if outcome.characters[0] > outcome.characters[1] else 1 - score
