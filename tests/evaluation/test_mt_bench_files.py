"""MT-Bench's files: read by their format, what is missing, doubled or foreign is named."""

import json
import string

import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._own_wording import own_wording
from coala_jax.evaluation.mt_bench import (
    answer_line,
    own_judge_prompts,
    read_answers,
    read_judge_prompts,
    read_judgments,
    read_questions,
    read_references,
)
from coala_jax.evaluation.mt_bench._judge_prompts import judge_request
from coala_jax.evaluation.mt_bench._verdicts import pair_verdict, single_score
from tests.evaluation.mt_bench_files import (
    PLACES,
    answer_rows,
    pair_row,
    prompt_rows,
    question_rows,
    read_lines,
    reference_rows,
    single_row,
    write_benchmark,
    write_lines,
)

no_text = {**answer_rows("ours")[0], "choices": [{"index": 0, "turns": [None]}]}


@pytest.fixture
def folder(tmp_path):
    return write_benchmark(tmp_path)


@pytest.fixture
def questions(folder):
    return read_questions(folder / "question.jsonl")


def test_questions_have_the_temperature_of_their_category(tmp_path):
    kinds = ["writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem"]
    kinds += ["humanities", "other"]
    rows = [{"question_id": n, "category": kind, "turns": ["Why?"]} for n, kind in enumerate(kinds)]
    found = read_questions(write_lines(tmp_path / "question.jsonl", rows))
    assert [each.temperature for each in found] == [0.7, 0.7, 0, 0, 0, 0, 0.1, 0.1, 0.7]
    needing = [each.category for each in found if each.needs_reference]
    assert needing == ["reasoning", "math", "coding"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"turns": []}, "turns are 0 texts, 1 or 2"),
        ({"turns": ["a", "b", "c"]}, "turns are 3 texts"),
        ({"turns": ["a", " "]}, "1 or 2 that are not empty"),
        ({"turns": ["a", 3]}, "turn 2 is 3, a text is expected"),
        ({"turns": "Why?"}, "turns is 'Why.', list is expected"),
        ({"category": None}, "has no category"),
        ({"question_id": 1.5}, "question_id is 1.5, int or str is expected"),
        ({"question_id": 81}, "row 2: asks question 81, as .*row 1 does; keep one"),
    ],
)
def test_a_question_that_cannot_be_is_named(tmp_path, change, said):
    first, second = question_rows(2)
    path = write_lines(tmp_path / "question.jsonl", [first, {**second, **change}])
    with pytest.raises(EvaluationError, match=f"row 2: {said}|{said}"):
        read_questions(path)


def test_answers_of_fastchat_are_read_and_ours_are_its_own(folder, questions, tmp_path):
    answers = read_answers(folder / "ours.jsonl", questions)
    assert answers.system == "ours"
    assert answers.by_question["82"].turns == ("ours says 1", "ours adds 1")
    lines = [answer_line(each, ("one", "two"), "mine") for each in questions]
    again = read_answers(write_lines(tmp_path / "mine.jsonl", lines), questions)
    assert {each.turns for each in again.by_question.values()} == {("one", "two")}
    assert set(lines[0]) == set(read_lines(folder / "ours.jsonl")[0])
    assert len({line["answer_id"] for line in lines}) == len(lines)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (answer_rows("ours", 3), "1 of 4 questions have no answer, first '84'"),
        (answer_rows("ours", 5), "1 of 5 answers are to no question of this set, .*'85'"),
        ([*answer_rows("ours"), answer_rows("ours")[0]], "row 5: answers .*, as .*row 1 does"),
        ([*answer_rows("ours", 3), answer_rows("b")[3]], "answers of 2 systems .ours, b."),
        ([{**answer_rows("ours")[0], "choices": []}], "choices must begin with an object"),
        ([answer_rows("ours")[1], no_text], "row 2: choices: turn 1 is None, a text is expected"),
    ],
)
def test_answers_that_are_not_those_asked_for_are_named(tmp_path, questions, rows, said):
    with pytest.raises(EvaluationError, match=said):
        read_answers(write_lines(tmp_path / "wrong.jsonl", rows), questions)


def test_a_turn_without_an_answer_is_named(tmp_path, questions):
    rows = answer_rows("ours")
    rows[2]["choices"][0]["turns"].pop()
    with pytest.raises(EvaluationError, match="row 3: 1 answers to question 83 of 2 turns"):
        read_answers(write_lines(tmp_path / "short.jsonl", rows), questions)


