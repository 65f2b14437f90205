"""Rows of benchmark files are whole or named."""

import json

import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._benchmark_rows import (
    Answer,
    benchmark_rows,
    by_key,
    collect_answers,
    require_answered,
)


def written(path, rows):
    path.write_text(json.dumps(rows))
    return path


def answers_of(path):
    rows = benchmark_rows(path)
    found = (Answer(row.text("id"), (row.text("output"),), "ours", row.place) for row in rows)
    return collect_answers(path, found)


def test_rows_of_an_array_are_those_of_lines(tmp_path):
    rows = [{"id": "a", "output": "one"}, {"id": "b", "output": "two"}]
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    array = written(tmp_path / "array.json", rows)
    assert [row.fields for row in benchmark_rows(array)] == rows
    assert [row.fields for row in benchmark_rows(lines)] == rows


def test_a_broken_row_is_named_and_not_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a"}\n{"id": \n{"id": "c"}\n')
    with pytest.raises(EvaluationError, match=r"rows.jsonl: row 2: .*mend or remove it"):
        benchmark_rows(path)


def test_a_field_of_another_type_is_named(tmp_path):
    path = written(tmp_path / "rows.json", [{"id": 3, "none": None, "yes": True}])
    (row,) = benchmark_rows(path)
    with pytest.raises(EvaluationError, match="id is 3, str is expected"):
        row.text("id")
    with pytest.raises(EvaluationError, match="has no output or none; it has id, none, yes"):
        row.text("output", "none")
    with pytest.raises(EvaluationError, match="yes is True, int is expected"):
        row.field(int, "yes")
    assert row.field((int, float), "id") == 3


@pytest.mark.parametrize("key", ["uid", "question_id"])
@pytest.mark.parametrize("parts", ["games", "choices", "turns"])
def test_one_row_alone_is_a_row_whatever_it_lists(tmp_path, key, parts):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({key: 7, parts: [{"score": 1}, {"score": 2}]}))
    (row,) = benchmark_rows(path)
    assert len(row.field(list, parts)) == 2


def test_answers_come_once_and_to_the_questions_asked(tmp_path):
    path = written(tmp_path / "ours.json", [{"id": "a", "output": "one"}])
    answers = answers_of(path)
    assert answers.by_question["a"].text == "one" and answers.sha256
    require_answered(["a"], answers)
    require_answered(["a", "b"], answers, partial=True)
    with pytest.raises(EvaluationError, match="1 of 2 questions have no answer, first 'b'"):
        require_answered(["a", "b"], answers)
    with pytest.raises(EvaluationError, match="1 of 1 answers are to no question of this set"):
        require_answered(["b"], answers)
    twice = written(tmp_path / "twice.json", [{"id": "a", "output": ""}] * 2)
    with pytest.raises(EvaluationError, match=r"row 2: answers 'a', as .*row 1 does"):
        answers_of(twice)


def test_a_key_that_two_have_is_named_with_both_places():
    ours, again, other = (
        Answer(question, ("text",), "ours", f"a.json: row {number}")
        for number, question in enumerate(("a", "a", "b"), 1)
    )
    found = by_key([other, ours], lambda each: each.question, lambda each: "answers it")
    assert list(found.items()) == [("b", other), ("a", ours)]
    with pytest.raises(EvaluationError, match=r"row 2: answers it, as a.json: row 1 does"):
        by_key([ours, other, again], lambda each: each.question, lambda each: "answers it")
