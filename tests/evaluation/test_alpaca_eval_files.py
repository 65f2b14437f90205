"""Files of AlpacaEval 2: read by instruction, written as they were found, faults named."""

import csv
import json
import math

import numpy as np
import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.alpaca_eval import (
    Question,
    leaderboard_row,
    output_rows,
    pair_outputs,
    read_annotations,
    read_length_data,
    read_outputs,
    read_questions,
    score,
    write_annotations,
    write_leaderboard,
    write_outputs,
)
from coala_jax.evaluation.alpaca_eval._annotations import in_order_of, require_judged
from coala_jax.evaluation.alpaca_eval._length_data import read_difficulty, require_same_difficulty

# The columns of `weighted_alpaca_eval_gpt4_turbo_leaderboard.csv` of the original.
COLUMNS = [
    "",
    "win_rate",
    "standard_error",
    "n_wins",
    "n_wins_base",
    "n_draws",
    "n_total",
    "discrete_win_rate",
    "mode",
    "avg_length",
    "length_controlled_winrate",
    "lc_standard_error",
]


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def annotation(number, **changes):
    return {
        "dataset": "koala",
        "instruction": f"do {number}",
        "output_1": f"base {number}",
        "generator_1": "base",
        "output_2": f"ours {number}!",
        "generator_2": "ours",
        "annotator": "judge",
        "preference": 1.25,
    } | changes


def test_outputs_are_written_as_they_are_read(tmp_path):
    source = [{"instruction": f"do {number}", "dataset": "vicuna"} for number in range(3)]
    questions = read_questions(written(tmp_path / "set.json", source))
    assert questions == [Question(f"do {number}", "vicuna") for number in range(3)]
    path = tmp_path / "model_outputs.json"
    write_outputs(path, output_rows(questions, ["a", "", 'ü "c"\n'], "ours"))
    rows = json.loads(path.read_text())
    assert [list(row) for row in rows] == [["dataset", "instruction", "output", "generator"]] * 3
    answers = read_outputs(path)
    assert answers.system == "ours"
    assert [answers.by_question[f"do {n}"].text for n in range(3)] == ["a", "", 'ü "c"\n']
    assert read_questions(path) == questions
    with pytest.raises(EvaluationError, match="2 outputs to 3 questions"):
        output_rows(questions, ["a", "b"], "ours")


def test_pairs_are_made_by_instruction_and_not_by_place(tmp_path):
    rows = [{"instruction": f"do {n}", "output": f"base {n}", "generator": "base"} for n in "abc"]
    ours = [row | {"output": f"ours {row['instruction']}", "generator": "ours"} for row in rows]
    base = written(tmp_path / "base.json", rows)
    model = read_outputs(written(tmp_path / "ours.json", ours[::-1]))
    pairs = pair_outputs(read_questions(base), read_outputs(base), model)
    assert [(p.question.instruction, p.output_1, p.output_2) for p in pairs] == [
        (f"do {n}", f"base {n}", f"ours do {n}") for n in "abc"
    ]


def test_instructions_that_are_twice_foreign_or_missing_are_named(tmp_path):
    rows = [{"instruction": f"do {n}", "output": "x", "generator": "base"} for n in "ab"]
    base = written(tmp_path / "base.json", rows)
    questions, baseline = read_questions(base), read_outputs(base)
    with pytest.raises(EvaluationError, match=r"row 3: answers .*, as .*row 1 does"):
        read_outputs(written(tmp_path / "twice.json", [*rows, rows[0]]))
    with pytest.raises(EvaluationError, match=r"row 3: its instruction stands in an earlier row"):
        read_questions(written(tmp_path / "twice.json", [*rows, rows[0]]))
    foreign = [*rows, rows[0] | {"instruction": "do z"}]
    with pytest.raises(EvaluationError, match=r"1 of 3 answers are to no question.*'do z'"):
        pair_outputs(questions, baseline, read_outputs(written(tmp_path / "f.json", foreign)))
    short = read_outputs(written(tmp_path / "short.json", rows[1:]))
    with pytest.raises(EvaluationError, match="1 of 2 questions have no answer, first 'do a'"):
        pair_outputs(questions, baseline, short)
    assert len(pair_outputs(questions, baseline, short, partial=True)) == 1
    two = [rows[0], rows[1] | {"generator": "other"}]
    with pytest.raises(EvaluationError, match=r"answers of 2 systems \(base, other\)"):
        read_outputs(written(tmp_path / "two.json", two))


def test_two_models_of_one_name_are_no_pair(tmp_path):
    rows = [{"instruction": f"do {n}", "output": n, "generator": "ours"} for n in "abc"]
    base = written(tmp_path / "base.json", rows)
    questions, baseline = read_questions(base), read_outputs(base)
    assert len(pair_outputs(questions, baseline, baseline)) == 3
    other = written(
        tmp_path / "other.json", [*rows[:1], *(row | {"output": "x"} for row in rows[1:])]
    )
    with pytest.raises(
        EvaluationError, match="are both 'ours', and 2 of 3 answers differ; give the model a name"
    ):
        pair_outputs(questions, baseline, read_outputs(other))


