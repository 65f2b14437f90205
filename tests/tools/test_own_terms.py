"""The rule that needs nothing but Python against the words that it is told in."""

import re

import numpy as np

from coala_jax.quickstart._concepts import ASPECTS, load_concepts
from tools.own_terms import addresses, directness
from tools.tutoring_truth import is_direct, terms_of

ANSWERS = 3000


def told(answer, concept, asked):
    """At least two of the asked aspect's own terms, and more of these than of any other aspect."""
    words = f" {' '.join(re.findall(r'[a-z0-9]+', answer.lower()))} "
    held = {
        aspect: sum(
            f" {' '.join(re.findall(r'[a-z0-9]+', term))} " in words
            for term in concept.aspects[aspect].terms
        )
        for aspect in ASPECTS
    }
    return held[asked] >= 2 and held[asked] > max(held[each] for each in ASPECTS if each != asked)


def test_rows_judge_answers_as_the_concepts_do():
    """Answers of terms of all aspects, in capitals, cut short, beside words of other answers."""
    rng = np.random.default_rng(0)
    concepts = load_concepts()
    found = []
    for _ in range(ANSWERS):
        concept = concepts[rng.integers(len(concepts))]
        asked, other = rng.choice(ASPECTS, 2)
        own = concept.aspects[asked].terms
        terms = [*rng.permutation([*own, *own, *concept.aspects[other].terms])[: rng.integers(8)]]
        parts = [*terms, concept.aspects[rng.choice(ASPECTS)].text, concept.name, "it is so"]
        chosen = [str(each) for each in rng.permutation(parts)[: rng.integers(1, 9)]]
        answer = rng.choice([", ", " ", ". "]).join(chosen)
        if rng.random() < 0.3:
            answer = answer.upper()
        answer = answer[: rng.integers(len(answer) // 2, len(answer) + 1)]
        direct = is_direct(answer, concept, asked)
        own, others = terms_of(concept, asked)
        assert direct == addresses(answer, own, others) == told(answer, concept, asked)
        found.append((answer, own, others, direct))
    answers, owns, others, direct = zip(*found, strict=True)
    assert directness(answers, list(owns), list(others), concept=[]) == list(map(float, direct))
    assert 0.2 < np.mean(direct) < 0.8


def test_an_answer_needs_two_terms_and_more_of_them_than_of_others():
    own, others = ("net result", "weigh", "sum"), [("sunk",), ("spent", "past", "gone")]
    assert addresses("Weigh the NET RESULT.", own, others)
    assert not addresses("Weigh it.", own, others)
    assert not addresses("Weighing net results.", own, others)
    assert not addresses("Weigh the net result, past and gone.", own, others)
    assert addresses("Weigh the net result, or the sum, past and gone.", own, others)