def test_wrong_references_are_named(folder, tmp_path, questions):
    assert set(read_references(folder / "reference.jsonl", questions)) == {"82", "84"}
    missing = write_lines(
        tmp_path / "missing.jsonl", [*reference_rows()[:1], answer_rows("gpt-4")[0]]
    )
    with pytest.raises(EvaluationError, match="1 of 2 questions .* first question 84 .coding."):
        read_references(missing, questions)
    rows = [*reference_rows(), {**reference_rows()[0], "question_id": 7}]
    foreign = write_lines(tmp_path / "foreign.jsonl", rows)
    with pytest.raises(EvaluationError, match="to no question of this set.*'7'"):
        read_references(foreign, questions)
    with pytest.raises(EvaluationError, match="2 questions need a reference answer.*82 .math."):
        read_references(None, questions)
    assert read_references(None, [each for each in questions if not each.needs_reference]) == {}


@pytest.mark.parametrize(
    ("judgment", "score"),
    [
        ("Rating: [[7]]", 7),
        ("Rating: [[7.5]]", 7.5),
        ("[[3]] or rather [[9]]", 3),
        ("Rating: [8]", 8),
        ("as [1] says, Rating: [[4]]", 4),
        ("as [1] says, Rating: [4]", 1),
        ("Rating: [[10]]", 10),
        ("Rating: 7", -1),
        ("Rating: [[7/10]]", -1),
        ("Rating: [[seven]]", -1),
        ("评分 [[6]]", 6),
        ("[[rating]]", -1),
        ("Rating: [[-5]]", -1),
        ("Rating: [[8.]]", 8.0),
        ("", -1),
        ("$ERROR$", -1),
        (f"[[{'9' * 5000}]]", -1),
    ],
)
def test_grades_are_parsed_as_fastchat_does(judgment, score):
    assert single_score(judgment) == score


@pytest.mark.parametrize(
    ("judgment", "verdict"),
    [
        ("so [[A]]", "A"),
        ("so [[B]]", "B"),
        ("so [[C]]", "tie"),
        ("not [[B]] but [[A]]", "A"),
        ("not [[C]] but [[B]]", "B"),
        ("so [A]", "error"),
        ("so [[a]]", "error"),
        ("tie", "error"),
        ("$ERROR$", "error"),
    ],
)
def test_verdicts_are_parsed_as_fastchat_does(judgment, verdict):
    assert pair_verdict(judgment) == verdict


@pytest.mark.parametrize("kind", ["single", "pairwise"])
def test_prompts_are_filled_as_str_format_fills_them(folder, kind):
    values = {
        f"{place}{turn}": f"{place} {{braces}} {turn} {{0.__class__}}"
        for place in ("question", "answer", "answer_a", "answer_b", "ref_answer")
        for turn in ("", "_1", "_2")
    }
    prompts = read_judge_prompts(folder / "judge_prompts.jsonl", kind)
    assert len(prompts) == 4
    for name, prompt in prompts.items():
        request = judge_request(prompt, values)
        assert request.messages == (
            ("system", f"Judge by {name}."),
            ("user", f"{{{{{name}}}}} {PLACES[name]}".format(**values)),
        )
        assert (request.max_tokens, request.temperature) == (2048, 0)


def places_of(template):
    return {place for _, place, _, _ in string.Formatter().parse(template) if place}


@pytest.mark.parametrize("kind", ["single", "pairwise"])
def test_own_prompts_ask_all_that_fastchats_do(folder, kind):
    theirs = read_judge_prompts(folder / "judge_prompts.jsonl", kind)
    ours = own_judge_prompts(kind)
    assert ours.keys() == theirs.keys()
    for name, prompt in ours.items():
        assert prompt.name.startswith("coala-jax/")  # no judgment by it passes for one by theirs
        assert prompt.name != f"coala-jax/{name}"  # nor for one by our earlier words
        assert places_of(prompt.template) == places_of(PLACES[name])
        verdict = "[[5]]" if kind == "single" else "[[C]]"
        assert verdict in prompt.template


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "single-v9"}, "has no prompt single-v1; give data/judge_prompts.jsonl"),
        ({"name": "single-math-v1"}, "a prompt 'single-math-v1' stood there before"),
        ({"prompt_template": None}, "has no prompt_template"),
    ],
)
def test_prompts_that_do_not_fit_are_named(tmp_path, change, said):
    rows = [{**row, **(change if row["name"] == "single-v1" else {})} for row in prompt_rows()]
    with pytest.raises(EvaluationError, match=said):
        read_judge_prompts(write_lines(tmp_path / "prompts.jsonl", rows), "single")