def test_annotations_of_others_are_read_whatever_more_they_hold(tmp_path):
    values = [1.0, 1.5, 2.0, 0, None, -1, 1.9999]
    more = {"glm_preference": 0.3, "price_per_example": 0.01, "raw_completion": None}
    rows = [annotation(n, preference=value, **more) for n, value in enumerate(values)]
    found = read_annotations(written(tmp_path / "annotations.json", rows))
    expected = [1.0, 1.5, 2.0, 1.5, np.nan, np.nan, 1.9999]
    np.testing.assert_array_equal(found.preferences(), expected)
    assert (found.baseline, found.model, found.annotator) == ("base", "ours", "judge")
    np.testing.assert_array_equal(found.lengths()[:2], [(6, 7), (6, 7)])
    assert found.sha256 is not None


def test_annotations_are_written_in_the_format_that_they_are_read_in(tmp_path):
    rows = [annotation(0), annotation(1, preference=None)]
    found = read_annotations(written(tmp_path / "theirs.json", rows))
    write_annotations(tmp_path / "ours.json", found)
    again = json.loads((tmp_path / "ours.json").read_text())
    assert [{name: row[name] for name in rows[0]} for row in again] == rows
    np.testing.assert_array_equal(
        read_annotations(tmp_path / "ours.json").preferences(), found.preferences()
    )


def test_what_the_judge_was_told_is_kept_beside_its_preference(tmp_path):
    wording = {"name": "clf.txt", "sha256": "ab12"}
    rows = [annotation(0, judge_wording=wording), annotation(1)]
    found = read_annotations(written(tmp_path / "theirs.json", rows))
    assert [row.wording and row.wording._asdict() for row in found.rows] == [wording, None]
    write_annotations(tmp_path / "ours.json", found)
    again = json.loads((tmp_path / "ours.json").read_text())
    assert again[0]["judge_wording"] == wording and "judge_wording" not in again[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"judge_wording": "clf.txt"},
            r"row 2: judge_wording is 'clf.txt', an object of the texts",
        ),
        ({"preference": 2.5}, r"row 2: preference is 2.5; from 1 to 2, 0 for a tie or null"),
        ({"preference": "1.5"}, r"row 2: preference is '1.5', int or float is expected"),
        ({"preference": True}, r"row 2: preference is True"),
        ({"instruction": "do 0"}, r"row 2: answers .*, as .*row 1 does; keep one"),
        ({"generator_1": "text_davinci_003"}, "generator_1 is not one but 2"),
        ({"generator_2": "theirs"}, "answers of 2 systems"),
        ({"annotator": "gpt"}, r"annotator is not one but 2 \(judge, gpt\); give a file of one"),
        ({"output_1": None}, "row 2: has no output_1"),
    ],
)
def test_faults_of_annotations_are_named(tmp_path, changes, message):
    path = written(tmp_path / "annotations.json", [annotation(0), annotation(1, **changes)])
    with pytest.raises(EvaluationError, match=message):
        read_annotations(path)


def test_a_row_without_a_preference_is_not_one_that_could_not_be_read(tmp_path):
    row = annotation(0)
    del row["preference"]
    with pytest.raises(EvaluationError, match="row 1: has no preference; it has dataset"):
        read_annotations(written(tmp_path / "annotations.json", [row]))


def test_answers_that_were_edited_since_are_named(tmp_path):
    rows = [annotation(number) for number in range(3)]
    found = read_annotations(written(tmp_path / "annotations.json", rows))
    outputs = [
        {"instruction": row["instruction"], "output": row["output_2"], "generator": "ours"}
        for row in rows
    ]
    require_judged(found, read_outputs(written(tmp_path / "outputs.json", outputs[::-1])))
    outputs[1]["output"] += " "
    edited = read_outputs(written(tmp_path / "outputs.json", outputs))
    with pytest.raises(
        EvaluationError, match=r"1 of 3 answers are not those .*outputs.json: row 2"
    ):
        require_judged(found, edited)
    unjudged = [*outputs[:1], {"instruction": "do 9", "output": "x", "generator": "ours"}]
    more = read_outputs(written(tmp_path / "outputs.json", unjudged))
    with pytest.raises(EvaluationError, match="1 of 2 answers are to no question"):
        require_judged(found, more)
    part = found._replace(rows=found.rows[:1])
    require_judged(part, more, partial=True)


def test_annotations_take_the_order_of_the_set(tmp_path):
    rows = [annotation(number) for number in (2, 0, 1)]
    found = read_annotations(written(tmp_path / "annotations.json", rows))
    questions = [Question(f"do {number}") for number in range(3)]
    ordered = in_order_of(questions, found)
    assert [row.pair.question.instruction for row in ordered.rows] == ["do 0", "do 1", "do 2"]
    with pytest.raises(EvaluationError, match="1 of 4 questions have no answer, first 'do 3'"):
        in_order_of([*questions, Question("do 3")], found)
    assert len(in_order_of([*questions, Question("do 3")], found, partial=True).rows) == 3
    with pytest.raises(EvaluationError, match="1 of 3 answers are to no question of this set"):
        in_order_of(questions[:2], found, partial=True)


