"""Rows to be scored: every layout that `extract` takes, and those with responses of their own."""

import io
import json
import sys

import pytest

from coala_jax.data import DataError, RowOptions, stream_responses
from tests.data.all_responses import read_responses

USER, ANSWER = {"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}
FLAT = "User: p\nAssistant:"


def rows_of(*fields, **options):
    return [tuple(row) for row in read_responses(list(fields), RowOptions(**options)).rows]


def test_a_list_of_responses_gives_each_of_them():
    assert rows_of({"id": "q", "prompt": "p", "responses": ["a", "b"]}) == [
        ("q", "response-0", "p", "a"),
        ("q", "response-1", "p", "b"),
    ]


@pytest.mark.parametrize("responses", [["a"], [[ANSWER]]])
def test_responses_may_be_messages_and_the_prompt_with_them(responses):
    ((_, _, prompt, response),) = rows_of({"prompt": [USER], "responses": responses})
    assert (prompt, response) == (FLAT, "a")
    ((_, _, prompt, response),) = rows_of({"prompt": "p", "response": [ANSWER]})
    assert (prompt, response) == (FLAT, "a")


def test_messages_that_repeat_the_question_are_taken_apart():
    """As UltraFeedback has them: a text prompt, and both sides with the question in front."""
    fields = {"prompt": "p", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]}
    assert rows_of(fields) == [
        ("line-1", "chosen", FLAT, "a"),
        ("line-1", "rejected", FLAT, "b"),
    ]


def test_columns_are_named_as_extract_names_them():
    fields = {"question": "p", "best": "a", "worst": "b"}
    columns = {"prompt": "question", "chosen": "best", "rejected": "worst"}
    assert [row[3] for row in rows_of(fields, columns=columns)] == ["a", "b"]
    assert rows_of(
        {"question": "p", "answer": "a"}, columns={"prompt": "question", "response": "answer"}
    ) == [("line-1", "response", "p", "a")]


def test_scored_and_unpaired_rows_give_the_pairs_that_extract_makes_of_them():
    scored = {"id": "q", "prompt": "p q", "completions": ["a", "b", "c"], "scores": [2, 3, 1]}
    assert [row[::3] for row in rows_of(scored)] == [("q", "b"), ("q", "c")]
    assert [row[0] for row in rows_of(scored, pairs="all")][::2] == ["q/1-0", "q/0-2", "q/1-2"]
    good, bad = ({"prompt": "p q", "completion": c, "label": c == "good"} for c in ("good", "bad"))
    assert [row[1::2] for row in rows_of(good, bad)] == [("chosen", "good"), ("rejected", "bad")]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prompt": "p", "response": " "}, "empty response"),
        ({"prompt": "p", "response": None}, "no response"),
        ({"prompt": "p", "responses": []}, "empty responses"),
        ({"prompt": "p", "responses": "a"}, "responses is not a list of texts or of conversations"),
        ({"prompt": [{"role": "user", "content": "p"}], "responses": ["a", " "]}, "empty response"),
        ({"prompt": [{"role": "user", "content": "p"}], "response": None}, "no response"),
        (
            {"prompt": "p", "responses": [{"role": "user", "content": "a"}]},
            "a completion does not begin with the assistant",
        ),
        ({"prompt": "p", "responses": ["a", ""]}, "empty response"),
        ({"prompt": "p", "responses": ["a", 3]}, "response is not a string"),
        ({"prompt": "p", "responses": [None]}, "no response"),
        ({"response": "a"}, "no prompt"),
        ({"prompt": "p", "chosen": "a", "rejected": ""}, "empty rejected"),
        ({"prompt": "p q", "chosen": "p q a", "rejected": "b"}, "prompt repeated in chosen"),
        ({"prompt": "p", "response": [{"role": "assistant"}]}, "a message without role and"),
    ],
)
def test_a_row_that_cannot_be_scored_has_its_reason(fields, reason):
    good = {"prompt": "p", "response": "r"}
    if "chosen" in fields:
        good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    (set_aside,) = read_responses([good, fields]).set_aside
    assert reason in set_aside.reason and set_aside.number == 2
    with pytest.raises(DataError, match="line 2: .*; mend the row, or leave out --strict"):
        read_responses([good, fields], RowOptions(strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "pairs"}, "format='pairs' must be one of"),
        ({"pairs": "two"}, "pairs='two' must be one of one, all, groups"),
        ({"columns": {"answer": "a"}}, "columns: 'answer' must be one of"),
        ({"columns": {"response": "b"}}, "has no column 'b'"),
        ({}, r"its columns \(prompt, answer\) hold no responses; .* \(--columns response=answer\)"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(DataError, match=message):
        stream_responses([{"prompt": "p", "answer": "a"}], RowOptions(**options))


def standard_input(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_standard_input_is_json_lines(monkeypatch):
    lines = [json.dumps({"prompt": "p", "response": "r"}), "", "{", "\xe9"]
    standard_input(monkeypatch, "\n".join(lines).encode("latin-1"))
    read = read_responses("-")
    assert [row.id for row in read.rows] == ["line-1"]
    assert [(line.number, line.reason, line.file) for line in read.set_aside] == [
        (3, "broken JSON", "standard input"),
        (4, "not valid UTF-8", "standard input"),
    ]


def test_standard_input_without_rows_or_with_a_split_is_an_error(monkeypatch):
    standard_input(monkeypatch, b"")
    with pytest.raises(DataError, match="standard input: holds no rows"):
        read_responses("-")
    with pytest.raises(DataError, match="split='test': standard input has none"):
        read_responses("-", RowOptions(split="test"))


def test_rows_are_read_as_they_are_asked_for():
    given = 0

    def endless():
        nonlocal given
        while True:
            given += 1
            yield {"prompt": "p", "response": "r"}

    stream = stream_responses(endless())
    for _ in range(300):
        next(stream.entries)
    assert given <= 301
