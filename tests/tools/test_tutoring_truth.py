"""The truth rules agree with what the base's sentences are about."""

import pytest

from coala_jax.quickstart._concepts import ASPECTS, Concept, load_concepts
from tools.tutoring_truth import count_terms, is_direct, names_concept

CONCEPTS = load_concepts()
BY_NAME = {concept.name: concept for concept in CONCEPTS}


@pytest.mark.parametrize("field", sorted({concept.field for concept in CONCEPTS}))
def test_a_sentence_is_direct_for_its_own_aspect_alone(field: str) -> None:
    for concept in CONCEPTS:
        if concept.field == field:
            _assert_direct_alone(concept)


def _assert_direct_alone(concept: Concept) -> None:
    neighbour = BY_NAME[concept.neighbour]
    for asked in ASPECTS:
        for answered in ASPECTS:
            assert is_direct(concept.aspects[answered].text, concept, asked) == (asked == answered)
            assert not is_direct(neighbour.aspects[answered].text, concept, asked)
        assert names_concept(concept.aspects[asked].text, concept)


def test_one_term_is_direct_for_nothing_but_names_with_the_name() -> None:
    concept = BY_NAME["osmosis"]
    assert count_terms("The net result.", concept, "definition") == 1
    assert not is_direct("The net result.", concept, "definition")
    assert not names_concept("The net result.", concept)
    assert names_concept("The net result of Osmosis.", concept)


def test_terms_are_whole_words() -> None:
    assert count_terms("network", BY_NAME["osmosis"], "definition") == 0
