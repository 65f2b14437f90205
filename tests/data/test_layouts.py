"""Layouts of known data sets that become rows of the usual formats: winners, ranks, OpenAI's."""

import json

import pytest

from coala_jax.data import DataError, RowOptions, read_rows
from tests.data.all_responses import read_responses

QUESTION = [{"role": "user", "content": "Why?"}]
FLAT = "User: Why?\nAssistant:"
PAIR = ("Why?", "So.", "No.")


def answer(text):
    return {"role": "assistant", "content": text}


def texts(rows, **options):
    return [row[1:4] for row in read_rows(rows, RowOptions(strict=True, **options)).rows]


def margins(rows):
    return [row.margin for row in read_rows(rows).rows]


SHP = {
    "post_id": "x",
    "history": "Why?",
    "human_ref_A": "No.",
    "human_ref_B": "So.",
    "labels": 0,
    "score_A": 1,
    "score_B": 7,
    "score_ratio": 7.0,
}
PKU = {
    "prompt": "Why?",
    "response_0": "So.",
    "response_1": "No.",
    "is_response_0_safe": True,
    "better_response_id": 0,
    "safer_response_id": 1,
}
HELPSTEER_2 = {
    "split": "train",
    "prompt": "Why?",
    "response_1": "No.",
    "response_2": "So.",
    "preference_strength": 2,
    "preference_statement": "2 is better",
}
HELPSTEER_3 = {
    "domain": "general",
    "context": QUESTION,
    "response1": "So.",
    "response2": "No.",
    "overall_preference": -3,
    "individual_preference": [{"score": -3}],
}
ARENA = {
    "conversation_a": [*QUESTION, answer("No.")],
    "conversation_b": [*QUESTION, answer("So.")],
    "winner": "model_b",
}
KAGGLE = {
    "prompt": '["Why?"]',
    "response_a": '["So."]',
    "response_b": '["No."]',
    **{"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0},
}
GENERIC = {"prompt": "Why?", "response_a": "So.", "response_b": "No.", "winner": "a"}
NECTAR = {
    "prompt": "Why?",
    "answers": [
        {"answer": "?", "rank": 2.0, "model": "m"},
        {"answer": "No.", "rank": 3.0, "model": "n"},
        {"answer": "So.", "rank": 1.0, "model": "k"},
    ],
    "turns": 1,
}
OPENAI = {
    "input": {"messages": QUESTION, "tools": [], "parallel_tool_calls": True},
    "preferred_output": [answer("So.")],
    "non_preferred_output": [answer("No.")],
}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (SHP, PAIR),
        (PKU, PAIR),
        (HELPSTEER_2, PAIR),
        (HELPSTEER_3, (FLAT, "So.", "No.")),
        (ARENA, (FLAT, "So.", "No.")),
        (KAGGLE, PAIR),
        (GENERIC, PAIR),
        (NECTAR, PAIR),
        (OPENAI, (FLAT, "So.", "No.")),
    ],
)
def test_known_layouts_are_read_and_scored(row, expected):
    assert texts([row]) == [expected]
    scored = read_responses([row]).rows
    assert [each.response for each in scored] == ["So.", "No."]
    assert {each.prompt for each in scored} == {expected[0]}


def test_a_strength_or_a_difference_of_ranks_is_the_margin():
    assert margins([HELPSTEER_2]) == [2.0]
    assert margins([HELPSTEER_3]) == [3.0]
    assert margins([NECTAR]) == [2.0]
    assert margins([GENERIC]) == [None]
    assert margins([{**HELPSTEER_2, "margin": 0.5}]) == [0.5]


def test_other_columns_are_carried_through():
    (made,) = read_rows([SHP]).rows
    assert dict(made.extra) == {"post_id": "x", "score_A": 1, "score_B": 7, "score_ratio": 7.0}
    (made,) = read_rows([OPENAI]).rows
    assert dict(made.extra) == {"parallel_tool_calls": True}


def test_all_pairs_are_made_of_ranked_answers_and_equal_ranks_are_ties():
    read = read_rows([NECTAR], RowOptions(pairs="all"))
    assert {(row.chosen, row.rejected) for row in read.rows} == {
        ("So.", "No."),
        ("So.", "?"),
        ("?", "No."),
    }
    tied = {**NECTAR, "answers": [{**each, "rank": 1} for each in NECTAR["answers"]]}
    assert read_rows([NECTAR, tied]).set_aside_counts == {"tied scores": 1}


def test_ranked_answers_as_a_mapping_of_lists_and_after_messages():
    columns = {key: [each[key] for each in NECTAR["answers"]] for key in ("answer", "rank")}
    assert texts([{"prompt": "Why?", "answers": columns}]) == [PAIR]
    assert texts([{**NECTAR, "prompt": QUESTION}]) == [(FLAT, "So.", "No.")]


