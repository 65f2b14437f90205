"""Plain questions of the tutoring set, and what an answer is about, read from its own terms."""

import itertools
from typing import NamedTuple

import numpy as np

from coala_jax.data._alternating import flatten
from coala_jax.data._message import USER, Message
from coala_jax.quickstart._concepts import ASPECTS, Concept, load_concepts
from coala_jax.quickstart._tutoring import make_question
from tools import own_terms
from tools.own_terms import TERMS_NEEDED


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
    return own_terms.count_terms(answer, concept.aspects[aspect].terms)


def terms_of(concept: Concept, aspect: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """An aspect's own terms, and those of every other aspect of the concept."""
    others = [concept.aspects[other].terms for other in ASPECTS if other != aspect]
    return concept.aspects[aspect].terms, others


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
    return own_terms.addresses(answer, *terms_of(concept, aspect))


def names_concept(answer: str, concept: Concept) -> bool:
    """Whether an answer is about a concept at all.

    Args:
        answer: the answer's text.
        concept: the concept asked about.

    Returns:
        True where the answer has two own terms of one aspect, or one and the concept's name.
    """
    needed = TERMS_NEEDED - own_terms.count_terms(answer, [concept.name])
    return any(count_terms(answer, concept, aspect) >= needed for aspect in ASPECTS)
