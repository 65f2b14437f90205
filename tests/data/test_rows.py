"""Reading preference rows: what is usable, what is set aside and why, what is an error."""

import gzip
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.data import DataError, PreferenceRow, read_rows
from coala_jax.data._rows import RowFault, fingerprint_rows, preference_row
from tests.data.all_responses import read_responses

GOOD = {"id": "a", "prompt": "Why?", "chosen": "Because.", "rejected": "No."}


def _write(path, lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def test_a_full_row_keeps_every_field(tmp_path):
    row = {**GOOD, "margin": 2, "weight": 0.5, "group": 7, "judge": "human"}
    (read,) = read_rows(_write(tmp_path / "rows.jsonl", [row])).rows
    assert read == PreferenceRow("a", "Why?", "Because.", "No.", 2.0, 0.5, "7", {"judge": "human"})


def test_gzipped_rows_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), mtime=0))
    assert read_rows(path).rows[0].prompt == "Why?"


def test_a_row_without_id_is_named_by_its_line(tmp_path):
    row = {key: GOOD[key] for key in ("prompt", "chosen", "rejected")}
    rows = read_rows(_write(tmp_path / "rows.jsonl", ["", row])).rows
    assert rows[0].id == "line-2"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": None}, "no prompt"),
        ({"chosen": None}, "no chosen"),
        ({"rejected": None}, "no rejected"),
        ({"rejected": " \n"}, "empty rejected"),
        ({"prompt": ""}, "empty prompt"),
        (
            {"chosen": ["Because."]},
            "chosen is not a string but a list of texts (several responses go into completions, "
            "with scores)",
        ),
        ({"chosen": {"text": "So.", "by": 1}}, "chosen is not a string but an object of by, text"),
        ({"chosen": 7}, "chosen is not a string"),
        ({"chosen": "\ud800"}, "chosen is not valid Unicode"),
        ({"chosen": "No. "}, "chosen equals rejected"),
        ({"margin": "big"}, "margin is not a number"),
        ({"margin": True}, "margin is not a number"),
        ({"margin": float("nan")}, "margin is not finite"),
        ({"margin": 10**400}, "margin is not finite"),
        ({"weight": -1}, "weight is negative"),
    ],
)
def test_a_row_that_cannot_be_used_is_set_aside_with_its_reason(tmp_path, change, reason):
    read = read_rows(_write(tmp_path / "rows.jsonl", [{**GOOD, **change}, GOOD]))
    assert read.set_aside_counts == {reason: 1}
    assert read.set_aside[0].number == 1
    assert [row.id for row in read.rows] == ["a"]


def test_reasons_are_counted_and_lines_numbered(tmp_path):
    lines = ["{", GOOD, "", "[1]", {**GOOD, "chosen": "No."}, "{", '{"margin": ' + "9" * 5000 + "}"]
    read = read_rows(_write(tmp_path / "rows.jsonl", lines))
    assert read.set_aside_counts == {
        "broken JSON": 3,
        "chosen equals rejected": 1,
        "not a JSON object": 1,
    }
    assert [line.number for line in read.set_aside] == [1, 4, 5, 6, 7]


def test_nothing_usable_names_the_file_the_counts_and_the_lines(tmp_path):
    path = _write(tmp_path / "rows.jsonl", ["{", *[{**GOOD, "rejected": ""}] * 4])
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert str(caught.value) == (
        f"{path}: no usable row; set aside: broken JSON: 1 (line 1); "
        "empty rejected: 4 (line 2, 3, 4, ...)"
    )


@pytest.mark.parametrize("reader", [read_rows, read_responses])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jsonl", None, "no such file; give an existing .jsonl or .jsonl.gz or"),
        ("empty.jsonl", b"", "the file is empty"),
        ("blank.jsonl", b"\n \n", "holds no rows"),
        ("rows.txt", b"a,b", "ends in .jsonl or .jsonl.gz or"),
        ("rows.jsonl.gz", b"plain text", "cannot be read"),
        ("cut.jsonl.gz", gzip.compress(b"{}" * 500, mtime=0)[:-12], "cannot be read"),
        ("latin.jsonl", b'{"prompt": "\xe9"}', "not valid UTF-8: 1 "),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path, reader, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        reader(path)
    assert str(path) in str(caught.value)


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "chosen", "rejected", "margin", "weight", "group"]),
        st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.lists(st.integers()),
    )
)
def test_any_json_object_is_either_usable_or_has_a_reason(fields):
    with suppress(RowFault):
        row = preference_row(fields, 1)
        texts = [text.strip() for text in (row.prompt, row.chosen, row.rejected)]
        assert all(texts) and texts[1] != texts[2]


