"""The concept base: complete, checked by rule, and worded in its own way."""

import re
from collections import defaultdict

import pytest

from coala_jax.quickstart._concepts import ASPECTS, Concept, load_concepts, parse_field

CONCEPTS = load_concepts()
BY_NAME = {concept.name: concept for concept in CONCEPTS}
FIELDS = sorted({concept.field for concept in CONCEPTS})
WORDS = (11, 24)
TERMS = (3, 4)
DISTINCT_WORDS_AT_LEAST = 0.20


def _holds(text: str, term: str) -> bool:
    return re.search(rf"\b{re.escape(term)}\b", text.lower()) is not None


def _of(field: str) -> list[Concept]:
    return [concept for concept in CONCEPTS if concept.field == field]


def test_eleven_fields_have_twelve_concepts_at_least_each_with_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(CONCEPTS)
    assert len(FIELDS) == 11
    for field in FIELDS:
        assert len(_of(field)) >= 12


@pytest.mark.parametrize("field", FIELDS)
def test_texts_are_one_plain_sentence_of_moderate_length(field: str) -> None:
    for concept in _of(field):
        for aspect in ASPECTS:
            text = concept.aspects[aspect].text
            assert WORDS[0] <= len(text.split()) <= WORDS[1], text
            assert text.isascii(), text
            assert text.endswith("."), text


@pytest.mark.parametrize("field", FIELDS)
def test_terms_stand_in_their_own_aspect_alone(field: str) -> None:
    for concept in _of(field):
        for aspect in ASPECTS:
            terms = concept.aspects[aspect].terms
            assert TERMS[0] <= len(terms) <= TERMS[1], (concept.name, aspect)
            for term in terms:
                assert term not in concept.name.lower().split()
                holders = [other for other in ASPECTS if _holds(concept.aspects[other].text, term)]
                assert holders == [aspect], (concept.name, term)


@pytest.mark.parametrize("field", FIELDS)
def test_neighbours_are_mutual_and_the_contrast_names_the_other(field: str) -> None:
    for concept in _of(field):
        neighbour = BY_NAME[concept.neighbour]
        assert neighbour is not concept
        assert neighbour.neighbour == concept.name
        assert neighbour.group == concept.group
        assert concept.neighbour.lower() in concept.aspects["contrast"].text.lower()
        assert concept.phrase.removeprefix("an ").removeprefix("a ") == concept.name


@pytest.mark.parametrize("field", FIELDS)
def test_wording_is_distinct_enough(field: str) -> None:
    words = [
        word
        for concept in _of(field)
        for aspect in ASPECTS
        for word in re.findall(r"[a-z']+", concept.aspects[aspect].text.lower())
    ]
    assert len(set(words)) / len(words) >= DISTINCT_WORDS_AT_LEAST


def test_a_group_is_a_concept_and_its_neighbour() -> None:
    members: defaultdict[str, int] = defaultdict(int)
    for concept in CONCEPTS:
        members[concept.group] += 1
    assert set(members.values()) == {2}


def test_a_base_with_something_else_where_text_should_be_is_refused() -> None:
    aspects = {aspect: {"text": "x", "terms": ["x"]} for aspect in ASPECTS}
    entry = {"name": "a", "phrase": "an a", "neighbour": 3, **aspects}
    with pytest.raises(TypeError, match="expected text, got 3"):
        parse_field({"field": "none", "concepts": [entry]})
