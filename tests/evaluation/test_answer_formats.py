"""Answers are read from every format, and those to other questions are named."""

import json

import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._answer_formats import read_answer_file
from coala_jax.evaluation._matched_answers import match_answers, read_questions

FORMATS = {
    "AlpacaEval": [
        {"instruction": "What is 1?", "output": "one", "generator": "gen", "dataset": "d"},
        {"instruction": "What is 2?", "output": "", "generator": "gen"},
    ],
    "Arena-Hard": [
        {
            "uid": "u1",
            "model": "gen",
            "messages": [
                {"role": "user", "content": "What is 1?"},
                {"role": "assistant", "content": {"answer": "one"}},
            ],
        },
        {
            "uid": "u2",
            "model": "gen",
            "messages": [
                {"role": "user", "content": "What is 2?"},
                {"role": "assistant", "content": ""},
            ],
        },
    ],
    "MT-Bench": [
        {"question_id": 81, "model_id": "gen", "choices": [{"index": 0, "turns": ["one"]}]},
        {"question_id": 82, "model_id": "gen", "choices": [{"index": 0, "turns": [""]}]},
    ],
    "rows": [
        {"prompt": "What is 1?", "completion": "one", "model": "gen"},
        {"prompt": "What is 2?", "completion": "", "model": "gen"},
    ],
}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_told_by_its_fields(name, tmp_path):
    found = read_answer_file(written(tmp_path / "a.jsonl", FORMATS[name]))
    assert found.format == name and found.answers.system == "gen"
    assert [answer.text for answer in found.answers.by_question.values()] == ["one", ""]
    assert list(found.prompts.values()) == (
        [] if name == "MT-Bench" else ["What is 1?", "What is 2?"]
    )


@pytest.mark.parametrize("field", ["completion", "response", "output", "answer", "text"])
def test_rows_may_call_their_answer_many_things(field, tmp_path):
    row = {"id": 3, "prompt": [{"role": "user", "content": "hi"}], field: "hello"}
    found = read_answer_file(written(tmp_path / "ours.jsonl", [row]))
    assert found.answers.by_question["3"].text == "hello"
    assert found.prompts == {"3": "hi"} and found.answers.system == "ours"


def test_lines_of_generate_hold_two_systems(tmp_path):
    row = {"id": "a", "plain": {"text": "p", "reward": 0}, "guided": {"text": "g", "reward": 1}}
    path = written(tmp_path / "out.jsonl", [row])
    for side in ("plain", "guided"):
        found = read_answer_file(f"{path}:{side}")
        assert found.answers.by_question["a"].text == side[0]
        assert found.answers.system == f"out:{side}"
    with pytest.raises(EvaluationError, match="say which is meant: FILE:plain or FILE:guided"):
        read_answer_file(path)
    best = written(tmp_path / "best.jsonl", [{"id": "a", "text": "b", "reward": 1.0}])
    assert read_answer_file(best, "ours").answers.system == "ours"
    with pytest.raises(EvaluationError, match="leave out :plain"):
        read_answer_file(f"{best}:plain")


def test_conversations_are_written_with_their_roles(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    row = {"prompt": turns, "completion": [{"role": "assistant", "content": "hello"}]}
    found = read_answer_file(written(tmp_path / "a.jsonl", [row]))
    assert list(found.prompts.values()) == ["System: Be brief.\n\nUser: hi"]
    assert next(iter(found.answers.by_question.values())).text == "hello"


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        ([{"a": 1}], r"row 1: its fields \(a\) are of no known format.*AlpacaEval.*Arena-Hard"),
        ([FORMATS["AlpacaEval"][0]] * 2, "row 2: answers .*, as "),
        (
            [{**row, "generator": str(n)} for n, row in enumerate(FORMATS["AlpacaEval"])],
            "2 systems",
        ),
        ([{"instruction": "x", "output": None}], "row 1: has no output"),
        ([{"uid": "u", "messages": [{"role": "user", "content": "q"}]}], "row 1: messages must be"),
        ([{"question_id": 1, "choices": []}], "row 1: choices must begin"),
        ([{"prompt": "q", "completion": 3}], "row 1: completion must be a text or messages"),
        ([{"plain": {}, "guided": {}, "id": 1}], "say which is meant"),
    ],
)
def test_rows_that_are_no_answers_are_named(rows, part, tmp_path):
    with pytest.raises(EvaluationError, match=part):
        read_answer_file(written(tmp_path / "a.jsonl", rows))


