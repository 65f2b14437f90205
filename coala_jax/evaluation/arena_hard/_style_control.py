"""Style control of Arena-Hard: a Bradley-Terry model with length and markdown beside the models.

P(the model wins a game) = sigma(theta_model + z'gamma), with four features z of the two answers.
Rows of all models are fitted together, so a score depends on which models are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit, stdtrit

from coala_jax._intervals import LEVEL, Interval
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.arena_hard._judgments import Battles
from coala_jax.evaluation.arena_hard._scores import style_at
from coala_jax.evaluation.arena_hard._style import Style
from coala_jax.evaluation.arena_hard._style_fit import (
    Design,
    clustered_covariance,
    fit_strengths,
    refitted,
)

FEATURES = ("length", "headers", "lists", "bold")
# As bootstrap_pairwise_model: draws, and the quantiles of the printed interval.
PUBLISHED_DRAWS, PUBLISHED_LEVEL = 100, 0.90
_NO_ENDS = (float("nan"), float("nan"))


class StyleScore(NamedTuple):
    """A model's win rate with style held fixed.

    A model that wins or loses all its games has no finite strength, and intervals without ends.

    Attributes:
        model: its name.
        score: as the benchmark defines it: at the mean style difference of all games that were
            fitted, with a 95 % interval clustered by question.
        published: the same, with the interval as the benchmark's script makes it: of resampled
            games, refitted.
        equal_style: at no difference of style, with a 95 % interval clustered by question.
    """

    model: str
    score: Interval
    published: Interval
    equal_style: Interval


class StyleControl(NamedTuple):
    """What was fitted.

    Attributes:
        scores: the best first.
        coefficients: change of the logit by one standard deviation of each feature, with a 95 %
            interval clustered by question; NaN of a feature that is the same in all games.
        questions: how many clusters.
        games: how many rows, each once.
    """

    scores: list[StyleScore]
    coefficients: Mapping[str, Interval]
    questions: int
    games: int


def style_features(model: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """How two answers differ in style.

    Source: ``print_leaderboard_with_style_features`` of show_result.py at 196f6b8.

    Args:
        model: (n, 4) tokens, headers, list items and bold passages.
        baseline: (n, 4) likewise.

    Returns:
        (n, 4) float64: (m - b) / (m + b) of tokens, 0 of two empty answers; and
        (m - b) / (m + b + 1) of the others' densities, each over tokens + 1.
    """
    tokens, base_tokens = model[:, :1].astype(float), baseline[:, :1].astype(float)
    length = (tokens - base_tokens) / np.maximum(tokens + base_tokens, 1)
    density, base_density = model[:, 1:] / (tokens + 1), baseline[:, 1:] / (base_tokens + 1)
    marks = (density - base_density) / (density + base_density + 1)
    return np.concatenate([length, marks], axis=1)


def control_style(
    battles: Battles, styles: Mapping[str, Mapping[str, Style]], *, seed: int = 0
) -> StyleControl:
    """Fit all models of a category at once.

    Source: the model of paired comparisons of Bradley & Terry 1952, Biometrika 39, with the
    features of LMArena's style control (Li, Angelopoulos & Chiang 2024, "Does style matter?",
    lmsys.org/blog/2024-08-28-style-control), as ``bootstrap_pairwise_model`` of show_result.py at
    196f6b8 fits it.

    Args:
        battles: of one category, against one baseline.
        styles: of answers, by system and uid; those of the baseline among them.
        seed: of the draws for the published interval.

    Raises:
        EvaluationError: a system or a question without an answer, a single question, or a fit that
            does not end.

    Example:
        >>> import numpy as np
        >>> from coala_jax.evaluation.arena_hard import Style, control_style
        >>> from coala_jax.evaluation.arena_hard._judgments import Battles
        >>> rng, n = np.random.default_rng(0), 60
        >>> uid = np.array([f"q{number}" for number in range(n)], object)
        >>> won = rng.integers(0, 2, n).astype(float)
        >>> battles = Battles(uid, np.array(["head"] * n, object), "base", won, np.ones(n))
        >>> def styles() -> dict[str, Style]:
        ...     return {each: Style(*rng.integers(1, 60, 4).tolist()) for each in uid}
        >>> found = control_style(battles, {"head": styles(), "base": styles()})
        >>> 0 < found.scores[0].score.mean < 1
        True
    """
    names, design, alike = design_of(battles, styles)
    solution = fit_strengths(design, battles.weight)
    covariance = clustered_covariance(design, battles.weight, solution)
    draws = refitted(design, battles.weight, solution, PUBLISHED_DRAWS, seed)
    questions, unit = len(set(battles.uid)), np.eye(len(solution))

    def interval(contrast: np.ndarray) -> Interval:
        return logit_interval(contrast, solution, covariance, questions)

    scores = []
    for number, name in enumerate(names):
        at_mean, equal = interval(unit[number]), interval(unit[number] + alike)
        if set(battles.win[battles.model == name]) in ({0.0}, {1.0}):
            at_mean, equal = (Interval(each.mean, *_NO_ENDS) for each in (at_mean, equal))
        published = _published(expit(draws[:, number]))
        scores.append(StyleScore(name, _as_shares(at_mean), published, _as_shares(equal)))
    scores.sort(key=lambda each: -each.score.mean)
    varies = np.any(design.features != 0, axis=0)
    coefficients = {
        name: interval(row) if differs else Interval(float("nan"), *_NO_ENDS)
        for name, row, differs in zip(FEATURES, unit[len(names) :], varies, strict=True)
    }
    return StyleControl(scores, coefficients, questions, len(battles.win))


def design_of(
    battles: Battles, styles: Mapping[str, Mapping[str, Style]]
) -> tuple[list[str], Design, np.ndarray]:
    """The regression of `control_style`.

    Args:
        battles: as there.
        styles: as there.

    Returns:
        Names of the models; the rows; and (models + 4,) what two answers alike in style add to a
        model's own row: the features of these are not 0, since their mean was taken away.
    """
    names = sorted(set(battles.model) - {battles.baseline})
    numbers = {name: number for number, name in enumerate(names)} | {battles.baseline: len(names)}
    clusters = {uid: number for number, uid in enumerate(dict.fromkeys(battles.uid))}
    if len(clusters) < 2 or not names:
        raise EvaluationError(
            f"style control: {len(clusters)} questions and {len(names)} models but the baseline; "
            "two questions and a model are the fewest"
        )
    raw = style_features(
        _styles(styles, battles.model, battles.uid),
        _styles(styles, [battles.baseline] * len(battles.uid), battles.uid),
    )
    features, mean, spread = _standardised(raw, battles.weight)
    design = Design(
        np.array([numbers[name] for name in battles.model]),
        features,
        battles.win,
        np.array([clusters[uid] for uid in battles.uid]),
        len(names),
    )
    return names, design, np.concatenate([np.zeros(len(names)), -mean / spread])


def logit_interval(
    contrast: np.ndarray, solution: np.ndarray, covariance: np.ndarray, questions: int
) -> Interval:
    """A 95 % interval of a sum of coefficients, by Student's t of (questions - 1) degrees."""
    mean = float(contrast @ solution)
    error = np.sqrt(contrast @ covariance @ contrast)
    reach = float(stdtrit(questions - 1, (1 + LEVEL) / 2) * error)
    return Interval(mean, mean - reach, mean + reach)