GAMED = """model,index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline
verbose,1,,-2,-0.25,False
verbose,0,0.75,-1.5,1.25,False
concise,0,0.1,0.5,1.25,False
concise,1,1.0,2e-1,-0.25,False
"""
DIFFICULTY = ",instruction_difficulty\n1,-0.25\n0,1.25\n"


def test_difficulties_and_gamed_rows_belong_to_the_place_that_they_name(tmp_path):
    data = read_length_data(written(tmp_path / "df_gamed.csv", GAMED), 2)
    np.testing.assert_array_equal(data.difficulty, [1.25, -0.25])
    np.testing.assert_array_equal(data.gamed.question, [1, 0, 0, 1])
    np.testing.assert_array_equal(data.gamed.length_difference, [-2, -1.5, 0.5, 0.2])
    np.testing.assert_array_equal(data.gamed.preference, [np.nan, 0.75, 0.1, 1.0])
    for text in (DIFFICULTY, DIFFICULTY.replace(",ins", "index,ins")):
        difficulty = read_difficulty(written(tmp_path / "difficulty.csv", text), 2)
        np.testing.assert_array_equal(difficulty, data.difficulty)
    require_same_difficulty("difficulty.csv", difficulty, data)
    with pytest.raises(EvaluationError, match="1 of 2 difficulties are not .* instruction 0: 1.5,"):
        require_same_difficulty("difficulty.csv", np.array([1.5, -0.25]), data)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("verbose,0", "verbose,2", "row 3: index is 2, a place from 0 to 1 is expected"),
        ("verbose,0", "verbose,0.5", "row 3: index is 0.5, a place"),
        ("0.75", "1.75", "row 3: preference is 1.75, from 0 to 1 is expected"),
        ("-1.5", "long", "row 3: std_delta_len is 'long', a finite number is expected"),
        ("-1.5", "", "row 3: has no std_delta_len"),
        ("-1.5", "nan", "row 3: std_delta_len is 'nan', a finite number is expected"),
        ("0.1,0.5,1.25", "0.1,0.5,1.5", "row 4: instruction 0 has the difficulty 1.5, and 1.25"),
        ("0.2,-0.25,False", "0.2,-0.25,True", "not_gamed_baseline is True, False is expected"),
        ("instruction_difficulty", "d", "row 2: has no instruction_difficulty; it has model"),
    ],
)
def test_faults_of_gamed_rows_are_named(tmp_path, old, new, message):
    text = GAMED.replace("2e-1", "0.2").replace(old, new, 1)
    with pytest.raises(EvaluationError, match=message):
        read_length_data(written(tmp_path / "df_gamed.csv", text), 2)


def test_files_of_another_set_are_named(tmp_path):
    gamed = written(tmp_path / "df_gamed.csv", GAMED)
    with pytest.raises(EvaluationError, match="1 of 3 instructions have no row, first .* place 2"):
        read_length_data(gamed, 3)
    with pytest.raises(EvaluationError, match="index is 1, a place from 0 to 0 is expected"):
        read_length_data(gamed, 1)
    difficulty = written(tmp_path / "difficulty.csv", DIFFICULTY)
    with pytest.raises(EvaluationError, match="2 rows for 3 instructions, one each is expected"):
        read_difficulty(difficulty, 3)


def test_a_leaderboard_has_the_columns_of_the_originals(tmp_path):
    rows = [annotation(n, preference=value) for n, value in enumerate([1, 2, 1.5, 1.2, None, 0])]
    found = score(read_annotations(written(tmp_path / "annotations.json", rows)), draws=10)
    row = leaderboard_row(found)
    write_leaderboard(tmp_path / "board.csv", found)
    with (tmp_path / "board.csv").open(newline="") as file:
        header, values = csv.reader(file)
    assert header == COLUMNS
    assert values[0] == "ours" and values[3:8] == ["1", "2", "2", "5", "40.0"]
    assert float(values[1]) == pytest.approx(44) and values[9:] == ["7", "", ""]
    write_leaderboard(tmp_path / "board.json", found)
    again = json.loads((tmp_path / "board.json").read_text())
    assert again == {"ours": row} and row["length_controlled_winrate"] is None
    assert not math.isnan(row["standard_error"])
    with pytest.raises(EvaluationError, match="is a .csv or a .json file"):
        write_leaderboard(tmp_path / "board.txt", found)
    with pytest.raises(EvaluationError, match="6 of 7 instructions were judged, and a row of a"):
        write_leaderboard(tmp_path / "part.csv", found._replace(of_set=7))
    assert not (tmp_path / "part.csv").exists()