@pytest.mark.parametrize(
    ("row", "change"),
    [
        (HELPSTEER_2, {"preference_strength": 0}),
        (HELPSTEER_3, {"overall_preference": 0}),
        (ARENA, {"winner": "tie (bothbad)"}),
        (KAGGLE, {"winner_model_a": 0, "winner_tie": 1}),
        *((GENERIC, {"winner": value}) for value in ("tie", " Tie ", "both", "neither", "draw")),
    ],
)
def test_ties_are_counted_and_are_no_fault(row, change):
    read = read_rows([row, {**row, **change}], RowOptions(strict=True))
    assert len(read.rows) == 1 and read.set_aside_counts == {"tied scores": 1}


def numbered(first, *winners):
    sides = {f"answer_{first}": "So.", f"answer_{first + 1}": "No."}
    return [{"prompt": "Why?", **sides, "winner": winner} for winner in winners]


@pytest.mark.parametrize(
    ("row", "chosen"),
    [
        *(({**GENERIC, "winner": value}, "So.") for value in ("A", "model_a", "response a", "a ")),
        *(({**GENERIC, "winner": value}, "No.") for value in ("B", "assistant-b", "response_b")),
        *((numbered(0, value)[0], "So.") for value in (0, "0", 0.0, "answer_0")),
        *((numbered(0, value)[0], "No.") for value in (1, "1", "1.0", "model_1")),
        *((numbered(1, value)[0], "So.") for value in (1, "1", 1.0)),
        *((numbered(1, value)[0], "No.") for value in (2, "2", "response 2")),
        ({"prompt": "p", "output_1": "So.", "output_2": "No.", "preference": 2}, "No."),
        ({"prompt": "p", "responseA": "So.", "responseB": "No.", "choice": "b"}, "No."),
        ({"prompt": "p", "summary_A": "So.", "summary_B": "No.", "winner": "B"}, "No."),
        ({**SHP, "labels": 1}, "No."),
        ({**HELPSTEER_2, "preference_strength": "-1"}, "No."),
    ],
)
def test_the_winner_is_named_by_its_letter_number_or_column(row, chosen):
    assert [each[1] for each in texts([row])] == [chosen]


def test_numbers_between_and_zero_are_ties_where_responses_are_1_and_2():
    read = read_rows(numbered(1, 1, 2, 0, 1.5))
    assert len(read.rows) == 2 and read.set_aside_counts == {"tied scores": 2}
    read = read_rows(numbered(0, 1, 0, 0.5))
    assert len(read.rows) == 2 and read.set_aside_counts == {"tied scores": 1}


@pytest.mark.parametrize("rows", [numbered(1, 0, 1, 1), numbered(0, 1, 2)])
def test_a_winner_counted_from_another_number_is_asked_about(rows):
    with pytest.raises(
        DataError, match=r"winner: its values \(.*\) are not the numbers of answer_"
    ):
        read_rows(rows)


@pytest.mark.parametrize(
    ("row", "change", "reason"),
    [
        (GENERIC, {"winner": None}, "no winner"),
        (GENERIC, {"winner": "c"}, "winner names neither response, nor a tie"),
        (GENERIC, {"winner": 1}, "winner names neither response, nor a tie"),
        (GENERIC, {"winner": ["a"]}, "winner names neither response, nor a tie"),
        (GENERIC, {"response_a": None}, "no chosen"),
        (SHP, {"labels": 2}, "labels is neither 0 nor 1"),
        (
            KAGGLE,
            {"winner_tie": 1},
            "exactly one of winner_model_a, winner_model_b, winner_tie must be 1",
        ),
        (HELPSTEER_2, {"preference_strength": None}, "no preference_strength"),
        (HELPSTEER_2, {"preference_strength": float("inf")}, "preference_strength is not finite"),
        (HELPSTEER_2, {"preference_strength": "large"}, "preference_strength is not a number"),
        (NECTAR, {"answers": None}, "no answers"),
        (NECTAR, {"answers": ["a", "b"]}, 'answers is not a list of {"answer": ..., "rank": ...}'),
        (NECTAR, {"answers": [{"answer": "a"}]}, "answers is not a list of"),
        (NECTAR, {"answers": [{"answer": "a", "rank": "first"}]}, "a rank is not a number"),
        (NECTAR, {"answers": NECTAR["answers"][:1]}, "fewer than two completions"),
        (NECTAR, {"answers": [{"answer": "a", "score": "high"}]}, "a score is not a number"),
        (
            NECTAR,
            {"answers": [{"answer": "a", "rank": 1}, {"answer": "b", "score": 2}]},
            "answers is not a list of",
        ),
        (OPENAI, {"input": None}, "input holds no messages"),
        (OPENAI, {"input": {"messages": "Why?"}}, "input holds no messages"),
        (OPENAI, {"preferred_output": None}, "no preferred_output"),
    ],
)
def test_a_row_of_a_layout_that_cannot_be_used_is_set_aside(row, change, reason):
    read = read_rows([row, {**row, **change}])
    (set_aside,) = read.set_aside
    assert len(read.rows) == 1 and set_aside.reason.startswith(reason)
    assert set_aside.content == {**row, **change}


