"""Rows of one response and its score: those to one prompt are a group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.data import DataError, RowOptions, read_rows
from tests.data.all_responses import read_responses


def rated(prompt, completion, score, **other):
    return {"prompt": prompt, "completion": completion, "score": score, **other}


ROWS = [
    rated("Why?", "fair", 2, model="m", judge="j"),
    rated("What?", "alone", 9, judge="j"),
    rated("why? ", "good", 4.5, model="n", judge="j"),
    rated("Why?", "bad", 0, model="o", judge="j", id="own"),
    rated("Why?", "as good", 4.5, model="p", judge="j"),
    rated("Who?", "x", 1, judge="j"),
    rated("Who?", "y", 1, judge="j"),
]
ALONE, TIED = "left over: the only response to its prompt", "tied scores"


def test_the_best_response_to_a_prompt_is_paired_with_the_worst():
    read = read_rows(ROWS)
    assert [row[:5] for row in read.rows] == [("line-1", "why? ", "good", "bad", 4.5)]
    assert dict(read.rows[0].extra) == {"judge": "j"}  # in which all rows of the prompt agree
    assert read.set_aside_counts == {ALONE: 1, TIED: 1}
    alone, tied = read.set_aside
    assert alone.number == 2 and alone.content == ROWS[1]
    assert tied.content == ROWS[5:]
    assert len(read_rows(ROWS, RowOptions(strict=True)).rows) == 1  # none of that is a fault


def test_all_pairs_of_a_prompt_are_made_on_request_and_ties_are_counted():
    read = read_rows(ROWS, RowOptions(pairs="all"))
    assert [row.id for row in read.rows] == [
        f"line-1/{p}" for p in ("1-0", "0-2", "3-0", "1-2", "3-2")
    ]
    assert read.set_aside_counts == {ALONE: 1, TIED: 2}


def test_rows_of_a_prompt_become_a_group_with_its_ties():
    read = read_rows(ROWS, RowOptions(pairs="groups"))
    assert [row[:5] for row in read.rows] == [
        ("line-1/1>0", "why? ", "good", "fair", 2.5),
        ("line-1/1>2", "why? ", "good", "bad", 4.5),
        ("line-1/1=3", "why? ", "good", "as good", 0.0),
    ]
    assert read.set_aside_counts == {ALONE: 1, TIED: 1}


@pytest.mark.parametrize("score", ["score", "rating", "helpfulness"])
@pytest.mark.parametrize("completion", ["completion", "response"])
def test_columns_of_a_response_and_a_score_are_known(completion, score):
    rows = [{"prompt": "p", completion: text, score: n} for n, text in enumerate("ab")]
    assert [row[1:5] for row in read_rows(rows).rows] == [("p", "b", "a", 1.0)]


def test_another_column_of_scores_is_named():
    rows = [
        {"prompt": "p", "response": text, "helpfulness": n, "verbosity": -n}
        for n, text in enumerate("ab")
    ]
    options = RowOptions(columns={"score": "verbosity"})
    (row,) = read_rows(rows, options).rows
    assert (row.chosen, row.rejected, row.margin) == ("a", "b", 1.0)


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        (
            {"prompt": "p", "completion": "a", "score": 1, "rating": 2},
            {},
            r"score and rating may each be meant; .*\(--columns score=score\)",
        ),
        (
            {"prompt": "p", "completion": "a", "response": "b", "score": 1},
            {},
            r"completion and response may each be meant; .*\(--columns completion=completion\)",
        ),
        (
            {"prompt": "p", "response": "a", "stars": 1},
            {"format": "rated"},
            r"columns \(prompt, response, stars\) none is score or rating or helpfulness; .*"
            r"\(--columns score=points\)",
        ),
        (
            {"prompt": "p", "text": "a", "score": 1},
            {"format": "rated"},
            r"none is completion or response; .*\(--columns completion=answer\)",
        ),
        ({"prompt": "p", "response": "a", "stars": 1}, {}, "are those of no format"),
    ],
)
def test_columns_that_are_not_sure_are_asked_about(row, options, message):
    with pytest.raises(DataError, match=message):
        read_rows([row], RowOptions(**options))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"score": None}, "no score"),
        ({"score": ""}, "no score"),
        ({"score": "much"}, "score is not a number"),
        ({"score": True}, "score is not a number"),
        ({"score": [1]}, "score is not a number"),
        ({"score": float("inf")}, "score is not finite"),
        ({"score": "nan"}, "score is not finite"),
        ({"completion": None}, "no completion"),
        ({"completion": " "}, "empty completion"),
        ({"prompt": None}, "no prompt"),
        ({"completion": [{"role": "assistant", "content": "a"}]}, "messages here, text in the"),
    ],
)
def test_a_row_that_cannot_be_used_does_not_spoil_the_others_of_its_prompt(change, reason):
    bad = {**rated("Why?", "worse", -1), **change}
    read = read_rows([*ROWS, bad], RowOptions(pairs="groups"))
    assert len(read.rows) == 3
    (found,) = [line for line in read.set_aside if line.number == 8]
    assert found.reason.startswith(reason) and found.content == bad
    with pytest.raises(DataError, match=f"line 8: {reason}"):
        read_rows([*ROWS, bad], RowOptions(strict=True))


def test_the_same_answer_twice_is_no_pair():
    read = read_rows([*ROWS, rated("Why?", "good", 1)], RowOptions(pairs="groups"))
    assert read.set_aside_counts["chosen equals rejected"] == 1
    assert [row.id for row in read.rows][-1] == "line-1/1=3"


def test_a_table_has_its_scores_as_text(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("prompt,response,rating\np,a,3\np,b,4.5\nq,c,\nq,d,1\n")
    read = read_rows(path)
    assert [row[1:5] for row in read.rows] == [("p", "b", "a", 1.5)]
    assert read.set_aside_counts == {ALONE: 1, "no score": 1}


def test_conversations_are_grouped_by_all_that_goes_before_the_answer():
    def turn(role, text):
        return {"role": role, "content": text}

    def row(question, answer, score, system=None):
        prompt = [turn("user", question)]
        return rated(prompt, [turn("assistant", answer)], score, system=system)

    rows = [row("p", "a", 1), row("p", "b", 2), row("p", "c", 3, "Be brief."), row("q", "d", 0)]
    read = read_rows(rows, RowOptions(keep_messages=True))
    assert [row[1:5] for row in read.rows] == [("User: p\nAssistant:", "b", "a", 1.0)]
    assert read.rows[0].messages.rejected[0].content == "a"
    assert read.set_aside_counts == {ALONE: 2}


def test_weights_and_groups_are_those_of_the_better_row():
    rows = [rated("p", "a", 1, weight=1, group="x"), rated("p", "b", 2, weight=3, group="y")]
    (row,) = read_rows(rows).rows
    assert (row.weight, row.group) == (3.0, "y")


def test_responses_to_be_scored_are_read_one_by_one_or_as_the_pairs_they_make():
    assert [row.response for row in read_responses(ROWS).rows] == ["good", "bad"]
    helpsteer = [{"prompt": "p", "response": text, "helpfulness": 1} for text in "ab"]
    assert [row.response for row in read_responses(helpsteer).rows] == ["a", "b"]


@given(
    st.lists(st.tuples(st.sampled_from("pq"), st.integers(0, 3)), min_size=1, max_size=9),
    st.sampled_from(["one", "all", "groups"]),
)
def test_rows_are_read_as_the_lists_they_make_are(entries, which):
    rows = [rated(prompt, f"c{n}", score) for n, (prompt, score) in enumerate(entries)]
    lists = {}
    for number, row in enumerate(rows, start=1):
        made = {"id": f"line-{number}", "prompt": row["prompt"], "completions": [], "scores": []}
        kept = lists.setdefault(row["prompt"], made)
        kept["completions"].append(row["completion"])
        kept["scores"].append(row["score"])
    expected, found = [], []
    for source, read in ((list(lists.values()), expected), (rows, found)):
        try:
            read += read_rows(source, RowOptions(pairs=which)).rows
        except DataError:
            continue
    assert found == expected
