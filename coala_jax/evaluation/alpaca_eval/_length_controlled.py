"""The length-controlled win rate with its intervals: as published, and by resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._intervals import LEVEL, Interval
from coala_jax.evaluation._bootstrap import DRAWS, cluster_draws
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.alpaca_eval._annotations import Annotations
from coala_jax.evaluation.alpaca_eval._glm import (
    FOLDS,
    Comparison,
    at_equal_lengths,
    choose_strength,
    design_of,
    fit_weights,
    require_regressions,
)
from coala_jax.evaluation.alpaca_eval._l1_newton import newton_fits
from coala_jax.evaluation.alpaca_eval._length_data import LengthData, no_gamed_rows
from coala_jax.evaluation.alpaca_eval._outputs import Question
from coala_jax.evaluation.alpaca_eval._win_rate import PERCENT

# A move that may be a sign that the regression failed: of more points than this, and of more than
# this share of what is left on that side (`get_is_extreme_changes` of the original).
MOST_POINTS, MOST_SHARE = 10.0, 1 / 4
# Rows of resampled sets that are fitted together: some 50 MB.
MOST_ROWS = 500_000


class LengthControlled(NamedTuple):
    """A win rate at equal lengths.

    Attributes:
        win_rate: percent: the mean predicted preference with the length term left out.
        standard_error: in points, as the leaderboard has it: how predictions differ between
            instructions, which says nothing of how well the weights are known.
        interval: of 95 % in percent, by resampling instructions and fitting again.
        weights: (3,) float64 of length, difficulty and the model.
        strength: C of scikit-learn, chosen on left-out folds; resampling keeps it.
        draws: of the interval.
        seed: of the draws.
    """

    win_rate: float
    standard_error: float
    interval: Interval
    weights: np.ndarray
    strength: float
    draws: int
    seed: int


def comparison_of(
    annotations: Annotations, questions: Sequence[Question], difficulty: np.ndarray
) -> Comparison:
    """What the regression reads of annotations, whose instructions find their difficulty by text.

    Args:
        annotations: of a model.
        questions: (n,) of the set, in its order.
        difficulty: (n,) float64 of them.
    """
    places = {question.instruction: place for place, question in enumerate(questions)}
    question = np.array([places[row.pair.question.instruction] for row in annotations.rows])
    order = np.argsort(question)  # so that the order of the file decides nothing
    question = question[order]
    baseline, model = annotations.lengths()[order].T.astype(np.float64)
    preference = annotations.preferences()[order] - 1
    return Comparison(baseline - model, preference, difficulty[question], question)


def length_controlled(
    comparison: Comparison, data: LengthData, *, draws: int = DRAWS, seed: int = 0
) -> LengthControlled:
    """The win rate at equal lengths, by the regression of the leaderboard.

    The interval resamples instructions, each with its rows of the gamed baselines, scales the
    lengths anew and fits again at the strength that was chosen.

    Source: Dubois et al. 2024 (arXiv 2404.04475); `glm_winrate.py` of tatsu-lab/alpaca_eval.

    Args:
        comparison: (n,) rows of the model.
        data: difficulties and gamed rows.
        draws: of the interval.
        seed: of the draws.

    Raises:
        EvaluationError: fewer preferences than folds, lengths that all differ by one number, or
            scikit-learn is missing.
    """
    require_regressions()
    judged = int((~np.isnan(comparison.preference)).sum())
    if judged < FOLDS:
        raise EvaluationError(
            f"{judged} preferences could be read; the regression needs {FOLDS} at least"
        )
    if comparison.length_difference.any() and not np.ptp(comparison.length_difference):
        raise EvaluationError(
            "all answers differ from the baseline's by "
            f"{comparison.length_difference[0]:g} characters: what length does cannot be told from "
            "what the model does"
        )
    whole = design_of(comparison, data)
    strength = choose_strength(whole)
    weights = fit_weights(whole, strength)
    predicted = at_equal_lengths(weights, comparison.difficulty)
    low, high = resampled(comparison, data, strength, weights, draws=draws, seed=seed)
    mean = float(predicted.mean())
    spread = predicted.std(ddof=1) / np.sqrt(len(predicted))
    return LengthControlled(
        win_rate=PERCENT * mean,
        standard_error=PERCENT * float(spread),
        interval=Interval(PERCENT * mean, PERCENT * low, PERCENT * high),
        weights=weights,
        strength=strength,
        draws=draws,
        seed=seed,
    )


def resampled(
    comparison: Comparison,
    data: LengthData,
    strength: float,
    start: np.ndarray,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of the share won at equal lengths, by refits to resampled instructions.

    Args:
        comparison: (n,) rows of the model.
        data: difficulties and gamed rows.
        strength: C of scikit-learn, for all refits.
        start: (3,) weights from which each begins.
        draws: of the interval.
        seed: of the draws.

    Returns:
        Its ends, from 0 to 1.
    """
    places = np.concatenate([data.gamed.question, comparison.question])
    of_model = len(comparison.question)
    drawn = _drawn(comparison.question, np.setdiff1d(places, comparison.question), draws, seed)
    shares = []
    for chosen in np.array_split(drawn, math.ceil(draws * len(places) / MOST_ROWS)):
        times = chosen[:, places]
        weights = newton_fits(*design_of(comparison, data, times), strength, start)
        counts = times[:, -of_model:]
        predicted = at_equal_lengths(weights, comparison.difficulty)
        shares.append((counts * predicted).sum(axis=1) / counts.sum(axis=1))
    low, high = np.quantile(np.concatenate(shares), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _drawn(judged: np.ndarray, others: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """How often each place of the set is drawn, (draws, n): as many judged ones as there are.

    Instructions with gamed rows alone, where a part of the set was judged, are drawn among
    themselves.
    """
    times = np.zeros((draws, int(max(judged.max(), others.max(initial=0))) + 1))
    for part, places in enumerate((judged, others)):
        if len(places):
            times[:, places] = cluster_draws(len(places), draws, seed + part)
    return times


def length_adjusted(
    comparison: Comparison, *, draws: int = DRAWS, seed: int = 0
) -> LengthControlled:
    """The win rate at equal lengths by the model's own rows: another number than the leaderboard's.

    Without the gamed baselines the weight of length is free, and the published rates move by one
    point in the middle and by up to thirteen. The arguments and errors are those of
    `length_controlled`.
    """
    difficulty = np.zeros(int(comparison.question.max()) + 1)
    return length_controlled(
        comparison, LengthData(difficulty, no_gamed_rows()), draws=draws, seed=seed
    )


def of_the_baseline() -> LengthControlled:
    """The baseline against itself, which the original sets to 50 without a fit."""
    half = PERCENT / 2
    return LengthControlled(half, 0.0, Interval(half, half, half), np.zeros(3), np.nan, 0, 0)


def is_extreme(win_rate: float, controlled: float) -> bool:
    """Whether control for length moved a win rate so far that the regression may have failed.

    Args:
        win_rate: percent.
        controlled: percent, at equal lengths.
    """
    least = min(win_rate * (1 - MOST_SHARE), win_rate - MOST_POINTS)
    most = max(win_rate + (PERCENT - win_rate) * MOST_SHARE, win_rate + MOST_POINTS)
    return not least <= controlled <= most
