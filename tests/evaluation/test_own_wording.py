"""Judgments made in our own words are told apart from the benchmark's, in the file and after it."""

import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._benchmark_rows import BenchmarkRow
from coala_jax.evaluation._own_wording import (
    OWN_WORDING,
    Wording,
    own_wording,
    own_wording_warnings,
    read_wording,
)


def test_a_wording_is_read_as_it_was_written():
    for wording in (Wording("judge.txt", "ab12"), own_wording("Compare.", "{answer}")):
        assert read_wording(BenchmarkRow("f: row 1", wording.fields())) == wording
    assert read_wording(BenchmarkRow("f: row 1", {"preference": 1})) is None


@pytest.mark.parametrize("value", ["judge.txt", {"name": "judge.txt"}, {"name": 1, "sha256": "a"}])
def test_a_wording_of_another_form_is_named(value):
    with pytest.raises(EvaluationError, match="f: row 1: judge_wording is .* name and sha256 is"):
        read_wording(BenchmarkRow("f: row 1", {"judge_wording": value}))


def test_any_change_of_our_own_words_is_another_checksum():
    sums = {own_wording(*texts).sha256 for texts in (("a", "b"), ("ab",), ("b", "a"), ("a", "c"))}
    assert len(sums) == 4


def test_only_judgments_in_our_own_words_are_noted():
    theirs = Wording("judge.txt", "ab12")
    assert own_wording_warnings([None, theirs]) == []
    note, other = own_wording_warnings([own_wording("Compare."), theirs, None] * 2)
    assert note.startswith("2 judgments were made in coala-jax's own words: not comparable")
    assert other.startswith("2 others were made in other words")  # two are not known


def test_several_versions_of_our_own_words_in_one_table_are_noted():
    old, new = (Wording(OWN_WORDING, name) for name in ("old", "new"))
    _, note = own_wording_warnings([old, new, new])
    assert note.startswith("judgments in 2 versions of coala-jax's own words (old: 1, new: 2)")
    assert len(own_wording_warnings([old, new], ["hard", "creative"])) == 1
    *_, note = own_wording_warnings([old, new, new], ["hard", "creative", "hard"])
    assert note.startswith("hard: judgments in 2 versions")
