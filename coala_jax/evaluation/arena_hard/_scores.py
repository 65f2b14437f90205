"""Win rates of Arena-Hard: the published number, the published interval, and one that holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._intervals import Interval, share_interval
from coala_jax.evaluation._bootstrap import DRAWS
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._order_effect import OrderEffect, order_effect, order_warnings
from coala_jax.evaluation.arena_hard._games import VERDICTS
from coala_jax.evaluation.arena_hard._judgments import Battles, Judgment, Scoring, battles_of
from coala_jax.evaluation.arena_hard._style import Style

# Between which quantiles the script of a version prints an interval.
PUBLISHED_LEVEL: Mapping[Scoring, float] = {"v2.0": 0.90, "v0.1": 0.95}
ELO_SCALE, ELO_BASELINE = 400.0, 1000.0


class Lengths(NamedTuple):
    """Lengths of judged answers, beside the win rate that they may explain.

    Attributes:
        model: mean tokens.
        baseline: mean tokens of the baseline's answers to the same questions.
        longer: share of questions with the longer answer by the model; as long is half.
    """

    model: float
    baseline: float
    longer: float


class ModelScore(NamedTuple):
    """How a model did against the baseline, in one category.

    Attributes:
        model: its name.
        questions: that have a game which counts.
        games: that count, each once.
        null: games without a label.
        win_rate: with a 95 % interval, Wilson's, clustered by question.
        published: the interval as the benchmark's script makes it, of resampled games.
        elo: v0.1's scale: 400 to a factor 10 in odds, the baseline at 1000; None of other scoring.
        order: its effect on the judges, over questions with both labels.
        lengths: None where the answers were not given.
    """

    model: str
    questions: int
    games: int
    null: int
    win_rate: Interval
    published: Interval
    elo: float | None
    order: OrderEffect
    lengths: Lengths | None = None


def score_models(
    rows: Sequence[Judgment],
    *,
    scoring: Scoring = "v2.0",
    styles: Mapping[str, Mapping[str, Style]] | None = None,
    seed: int = 0,
) -> list[ModelScore]:
    """Every model of one category, the best first.

    Args:
        rows: judgments of one category, against one baseline.
        scoring: which games count, and the quantiles of the published interval.
        styles: of answers, by system and uid, for lengths; systems may be missing.
        seed: of the resampling for the published interval.

    Raises:
        EvaluationError: no game counts.
    """
    battles = battles_of(rows, scoring)
    by_model: dict[str, list[Judgment]] = {model: [] for model in battles.model}
    for row in rows:
        if row.model in by_model:
            by_model[row.model].append(row)
    scores = [
        _score(mine, battles.of(model), scoring, styles, seed) for model, mine in by_model.items()
    ]
    return sorted(scores, key=lambda score: -score.win_rate.mean)


def published_interval(battles: Battles, level: float, seed: int = 0) -> Interval:
    """The interval of the benchmark's scripts: percentiles over resampled games.

    A game that counts three times is three games there, and each game of a question is drawn apart
    from the other: it is narrower than what it says it covers. Where the scripts make 100 draws
    without a seed, these are 1000 with one.

    Args:
        battles: of one model.
        level: between its quantiles.
        seed: of the draws.
    """
    outcomes = np.unique(battles.win)
    counts = np.array([battles.weight[battles.win == outcome].sum() for outcome in outcomes])
    total = counts.sum()
    drawn = np.random.default_rng(seed).multinomial(int(total), counts / total, size=DRAWS)
    low, high = np.quantile(drawn @ outcomes / total, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(counts @ outcomes / total), float(low), float(high))


def elo_of(win_rate: float) -> float:
    """The Elo of v0.1: with one baseline, its logistic regression gives the logit of the win rate.

    Source: ``compute_mle_elo`` of utils_math.py of lmarena/arena-hard-auto at 0489bf3.

    Args:
        win_rate: of the games, weighted as they count.

    Returns:
        Infinite where all are won or lost.
    """
    with np.errstate(divide="ignore"):
        return float(ELO_BASELINE + ELO_SCALE * (np.log10(win_rate) - np.log10(1 - win_rate)))


def order_effect_of(rows: Sequence[Judgment]) -> OrderEffect:
    """What the order of the answers does, over questions with both labels."""
    whole = [row for row in rows if not row.null]
    won_by_a = [VERDICTS[label][0] for row in whole for label in row.labels if label is not None]
    first, second = np.array(won_by_a).reshape(-1, 2).T
    return order_effect([row.uid for row in whole], first, second)


def lengths_of(
    uids: Sequence[str], model: Mapping[str, Style], baseline: Mapping[str, Style]
) -> Lengths:
    """Lengths of the answers to some questions.

    Raises:
        EvaluationError: one of them has no answer.
    """
    mine, theirs = (
        np.array([style_at(styles, uid).tokens for uid in uids], float)
        for styles in (model, baseline)
    )
    longer = np.where(mine == theirs, 0.5, mine > theirs)
    return Lengths(float(mine.mean()), float(theirs.mean()), float(longer.mean()))


def style_at(styles: Mapping[str, Style], uid: str) -> Style:
    """The style of the answer to a question.

    Raises:
        EvaluationError: there is none.
    """
    if uid not in styles:
        raise EvaluationError(f"question {uid} is judged and has no answer; give the whole file")
    return styles[uid]


def _score(
    rows: Sequence[Judgment],
    battles: Battles,
    scoring: Scoring,
    styles: Mapping[str, Mapping[str, Style]] | None,
    seed: int,
) -> ModelScore:
    model, uids = rows[0].model, list(dict.fromkeys(battles.uid))
    win_rate = share_interval(battles.win, battles.uid.tolist(), battles.weight)
    lengths = None
    if styles is not None and {model, battles.baseline} <= set(styles):
        lengths = lengths_of(uids, styles[model], styles[battles.baseline])
    return ModelScore(
        model,
        len(uids),
        len(battles.win),
        sum(row.null for row in rows),
        win_rate,
        published_interval(battles, PUBLISHED_LEVEL[scoring], seed),
        elo_of(win_rate.mean) if scoring == "v0.1" else None,
        order_effect_of(rows),
        lengths,
    )


def place_notes(category: str, scores: Iterable[ModelScore]) -> list[str]:
    """Notes of models whose judge mostly sees which answer stands first.

    Args:
        category: of the questions, for the notes.
        scores: of its models.
    """
    return [
        f"{category}, {score.model}: {note}"
        for score in scores
        for note in order_warnings(score.order.consistent.mean)
    ]