def test_of_two_verdicts_the_more_helpful_counts_unless_one_is_named():
    assert texts([PKU]) == [("Why?", "So.", "No.")]
    safer = {"columns": {"winner": "safer_response_id"}}
    assert texts([PKU], **safer) == [("Why?", "No.", "So.")]
    both = {**GENERIC, "choice": "b"}
    with pytest.raises(DataError, match=r"winner and choice each say .* \(--columns winner=winner"):
        read_rows([both])
    assert texts([both], columns={"winner": "choice"})[0][1] == "No."


@pytest.mark.parametrize("points", ["score", "rating", "overall_score"])
def test_answers_may_have_scores_in_place_of_ranks(points):
    answers = [{"answer": each["answer"], points: 9 - each["rank"]} for each in NECTAR["answers"]]
    assert texts([{**NECTAR, "answers": answers}]) == [PAIR]
    assert margins([{**NECTAR, "answers": answers}]) == [2.0]


def test_ultrafeedback_s_rows_are_groups_once_its_columns_are_named():
    row = {
        "instruction": "Why?",
        "completions": [
            {"response": "So.", "overall_score": 8.0, "model": "m", "annotations": {}},
            {"response": "No.", "overall_score": 2.0, "model": "n", "annotations": {}},
            {"response": "?", "overall_score": 8.0, "model": "k", "annotations": {}},
        ],
    }
    columns = {"prompt": "instruction", "answers": "completions"}
    for completions in (
        row["completions"],
        {key: [each[key] for each in row["completions"]] for key in row["completions"][0]},
    ):
        options = RowOptions(columns=columns, pairs="groups")
        read = read_rows([{**row, "completions": completions}], options)
        assert [(row.id, row.rejected, row.margin) for row in read.rows] == [
            ("line-1/0>1", "No.", 6.0),
            ("line-1/0=2", "?", 0.0),
        ]


def test_columns_of_two_responses_are_named():
    row = {"q": "Why?", "left": "No.", "right": "So.", "pick": "right"}
    columns = {"prompt": "q", "response_a": "left", "response_b": "right", "winner": "pick"}
    assert texts([row], columns=columns) == [PAIR]
    with pytest.raises(DataError, match="hold no two responses; name them"):
        read_rows([row], RowOptions(format="winner"))
    no_prompt = {name: value for name, value in GENERIC.items() if name != "prompt"}
    with pytest.raises(DataError, match=r"instruction\) none is prompt; name it with"):
        read_rows([{**no_prompt, "instruction": "Why?"}])


def test_a_format_that_is_known_otherwise_goes_first():
    assert texts([{**GENERIC, "chosen": "x", "rejected": "y"}]) == [("Why?", "x", "y")]
    scored = {**NECTAR, "completions": ["x", "y"], "scores": [1, 0]}
    assert texts([scored]) == [("Why?", "x", "y")]
    assert texts([scored], format="ranked") == [PAIR]


@pytest.mark.parametrize("more", [{"response_2": "Third."}, {"winner": None, "pick": "a"}])
def test_three_responses_or_none_that_wins_are_no_pair(more):
    row = {"prompt": "Why?", "response_0": "So.", "response_1": "No.", "winner": 0, **more}
    row = {name: value for name, value in row.items() if value is not None}
    with pytest.raises(DataError, match="are those of no format"):
        read_rows([row])


def test_turns_as_lists_in_json_are_conversations():
    row = {
        **KAGGLE,
        "prompt": json.dumps(["Why?", "And?"]),
        "response_a": json.dumps(["So.", "More."]),
        "response_b": json.dumps(["No.", "Less."]),
    }
    assert texts([row]) == [
        (FLAT, "So.\nUser: And?\nAssistant: More.", "No.\nUser: And?\nAssistant: Less.")
    ]
    brackets = {**GENERIC, "response_a": '["in brackets"]'}
    assert texts([brackets])[0][1] == '["in brackets"]'


def test_classes_of_a_winner_go_by_their_names():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            **{name: datasets.Value("string") for name in ("prompt", "response_a", "response_b")},
            "winner": datasets.ClassLabel(names=["tie", "b", "a"]),
        }
    )
    columns = {name: [value] * 3 for name, value in GENERIC.items()} | {"winner": [0, 1, 2]}
    read = read_rows(datasets.Dataset.from_dict(columns, features))
    assert [row.chosen for row in read.rows] == ["No.", "So."]
    assert read.set_aside_counts == {"tied scores": 1}


def test_a_turn_that_nobody_has_answered_is_named():
    row = {"prompt": '["Why?"]', "response_a": '["So."]', "response_b": "[null]", "winner": "a"}
    good = {**row, "response_b": '["No."]'}
    read = read_rows([good, row])
    assert [each[1:4] for each in read.rows] == [("Why?", "So.", "No.")]
    assert read.set_aside_counts == {"no answer to one of the turns": 1}