def _styles(
    styles: Mapping[str, Mapping[str, Style]], systems: Sequence[str] | np.ndarray, uids: np.ndarray
) -> np.ndarray:
    missing = next((name for name in systems if name not in styles), None)
    if missing is not None:
        raise EvaluationError(
            f"style control: no answers of {missing}; give its file, or leave its judgments out"
        )
    return np.array(
        [style_at(styles[name], uid) for name, uid in zip(systems, uids, strict=True)], float
    )


def _standardised(raw: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of zero mean and unit variance over the games as they count; mean and spread.

    A feature that is the same in all games becomes 0, and its spread infinite.
    """
    total = weight.sum()
    mean = weight @ raw / total
    spread = np.sqrt(weight @ (raw - mean) ** 2 / (total - 1))
    spread = np.where(spread > np.finfo(float).eps * np.abs(raw).max(axis=0), spread, np.inf)
    return (raw - mean) / spread, mean, spread


def _published(shares: np.ndarray) -> Interval:
    low, high = np.quantile(shares, [(1 - PUBLISHED_LEVEL) / 2, (1 + PUBLISHED_LEVEL) / 2])
    return Interval(float(np.median(shares)), float(low), float(high))


def _as_shares(logits: Interval) -> Interval:
    return Interval(*(float(expit(end)) for end in logits))
