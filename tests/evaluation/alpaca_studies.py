"""Studies whose truth is known: the regression of AlpacaEval 2 with weights of our choice."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from coala_jax.evaluation.alpaca_eval import (
    Annotation,
    Annotations,
    GamedRows,
    LengthData,
    Pair,
    Question,
)
from coala_jax.evaluation.alpaca_eval._glm import Comparison

# Of length, difficulty and the model.
WEIGHTS = np.array([-0.7, 0.8, -1.2])
# Characters, the deviation of the lengths' differences; what a judge's certainty is.
DEVIATION, CERTAINTY = 600.0, 0.7


class Study(NamedTuple):
    comparison: Comparison
    data: LengthData


def drawn(probability, rng):
    """Preferences with these means, most of them near 0 or 1 as those of judges are."""
    return rng.beta(CERTAINTY * probability, CERTAINTY * (1 - probability))


def simulated(count, seed, weights=WEIGHTS, gamed_weights=WEIGHTS) -> Study:
    """A model and both gamed baselines on instructions that are drawn at random."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(size=count) * 1.5
    longer = np.round(rng.normal(size=count) * DEVIATION - 150)
    features = np.column_stack([np.tanh(longer / DEVIATION), difficulty, np.ones(count)])
    preference = drawn(expit(features @ weights), rng)
    lengths = np.concatenate([sign * (0.5 + np.abs(rng.normal(size=count))) for sign in (-1, 1)])
    both = np.tile(difficulty, 2)
    gamed = drawn(expit(np.column_stack([np.tanh(lengths), both]) @ gamed_weights[:2]), rng)
    question = np.arange(count)
    return Study(
        Comparison(longer, preference, difficulty, question),
        LengthData(difficulty, GamedRows(lengths, gamed, np.tile(question, 2))),
    )


def annotations_of(comparison: Comparison, model="ours", baseline="base") -> Annotations:
    """Annotations whose answers have these lengths; instructions are called by their places."""
    rows = [
        Annotation(
            Pair(Question(f"instruction {place}"), "b" * 3000, "m" * (3000 - int(longer))),
            preference + 1,
        )
        for place, longer, preference in zip(
            comparison.question, comparison.length_difference, comparison.preference, strict=True
        )
    ]
    return Annotations(baseline, model, "judge", rows, "annotations.json")


def questions_of(count):
    return [Question(f"instruction {place}") for place in range(count)]