def test_a_place_that_nothing_fills_is_named(tmp_path):
    rows = [{**row, "prompt_template": "{question} {wrong}"} for row in prompt_rows()]
    prompts = read_judge_prompts(write_lines(tmp_path / "prompts.jsonl", rows), "single")
    with pytest.raises(EvaluationError, match="prompts.jsonl: prompt 'single-v1' wants {wrong}"):
        judge_request(prompts["single-v1"], {"question": "a", "answer": "b"})


def judged(models=("ours", "base"), count=4):
    return [
        single_row(81 + n, turn, model, 5 + n)
        for model in models
        for n in range(count)
        for turn in (1, 2)
    ]


def compared(count=4):
    return [
        pair_row(81 + n, turn, ("ours", "base"), "model_1", "tie")
        for n in range(count)
        for turn in (1, 2)
    ]


def test_judgments_of_others_are_read(tmp_path, questions):
    found = read_judgments(write_lines(tmp_path / "single.jsonl", judged()), questions)
    assert (len(found.single), found.pairs, found.judge) == (16, [], "gpt-4")
    found = read_judgments(write_lines(tmp_path / "pair.jsonl", compared()), questions)
    assert (found.single, len(found.pairs), found.own_words_notes()) == ([], 8, [])


def test_other_words_of_our_own_have_other_names(tmp_path):
    """Where this fails on the checksum, give `OWN_NAMES` new versions too."""
    prompts = [*own_judge_prompts("single").values(), *own_judge_prompts("pairwise").values()]
    told = own_wording(*(text for each in prompts for text in each[:3]))
    assert told.sha256[:16] == "196bf0a34cb04c46"
    named = [("gpt-4", f"coala-jax/{name}") for name in ("single-v1", "single-v2")]
    rows = [single_row(81, 1, model, 5, name) for model, name in zip("ab", named, strict=True)]
    note, several = read_judgments(write_lines(tmp_path / "mixed.jsonl", rows)).own_words_notes()
    assert note.startswith("2 judgments were made in coala-jax's own words")
    assert several.startswith("coala-jax/single: judgments in 2 versions")
    rows = [single_row(81, turn, "a", 5, named[0]) for turn in (1, 2)]
    rows[1]["judge"][1] += "-multi-turn"
    assert len(read_judgments(write_lines(tmp_path / "old.jsonl", rows)).own_words_notes()) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (judged()[:-1], "of base 1 of 8 answers are not judged, first question 84, turn 2"),
        ([*judged(), judged()[3]], "row 17: judges question 82, turn 2, of ours, as .*row 4"),
        (judged(count=5), "row 9: judges question 85, turn 1, which this set does not have"),
        ([*judged(), single_row(81, 3, "ours", 2)], "turn 3, which this set does not have"),
        ([*judged(), single_row(81, 1, "x", 2, ("gpt-5", ""))], "judgments of 2 judges"),
        ([*judged(), *compared()], "8 of 24 judgments compare two answers"),
        (compared()[:-1], "of base and ours 1 of 8 answers are not judged"),
        (
            [*compared(), pair_row(81, 1, ("base", "ours"), "tie", "tie")],
            "row 9: judges question 81, turn 1, of base and ours, as .*row 1",
        ),
        ([pair_row(81, 1, ("a", "b"), "a", "b")], "a winner is 'a', one of model_1"),
        ([pair_row(81, 1, ("a", "a"), "tie", "tie")], "compares a with itself"),
        ([{**single_row(81, 1, "a", 5), "score": "5"}], "score is '5', int or float"),
        ([{**single_row(81, 1, "a", 5), "judge": ["gpt-4", 3]}], "judge is .* is expected"),
        ([{**single_row(81, 1, "a", 5), "model": None}], "has no model"),
    ],
)
def test_judgments_that_cannot_be_scored_are_named(tmp_path, questions, rows, said):
    with pytest.raises(EvaluationError, match=said):
        read_judgments(write_lines(tmp_path / "wrong.jsonl", rows), questions)


def test_a_score_that_is_no_number_is_named(tmp_path):
    path = tmp_path / "nan.jsonl"
    path.write_text(json.dumps({**single_row(81, 1, "a", 5), "score": float("nan")}) + "\n")
    with pytest.raises(EvaluationError, match="score is nan|row 1"):
        read_judgments(path)
