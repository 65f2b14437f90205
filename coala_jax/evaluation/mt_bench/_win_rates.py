"""Win rates of pairwise comparison: FastChat's counts, with intervals by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._intervals import Interval, share_interval
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._order_effect import OrderEffect, order_effect
from coala_jax.evaluation.mt_bench._judging import MODEL_1, MODEL_2
from coala_jax.evaluation.mt_bench._judgments import PairJudgment, require_categories
from coala_jax.evaluation.mt_bench._verdicts import ERROR, TIE

WIN, HALF, LOSS = 1.0, 0.5, 0.0


class WinRates(NamedTuple):
    """How one model did against the others; shares are from 0 to 1.

    Attributes:
        model: its name.
        wins: comparisons that it won in both orders.
        ties: those with a tie in the first order, or another winner in each.
        losses: those that it lost in both orders.
        win_rate: share won.
        loss_rate: share lost.
        adjusted: ``win_rate_adjusted``: share won, a tie as half of one.
        turns: adjusted, of each turn.
        categories: adjusted, of each category; empty without the questions.
    """

    model: str
    wins: int
    ties: int
    losses: int
    win_rate: Interval
    loss_rate: Interval
    adjusted: Interval
    turns: Mapping[int, Interval]
    categories: Mapping[str, Interval]


class PairScores(NamedTuple):
    """What comparisons come to.

    Attributes:
        models: the highest adjusted win rate first; without the baseline.
        order: its effect, over all comparisons that count.
        comparisons: how many those are.
        left_out: comparisons with a judgment that names no winner in either order, which FastChat
            leaves out.
    """

    models: list[WinRates]
    order: OrderEffect
    comparisons: int
    left_out: int


def pair_scores(
    judgments: Sequence[PairJudgment],
    categories: Mapping[str, str] | None = None,
    baseline: str | None = None,
) -> PairScores:
    """Win rates of every model (`display_result_pairwise` of show_result.py).

    Args:
        judgments: of one judge, each pair of answers once.
        categories: by question; None gives no win rates of categories.
        baseline: count the comparisons with this model alone, and give it no win rate of its own;
            None counts all.

    Raises:
        EvaluationError: no comparison that counts, or one of a question that has no category.
    """
    require_categories(judgments, categories)
    asked = [each for each in judgments if baseline is None or baseline in each.models]
    if not asked:
        known = ", ".join(dict.fromkeys(name for each in judgments for name in each.models))
        raise EvaluationError(f"baseline={baseline!r}: nothing is compared with it, but {known}")
    decided = [each for each in asked if ERROR not in (each.first, each.second)]
    if not decided:
        raise EvaluationError(
            f"none of {len(asked)} comparisons has a verdict in both orders; read what the judge "
            f"said, first {asked[0].place}"
        )
    models = dict.fromkeys(name for each in decided for name in each.models if name != baseline)
    rates = [_rates(model, decided, categories or {}) for model in models]
    rates.sort(key=lambda each: -each.adjusted.mean)
    return PairScores(rates, _order_effect(decided), len(decided), len(asked) - len(decided))


def _rates(
    model: str, judgments: Sequence[PairJudgment], categories: Mapping[str, str]
) -> WinRates:
    its = [each for each in judgments if model in each.models]
    values = np.array([_outcome(each, model) for each in its])
    questions = [each.question for each in its]

    def adjusted(chosen: Sequence[bool]) -> Interval:
        kept = [question for question, keep in zip(questions, chosen, strict=True) if keep]
        return share_interval(values[np.array(chosen)], kept)

    of_turns = {turn: [each.turn == turn for each in its] for turn in (1, 2)}
    of_categories = {
        name: [categories[question] == name for question in questions]
        for name in dict.fromkeys(categories.values())
    }
    return WinRates(
        model=model,
        wins=int((values == WIN).sum()),
        ties=int((values == HALF).sum()),
        losses=int((values == LOSS).sum()),
        win_rate=share_interval((values == WIN).astype(float), questions),
        loss_rate=share_interval((values == LOSS).astype(float), questions),
        adjusted=share_interval(values, questions),
        turns={turn: adjusted(chosen) for turn, chosen in of_turns.items() if any(chosen)},
        categories={
            name: adjusted(chosen) for name, chosen in of_categories.items() if any(chosen)
        },
    )


def _outcome(judgment: PairJudgment, model: str) -> float:
    """1, 0.5 or 0 for a model: what is not won in both orders by the same one is a tie."""
    if judgment.first == TIE or judgment.first != judgment.second:
        return HALF
    winner = judgment.models[0] if judgment.first == MODEL_1 else judgment.models[1]
    return WIN if winner == model else LOSS


def _order_effect(judgments: Sequence[PairJudgment]) -> OrderEffect:
    # In the first game model 1 is shown first, in the second one model 2.
    first, second = (
        np.array([HALF if winner == TIE else float(winner == shown) for winner in winners])
        for shown, winners in (
            (MODEL_1, [each.first for each in judgments]),
            (MODEL_2, [each.second for each in judgments]),
        )
    )
    return order_effect([each.question for each in judgments], first, second)