def test_files_of_different_formats_meet_by_id_or_by_the_text_of_the_question(tmp_path):
    questions = written(
        tmp_path / "questions.jsonl",
        [{"id": "81", "prompt": "What is 1?"}, {"id": "82", "prompt": "What is 2?\n"}],
    )
    files = [
        read_answer_file(written(tmp_path / f"{name}.jsonl", FORMATS[name]))
        for name in ("AlpacaEval", "MT-Bench", "rows")
    ]
    found = match_answers(files, read_questions(questions))
    assert list(found.questions) == ["81", "82"]
    for answers in found.answers:
        assert {key: answer.text for key, answer in answers.by_question.items()} == {
            "81": "one",
            "82": "",
        }
    without = match_answers([files[0], files[2]])
    assert list(without.questions) == ["What is 1?", "What is 2?"]
    arena = read_answer_file(written(tmp_path / "arena.jsonl", FORMATS["Arena-Hard"]))
    assert list(match_answers([arena, files[0]]).questions) == ["u1", "u2"]
    with pytest.raises(EvaluationError, match="do not say what was asked; give the questions too"):
        match_answers([files[1]])


def test_answers_to_other_questions_are_named(tmp_path):
    def answers(name, *rows):
        return read_answer_file(written(tmp_path / f"{name}.jsonl", rows))

    one = answers("one", {"id": "a", "prompt": "What?", "text": "x"})
    other = answers("other", {"id": "a", "prompt": "Where?", "text": "y"})
    with pytest.raises(EvaluationError, match="answers another question under the id 'a': 'Where"):
        match_answers([one, other])
    more = answers("more", *({"id": key, "prompt": key, "text": "x"} for key in "ab"))
    less = answers("less", {"id": "a", "text": "x"})
    with pytest.raises(EvaluationError, match="1 of 2 questions have no answer, first 'b'"):
        match_answers([more, less])
    with pytest.raises(EvaluationError, match="are to no question of this set"):
        match_answers([one, answers("far", {"id": "z", "text": "x"})])
    twice = answers("twice", {"id": "a", "text": "x"}, {"prompt": "What?", "text": "y"})
    with pytest.raises(EvaluationError, match="row 2: answers what .*row 1 answers too"):
        match_answers([one, twice])
    several = ({"question_id": n, "choices": [{"turns": ["a", "b"]}]} for n in (1, 2))
    with pytest.raises(EvaluationError, match="has 2 turns; this command judges one"):
        match_answers([answers("turns", *several)], {"1": "q", "2": "r"})


def test_questions_are_read_by_any_of_their_names(tmp_path):
    rows = [
        {"question_id": 81, "turns": ["q1"]},
        {"uid": "u", "prompt": "q2"},
        {"instruction": "q3"},
        {"id": 4, "messages": [{"role": "user", "content": "q4"}]},
    ]
    found = read_questions(written(tmp_path / "q.jsonl", rows))
    assert found == {"81": "q1", "u": "q2", "line-3": "q3", "4": "q4"}
    lines = tmp_path / "q.txt"
    lines.write_text("q1\n\nq2\n")
    assert read_questions(lines) == {"1": "q1", "3": "q2"}
    for bad, part in (
        ([{"id": 1}], "row 1: has no question as text"),
        ([{"question_id": 1, "turns": ["a", "b"]}], "row 1: has 2 turns"),
        ([{"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"}], "row 2: has the id '1' of another"),
    ):
        with pytest.raises(EvaluationError, match=part):
            read_questions(written(tmp_path / "bad.jsonl", bad))
