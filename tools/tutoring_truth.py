"""Plain questions of the tutoring set, and what an answer is about, read from its own terms."""

import itertools
import re
from typing import NamedTuple

import numpy as np

from coala_jax.data._alternating import flatten
from coala_jax.data._message import USER, Message
from coala_jax.quickstart._concepts import ASPECTS, Concept, load_concepts
from coala_jax.quickstart._tutoring import make_question

# One shared word may be chance; two terms of one aspect are not.
TERMS_NEEDED = 2


class PlainQuestion(NamedTuple):
    """A first question: a concept, an aspect, and the prompt that asks about it."""

    concept: Concept
    aspect: str
    prompt: str


def plain_questions(seed: int) -> list[PlainQuestion]:
    """One first-turn prompt for every aspect of every concept, its wording by the seed."""
    rng = np.random.default_rng(seed)
    by_name = {concept.name: concept for concept in load_concepts()}
    questions = []
    for concept, aspect in itertools.product(load_concepts(), ASPECTS):
        question = make_question(rng, concept, by_name[concept.neighbour], aspect, first=True)
        questions.append(PlainQuestion(concept, aspect, flatten([Message(USER, question)])))
    return questions


def count_terms(answer: str, concept: Concept, aspect: str) -> int:
    """How many of an aspect's own terms an answer holds, as whole words, whatever their case."""
    text = answer.lower()
    return sum(_holds(text, term) for term in concept.aspects[aspect].terms)


def is_direct(answer: str, concept: Concept, aspect: str) -> bool:
    """Whether an answer addresses what was asked.

    Args:
        answer: the answer's text.
        concept: the concept asked about.
        aspect: the aspect asked about, one of ``ASPECTS``.

    Returns:
        True where the answer has at least two of the aspect's own terms, and more of these than of
        any other aspect of the concept.
    """
    asked = count_terms(answer, concept, aspect)
    others = (count_terms(answer, concept, other) for other in ASPECTS if other != aspect)
    return asked >= TERMS_NEEDED and asked > max(others)


def names_concept(answer: str, concept: Concept) -> bool:
    """Whether an answer is about a concept at all.

    Args:
        answer: the answer's text.
        concept: the concept asked about.

    Returns:
        True where the answer has two own terms of one aspect, or one and the concept's name.
    """
    needed = TERMS_NEEDED - _holds(answer.lower(), concept.name)
    return any(count_terms(answer, concept, aspect) >= needed for aspect in ASPECTS)


def _holds(text: str, term: str) -> bool:
    return re.search(rf"\b{re.escape(term)}\b", text) is not None
