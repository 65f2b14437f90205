"""The logistic regression of the length-controlled win rate (Dubois et al. 2024).

P(model preferred) = sigma(w_l tanh(l / sd l) + w_d d + w_m), with l the characters of the
baseline's answer less the model's and d the difficulty of the instruction. Rows of the gamed
baselines have the first two terms alone.

Source: ``length_controlled_v1`` of `metrics/glm_winrate.py` of tatsu-lab/alpaca_eval.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from coala_jax._extras import how_to_install
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.alpaca_eval._length_data import LengthData

# Both gamed baselines together weigh a fifth of the model.
GAMED_WEIGHT = 0.2 / 2
# Strengths of the L1 penalty, as 1 / strength, from which the left-out folds choose.
STRENGTHS = np.logspace(-4, 4, 10)
FOLDS, RANDOM_STATE = 5, 123
# Probabilities that a logarithm may take.
LEAST_PROBABILITY = 1e-15


class Comparison(NamedTuple):
    """What the regression reads of a model, one row an instruction.

    Attributes:
        length_difference: (n,) float64: characters of the baseline's answer less the model's.
        preference: (n,) float64 in [0, 1]; NaN where none could be read.
        difficulty: (n,) float64.
        question: (n,) int64: place of the instruction in the set.
    """

    length_difference: np.ndarray
    preference: np.ndarray
    difficulty: np.ndarray
    question: np.ndarray


class Design(NamedTuple):
    """Rows of the regression.

    Attributes:
        features: (..., m, 3) float64: length, difficulty, whether it is the model.
        target: (m,) float64 in [0, 1].
        weight: (..., m) float64.
    """

    features: np.ndarray
    target: np.ndarray
    weight: np.ndarray


def design_of(comparison: Comparison, data: LengthData, times: np.ndarray | None = None) -> Design:
    """The rows of the gamed baselines, then the model's, without those that have no preference.

    Args:
        comparison: (n,) rows of the model.
        data: difficulties, and (g,) rows of the gamed baselines.
        times: (..., g + n) how often each row counts, of one set or several; None is once. They
            decide the deviation of lengths too.
    """
    gamed, n_gamed = data.gamed, len(data.gamed.preference)
    times = np.ones(n_gamed + len(comparison.preference)) if times is None else times
    scaled = _in_deviations(comparison.length_difference, times[..., n_gamed:])
    of_gamed = np.broadcast_to(gamed.length_difference, (*times.shape[:-1], n_gamed))
    length = np.tanh(np.concatenate([of_gamed, scaled], axis=-1))
    difficulty = np.concatenate([data.difficulty[gamed.question], comparison.difficulty])
    is_model = np.arange(len(difficulty)) >= n_gamed
    features = np.stack(np.broadcast_arrays(length, difficulty, is_model), axis=-1)
    target = np.concatenate([gamed.preference, comparison.preference])
    weight = times * np.where(is_model, 1.0, GAMED_WEIGHT)
    read = ~np.isnan(target)
    return Design(features[..., read, :], target[read], weight[..., read])


def choose_strength(design: Design) -> float:
    """The strength of least loss on left-out folds, of `STRENGTHS`.

    As `LogisticRegressionCV` goes through them with `GroupKFold`, whose loss is the mean over rows
    of the weighted log loss against the preference itself. Rows are dealt out to folds in turn,
    from the last, as `GroupKFold` does since scikit-learn 1.9. Before, a sort that is not stable
    dealt them out as the machine had it; published strengths may be neighbours on the grid.

    Args:
        design: (m,) rows, at least as many as folds.
    """
    fold = np.arange(len(design.target))[::-1] % FOLDS
    losses = np.zeros(len(STRENGTHS))
    for left_out in range(FOLDS):
        train, held_out = (
            Design(*(part[chosen] for part in design))
            for chosen in (fold != left_out, fold == left_out)
        )
        # One generator along the strengths of a fold, as scikit-learn has it.
        random_state = np.random.RandomState(RANDOM_STATE)
        with warnings.catch_warnings():
            # At the weakest penalties liblinear may stop at its last pass: that fit is judged by
            # its loss as it is, as the original judges it.
            warnings.filterwarnings("ignore", "Liblinear failed to converge")
            for at, strength in enumerate(STRENGTHS):
                weights = fit_weights(train, strength, random_state)
                losses[at] += _log_loss(weights, held_out)
    return float(STRENGTHS[np.argmin(losses)])


def fit_weights(design: Design, strength: float, random_state: Any = RANDOM_STATE) -> np.ndarray:
    """(3,) float64 weights of least loss: abs(w)_1 + strength sum of the weighted log losses.

    Args:
        design: (m,) rows.
        strength: C of scikit-learn, the inverse of the penalty.
        random_state: of liblinear's order of coordinates.
    """
    from sklearn.linear_model import LogisticRegression

    features, target, weight = design
    model = LogisticRegression(
        **_l1_penalty(LogisticRegression),
        C=strength,
        solver="liblinear",
        fit_intercept=False,
        random_state=random_state,
    )
    # A preference of 0.3 is a row of label 1 and weight 0.3 and one of label 0 and weight 0.7.
    labels = np.repeat([1, 0], len(target))
    shares = np.concatenate([target * weight, (1 - target) * weight])
    fitted = model.fit(np.vstack([features, features]), labels, sample_weight=shares)
    return np.asarray(fitted.coef_[0], np.float64)


def at_equal_lengths(weights: np.ndarray, difficulty: np.ndarray) -> np.ndarray:
    """(..., n) preferences for the model if its answers had the baseline's lengths.

    Args:
        weights: (..., 3) of one fit or several.
        difficulty: (n,).
    """
    return np.asarray(expit(weights[..., 1:2] * difficulty + weights[..., 2:]))


def require_regressions() -> None:
    """Raise where scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ModuleNotFoundError as missing:
        raise EvaluationError(
            "the length-controlled win rate needs scikit-learn; install it: "
            f"{how_to_install('evaluate')}"
        ) from missing


def _in_deviations(differences: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(..., n) differences over their standard deviation; zeros where they do not differ."""
    count = times.sum(axis=-1)
    mean = times @ differences / count
    squares = times * (differences - mean[..., None]) ** 2
    deviation = np.sqrt(squares.sum(axis=-1) / (count - 1))[..., None]
    differences = np.broadcast_to(differences, times.shape)
    return np.divide(differences, deviation, out=np.zeros(times.shape), where=deviation > 0)


def _log_loss(weights: np.ndarray, held_out: Design) -> float:
    probability = np.clip(
        expit(held_out.features @ weights), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY
    )
    losses = held_out.target * np.log(probability)
    losses += (1 - held_out.target) * np.log1p(-probability)
    return float(-np.mean(losses * held_out.weight))


def _l1_penalty(kind: type) -> dict[str, Any]:
    """How a version of scikit-learn is asked for the L1 penalty: ``penalty=`` ends with 1.10."""
    penalty = inspect.signature(kind).parameters.get("penalty")
    has_old_name = penalty is not None and penalty.default != "deprecated"
    return {"penalty": "l1"} if has_old_name else {"l1_ratio": 1.0}
