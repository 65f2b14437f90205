"""Whole groups, read as pairs and written as rows of completions and scores again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.data import DataError, RowOptions, read_rows, split_by_prompt, write_groups
from coala_jax.data._answer_groups import answer_groups, holds_groups

GROUPS = RowOptions(pairs="groups", keep_messages=True)
SCORED = [
    {
        "id": "q",
        "prompt": "p",
        "completions": ["a", "b", "c", "b"],
        "scores": [1, 3.5, 3.5, 0],
        "weight": 2.0,
        "group": "g",
        "source": "s",
    },
    {"prompt": "none", "completions": ["a", "b"], "scores": [1, 1]},
    {"prompt": "other", "completions": ["x", "y"], "scores": [-2, -1]},
]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_groups_are_written_a_line_each_as_they_stood_and_read_back_the_same(tmp_path):
    read = read_rows(SCORED, GROUPS)
    path = write_groups(tmp_path / "new" / "groups.jsonl", read.rows)
    first, second = lines_of(path)
    # The worst answer has the text of a best one: nobody can be told what is better about it.
    assert first == {**SCORED[0], "completions": ["a", "b", "c"], "scores": [1, 3.5, 3.5]}
    assert second == {"id": "line-3", **SCORED[2]}
    again = read_rows(path, GROUPS)
    assert again.rows == read.rows and not again.set_aside
    before = path.read_bytes()
    assert write_groups(path, again.rows).read_bytes() == before
    assert [group.tied for group in answer_groups(read.rows)] == [1, 0]


def test_conversations_are_written_as_messages(tmp_path):
    prompt = [{"role": "user", "content": "p"}]
    answers = [[{"role": "assistant", "content": text}] for text in "abc"]
    row = {"prompt": prompt, "completions": answers, "scores": [2, 1, 3]}
    read = read_rows([row], GROUPS)
    (line,) = lines_of(write_groups(tmp_path / "groups.jsonl", read.rows))
    assert {name: line[name] for name in row} == row
    assert read_rows(tmp_path / "groups.jsonl", GROUPS).rows == read.rows


def test_labelled_rows_are_groups_with_scores_of_one_and_zero(tmp_path):
    rows = [
        {"prompt": "p", "completion": text, "label": label}
        for text, label in (("a", False), ("b", True), ("c", True))
    ]
    (line,) = lines_of(write_groups(tmp_path / "g.jsonl", read_rows(rows, GROUPS).rows))
    assert (line["completions"], line["scores"]) == (["b", "c", "a"], [1.0, 1.0, 0.0])


def test_a_split_by_prompt_parts_no_group(tmp_path):
    rows = [{**SCORED[0], "id": str(n), "prompt": f"p {n}", "group": None} for n in range(20)]
    parts = split_by_prompt(read_rows(rows, GROUPS).rows, 0.3, 0)
    sides = [lines_of(write_groups(tmp_path / f"{n}.jsonl", part)) for n, part in enumerate(parts)]
    assert sum(map(len, sides)) == 20 and all(sides)
    assert all(line["completions"] == ["a", "b", "c"] for side in sides for line in side)


@pytest.mark.parametrize("name", ["a", "a/0-1", "a/0>1"])
def test_rows_of_no_group_are_an_error_that_names_one(tmp_path, name):
    row = {"id": name, "prompt": "p", "chosen": "c", "rejected": "r"}
    message = f"rows: '{name}' is of no group; read them with RowOptions\\(pairs='groups'\\)"
    with pytest.raises(DataError, match=message):
        write_groups(tmp_path / "g.jsonl", read_rows([row]).rows)
    assert not (tmp_path / "g.jsonl").exists()


@given(st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=6), min_size=1, max_size=4))
def test_whatever_the_scores_no_answer_is_lost_or_moved(each):
    rows = [
        {
            "id": f"row/{number}",
            "prompt": f"p {number}",
            "completions": [f"c{n}" for n in range(len(scores))],
            "scores": scores,
        }
        for number, scores in enumerate(each)
    ]
    kept = [row for row in rows if len(set(row["scores"])) > 1]
    try:
        read = read_rows(rows, GROUPS).rows
    except DataError:
        assert not kept
        return
    assert holds_groups([row.id for row in read])
    assert [
        (group.name, list(group.answers), list(group.scores)) for group in answer_groups(read)
    ] == [(row["id"], row["completions"], row["scores"]) for row in kept]
