"""Tutoring rows: seeded, without overlap, and with no label in the answer alone."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from coala_jax.data import PreferenceRow
from coala_jax.quickstart._concepts import ASPECTS, load_concepts
from coala_jax.quickstart._tutoring import (
    CLOSERS,
    EVAL_PAIRS,
    OPENERS,
    TRAIN_PAIRS,
    TutoringSplit,
    tutoring_rows,
    tutoring_triplets,
)
from tools.tutoring_truth import is_direct, names_concept

BY_NAME = {concept.name: concept for concept in load_concepts()}
MANY = 6000
# Four standard errors of a share of one half among so many rows.
TOLERANCE = 4 * 0.5 / MANY**0.5


@pytest.fixture(scope="module")
def rows() -> tuple[PreferenceRow, ...]:
    return tutoring_triplets(7, MANY)


@pytest.fixture(scope="module")
def split() -> TutoringSplit:
    return tutoring_rows(0)


def _opener(answer: str) -> str:
    return next((text for text in OPENERS if answer.startswith(text)), "")


def _closer(answer: str) -> str:
    return next((text for text in CLOSERS if answer.endswith(text)), "")


def _shares(values: Sequence[object]) -> dict[object, float]:
    return {value: count / len(values) for value, count in Counter(values).items()}


def _assert_same(left: Sequence[object], right: Sequence[object], tolerance: float) -> None:
    first, second = _shares(left), _shares(right)
    for value in first.keys() | second.keys():
        assert first.get(value, 0) == pytest.approx(second.get(value, 0), abs=tolerance), value


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert tutoring_triplets(1, 50) == tutoring_triplets(1, 50)
    left, right = tutoring_triplets(1, 50), tutoring_triplets(2, 50)
    assert {row.prompt for row in left} != {row.prompt for row in right}


def test_rows_have_the_paper_s_prompt_and_are_unlike_each_other(
    rows: tuple[PreferenceRow, ...],
) -> None:
    assert len({(row.prompt, row.chosen, row.rejected) for row in rows}) == len(rows) == MANY
    assert len({row.id for row in rows}) == MANY
    for row in rows:
        assert row.prompt.startswith("Student: ")
        assert row.prompt.endswith("\nTutor:")
        assert row.prompt.count("Student: ") == row.extra["turn"] + 1
        assert row.group == BY_NAME[row.extra["concept"]].group


def test_chosen_is_direct_and_rejected_never(rows: tuple[PreferenceRow, ...]) -> None:
    for row in rows:
        concept, aspect = BY_NAME[row.extra["concept"]], row.extra["aspect"]
        assert is_direct(row.chosen, concept, aspect)
        assert names_concept(row.chosen, concept)
        assert not is_direct(row.rejected, concept, aspect)


@pytest.mark.parametrize("feature", [_opener, _closer], ids=["opener", "closer"])
def test_style_does_not_tell_chosen_from_rejected(
    rows: tuple[PreferenceRow, ...], feature: Callable[[str], str]
) -> None:
    chosen, rejected = [feature(r.chosen) for r in rows], [feature(r.rejected) for r in rows]
    _assert_same(chosen, rejected, TOLERANCE)
    assert 0.4 < _shares(chosen)[""] < 0.6


def test_kind_does_not_tell_chosen_from_rejected_at_any_turn(
    rows: tuple[PreferenceRow, ...],
) -> None:
    by_turn: defaultdict[object, list[PreferenceRow]] = defaultdict(list)
    for row in rows:
        by_turn[row.extra["turn"]].append(row)
    for some in by_turn.values():
        asked = [row.extra["aspect"] for row in some]
        answered = [row.extra["rejected_aspect"] for row in some]
        tolerance = 4 * 0.4 / len(some) ** 0.5
        _assert_same(asked, answered, 2**0.5 * tolerance)
        for aspect in ASPECTS:
            assert _shares(asked)[aspect] == pytest.approx(1 / len(ASPECTS), abs=tolerance)


def test_length_does_not_tell_chosen_from_rejected(rows: tuple[PreferenceRow, ...]) -> None:
    gain = np.array([len(row.chosen) - len(row.rejected) for row in rows])
    assert np.mean(gain > 0) + np.mean(gain == 0) / 2 == pytest.approx(0.5, abs=TOLERANCE)
    spread = np.std([len(row.chosen) for row in rows])
    assert abs(gain.mean()) < 4 * 2**0.5 * spread / len(rows) ** 0.5


def test_a_concept_s_answers_are_chosen_as_often_as_rejected(
    rows: tuple[PreferenceRow, ...],
) -> None:
    chosen = [row.extra["concept"] for row in rows]
    _assert_same(chosen, [row.extra["rejected_concept"] for row in rows], 0.005)


@pytest.mark.parametrize("field", sorted({concept.field for concept in BY_NAME.values()}))
def test_answers_are_distinct_enough(field: str, split: TutoringSplit) -> None:
    answers = [
        answer
        for row in split.train + split.eval
        if row.extra["field"] == field
        for answer in (row.chosen, row.rejected)
    ]
    assert len(set(answers)) / len(answers) >= 0.20


def test_training_and_held_out_rows_share_no_concept(split: TutoringSplit) -> None:
    named = [{row.extra["concept"] for row in part} for part in split]
    rejected = [{row.extra["rejected_concept"] for row in part} for part in split]
    assert not (named[0] | rejected[0]) & (named[1] | rejected[1])
    assert len(named[1]) >= 40
    assert (len(split.train), len(split.eval)) == (TRAIN_PAIRS, EVAL_PAIRS)
    assert {row.extra["field"] for row in split.eval} == {c.field for c in BY_NAME.values()}


def test_seeds_hold_out_different_concepts(split: TutoringSplit) -> None:
    other = tutoring_rows(1, train_pairs=10, eval_pairs=400)
    assert {row.group for row in other.eval} != {row.group for row in split.eval}


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs=-1"):
        tutoring_triplets(0, -1)
    with pytest.raises(ValueError, match="concepts to talk about: 0"):
        tutoring_triplets(0, 1, groups=["no such group"])