def test_fingerprint_follows_texts_and_labels_but_not_extra_fields():
    row = PreferenceRow("a", "p", "c", "r")
    first = fingerprint_rows([row])
    assert fingerprint_rows([row._replace(extra={"judge": "human"})]) == first
    for change in ({"margin": 1.0}, {"chosen": "d"}, {"group": "g"}, {"id": "b"}):
        assert fingerprint_rows([row._replace(**change)]) != first
    other = row._replace(id="b")
    assert fingerprint_rows([row, other]) != fingerprint_rows([other, row])


def test_responses_and_pairs_are_read_for_scoring(tmp_path):
    lines = [
        {"id": 3, "prompt": "p", "response": "r"},
        {"prompt": "p", "chosen": "same", "rejected": "same"},
        {"prompt": "p", "chosen": "c"},
        {"prompt": "p"},
        "{",
    ]
    read = read_responses(_write(tmp_path / "rows.jsonl", lines))
    assert [row[:2] + row[3:] for row in read.rows] == [
        ("3", "response", "r"),
        ("line-2", "chosen", "same"),
        ("line-2", "rejected", "same"),
    ]
    assert read.set_aside_counts == {"broken JSON": 1, "no rejected": 1, "no response": 1}


def test_conversations_are_read_for_scoring(tmp_path):
    prompt = [{"role": "user", "content": "p"}]
    answer = [{"role": "assistant", "content": "r"}]
    lines = [
        {"prompt": prompt, "response": "r"},
        {"prompt": prompt, "chosen": answer, "rejected": answer},
        {"prompt": prompt, "response": prompt},
    ]
    read = read_responses(_write(tmp_path / "rows.jsonl", lines))
    assert {row[2:] for row in read.rows} == {("User: p\nAssistant:", "r")}
    assert len(read.rows) == 3
    assert read.chat_template == "flatten(System, User, Assistant)"
    assert read.set_aside_counts == {"a completion does not begin with the assistant": 1}


def test_what_is_scored_is_the_text_that_was_trained_on(tmp_path):
    """Both readers make one prompt of a system column, for text and for conversations."""
    text = {"prompt": "p q", "chosen": "yes", "rejected": "no", "system": "Be brief."}
    talk = {
        "prompt": [{"role": "user", "content": "p q"}],
        "chosen": [{"role": "assistant", "content": "yes"}],
        "rejected": [{"role": "assistant", "content": "no"}],
        "system": "Be brief.",
    }
    for fields in (text, talk):
        path = _write(tmp_path / "rows.jsonl", [json.dumps(fields)])
        (pair,), responses = read_rows(path).rows, read_responses(path).rows
        assert "Be brief." in pair.prompt
        assert {row.prompt for row in responses} == {pair.prompt}
        assert [row.response for row in responses] == [pair.chosen, pair.rejected]


HEADER = b"prompt,chosen,rejected\n"


@pytest.mark.parametrize(
    ("name", "content", "reason", "mend"),
    [
        ("r.jsonl", b'{"prompt": "caf\xe9"}\n' * 2, "not valid UTF-8", "save the file as UTF-8"),
        ("r.jsonl", b'{"prompt" 1}\n' * 2, "broken JSON", "write one JSON object a line"),
        (
            "r.json",
            b'[{"prompt": ',
            "broken JSON, the rest of the array is lost",
            "write one JSON object a line",
        ),
        (
            "r.csv",
            HEADER + b'p,"a, and b,r\n',
            'a quote (") that is not closed, or not doubled within a quoted field',
            "write a quote within a quoted field twice",
        ),
        (
            "r.csv",
            HEADER + b"p,c\n",
            "not as many fields as columns",
            "quote the fields that hold the delimiter",
        ),
        ("r.csv", HEADER + b"p,,r\n", "no chosen", "fill the column, or name another one"),
    ],
)
def test_what_helps_is_said_where_no_row_is_usable(tmp_path, name, content, reason, mend):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path / name)
    said = str(caught.value).split("set aside: ")[1]
    assert said.startswith(f"{reason}: ") and f"; {mend}" in said
