"""Checks of attention: a prompt with an answer that no attentive reader prefers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax.evaluation._errors import EvaluationError

# The two answers of a check, in the place of systems.
GOOD, BAD = "(good)", "(bad)"
# A shuffled answer of fewer words may still read well.
FEWEST_WORDS = 8


class Check(NamedTuple):
    """A prompt with an answer that no attentive reader prefers.

    Attributes:
        prompt: the text.
        good: an answer to it.
        bad: one that is none.
    """

    prompt: str
    good: str
    bad: str


def shuffled_checks(
    prompts: Mapping[str, str],
    texts: Mapping[str, Sequence[str]],
    count: int,
    rng: np.random.Generator,
) -> list[Check]:
    """Checks of attention: an answer of one of the systems, and its words in random order.

    An answer to another prompt could fit by chance; shuffled words are seen by whoever reads.

    Args:
        prompts: by question.
        texts: answers to each.
        count: how many checks; each is of another prompt.
        rng: draws them.

    Raises:
        EvaluationError: too few answers of several words.
    """
    long = [question for question in prompts if any(map(_has_words, texts[question]))]
    if len(long) < count:
        raise EvaluationError(
            f"checks={count}: only {len(long)} prompts have an answer of {FEWEST_WORDS} words, "
            "whose order can be told from a shuffled one; give checks of your own, or ask for none"
        )
    made = []
    for place in rng.permutation(len(long))[:count]:
        question = long[place]
        good = str(rng.choice(np.array([*filter(_has_words, texts[question])], dtype=object)))
        words = good.split()
        bad = " ".join(words[number] for number in rng.permutation(len(words)))
        made.append(Check(prompts[question], good, bad))
    return made


def _has_words(text: str) -> bool:
    return len(set(text.split())) >= FEWEST_WORDS
