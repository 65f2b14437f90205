"""Conversation files: both layouts, names of speakers, lines that are set aside."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.data import DataError, Message, read_conversations

MESSAGES = [{"role": "user", "content": "one?"}, {"role": "assistant", "content": ""}]


@pytest.fixture
def write(tmp_path):
    def lines(*rows):
        path = tmp_path / "talks.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return path

    return lines


def test_messages_and_utterances_are_read(write):
    path = write(
        {"id": 7, "group": 3, "messages": MESSAGES, "note": "kept nowhere"},
        {"utterances": [["Student", "one?"], ["TUTOR ", "1"], ["Narrator", "later"]]},
    )
    first, second = read_conversations(path).conversations
    assert (first.id, first.group) == ("7", "3")
    assert first.messages == (Message("user", "one?"), Message("assistant", ""))
    assert (second.id, second.group) == ("line-2", None)
    assert second.messages == (
        Message("user", "one?"),
        Message("assistant", "1"),
        Message("Narrator", "later"),
    )


def test_conversations_are_read_from_any_kind_of_source(tmp_path):
    row = {"id": "a", "messages": MESSAGES}
    (tmp_path / "talks.json").write_text(json.dumps([row, {"messages": []}]))
    for source in (tmp_path / "talks.json", tmp_path, [row, {"messages": []}]):
        read = read_conversations(source)
        assert [talk.id for talk in read.conversations] == ["a"]
        assert read.set_aside_counts == {"empty messages": 1}


def test_speakers_are_the_callers(write):
    path = write({"utterances": [["Pupil A", "one?"], ["Student", "1"]]})
    (talk,) = read_conversations(path, {"pupil a": "user"}).conversations
    assert [message.role for message in talk.messages] == ["user", "Student"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no messages or utterances"),
        ({"messages": "one?"}, "messages is not a list"),
        ({"messages": None}, "messages is not a list"),
        ({"utterances": []}, "empty utterances"),
        ({"messages": ["one?"]}, "messages holds a turn that is not a speaker and a text"),
        (
            {"messages": [{"role": "user"}]},
            "messages holds a turn that is not a speaker and a text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages holds a turn that is not a speaker and a text",
        ),
        (
            {"utterances": [["a", "b", "c"]]},
            "utterances holds a turn that is not a speaker and a text",
        ),
        ({"utterances": ["ab"]}, "utterances holds a turn that is not a speaker and a text"),
        ({"utterances": [["a", "\ud800"]]}, "utterances is not valid Unicode"),
    ],
)
def test_a_line_without_a_conversation_is_set_aside(write, fields, reason):
    read = read_conversations(write({"messages": MESSAGES}, fields))
    assert len(read.conversations) == 1
    assert read.set_aside_counts == {reason: 1}
    assert read.set_aside[0].number == 2


def test_a_file_without_a_conversation_is_an_error(write):
    with pytest.raises(DataError, match="no messages or utterances: 2"):
        read_conversations(write({"prompt": "a"}, {"prompt": "b"}))


TEXTS = st.text(max_size=4)
TURNS = st.lists(
    st.tuples(st.sampled_from(["student", "tutor", "system", "Narrator"]), TEXTS), max_size=4
)
BROKEN = st.sampled_from([b"{", b"[]", b"\xff", b'{"messages": 1}', b'{"utterances": [["a"]]}'])


@given(st.lists(st.one_of(TURNS, BROKEN), min_size=1, max_size=6))
def test_every_line_is_a_conversation_or_is_set_aside(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("talks") / "talks.jsonl"
    lines = [
        entry if isinstance(entry, bytes) else json.dumps({"utterances": entry}).encode()
        for entry in entries
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    whole = [entry for entry in entries if not isinstance(entry, bytes) and entry]
    if not whole:
        with pytest.raises(DataError, match="no usable row"):
            read_conversations(path)
        return
    read = read_conversations(path)
    assert [[turn.content for turn in talk.messages] for talk in read.conversations] == [
        [text for _, text in turns] for turns in whole
    ]
    assert len(read.conversations) + len(read.set_aside) == len(entries)
    assert all(one.reason and one.number for one in read.set_aside)
