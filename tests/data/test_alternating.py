"""Alternating population: the immediate answer against the next later one."""

from hypothesis import given
from hypothesis import strategies as st

from coala_jax.data import Conversation, Message, alternating_rows


def _talk(*turns, name="talk"):
    roles = {"u": "user", "a": "assistant", "s": "system"}
    messages = tuple(Message(roles[turn[0]], turn[2:]) for turn in turns)
    return Conversation(name, messages)


def test_every_answered_turn_but_the_last_makes_a_row():
    made = alternating_rows([_talk("u:one?", "a:1", "u:two?", "a:2", "u:three?", "a:3")])
    assert [(row.id, row.chosen, row.rejected) for row in made.rows] == [
        ("talk/0", "1", "2"),
        ("talk/2", "2", "3"),
    ]
    assert made.rows[0].prompt == "Student: one?\nTutor:"
    assert made.rows[1].prompt == "Student: one?\nTutor: 1\nStudent: two?\nTutor:"
    assert made.rows[1].group == "talk"
    assert made.skipped == {"no later answer": 1}


def test_an_opening_by_the_assistant_is_part_of_the_prompt():
    made = alternating_rows([_talk("a:hello", "u:one?", "a:1", "u:two?", "a:2")])
    assert made.rows[0].prompt == "Tutor: hello\nStudent: one?\nTutor:"


def test_a_continued_answer_is_not_a_later_answer():
    made = alternating_rows([_talk("u:one?", "a:1", "a:and more", "u:two?", "a:2")])
    assert [(row.chosen, row.rejected) for row in made.rows] == [("1", "2")]


def test_turns_without_a_row_are_counted_by_reason():
    made = alternating_rows(
        [
            _talk("u:one?", "u:two?", "a:2", "u:three?", "a:3", "u:four?"),
            _talk("u:one?", "a:same", "u:two?", "a:same "),
            _talk("u: ", "a:1", "u:two?", "a:2"),
            _talk("s:rules", "u:one?", "a:1", "u:two?", "a:2"),
        ]
    )
    assert len(made.rows) == 1
    assert made.skipped == {
        "chosen equals rejected": 1,
        "empty turn": 1,
        "no immediate answer": 2,
        "no later answer": 3,
        "unknown role": 2,
    }


def test_labels_and_group_are_the_callers():
    talk = _talk("s:rules", "u:one?", "a:1", "u:two?", "a:2")._replace(group="algebra")
    labels = {"system": "Rules", "user": "Human", "assistant": "Assistant"}
    (row,) = alternating_rows([talk], labels).rows
    assert row.prompt == "Rules: rules\nHuman: one?\nAssistant:"
    assert row.group == "algebra"


@given(st.lists(st.sampled_from("ua"), max_size=12))
def test_every_user_turn_makes_a_row_or_is_counted(roles):
    talk = _talk(*(f"{role}:text {i}" for i, role in enumerate(roles)))
    made = alternating_rows([talk])
    assert len(made.rows) + sum(made.skipped.values()) == roles.count("u")
    for row in made.rows:
        turn = int(row.id.split("/")[1])
        assert row.chosen == f"text {turn + 1}"
        assert row.chosen not in row.prompt.split("\n")[-2]
        assert int(row.rejected.split()[1]) > turn + 2
