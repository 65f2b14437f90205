"""Alternating population: the immediate answer against the next later one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.data import (
    AlternatingOptions,
    Conversation,
    DataError,
    Message,
    alternating_population,
)
from coala_jax.data._alternating import near_duplicates

ROLES = {"u": "user", "a": "assistant", "s": "system"}


def _talk(*turns, name="talk"):
    messages = tuple(Message(ROLES.get(turn[0], turn[0]), turn[2:]) for turn in turns)
    return Conversation(name, messages)


def _answers(talk, **options):
    made = alternating_population([talk], AlternatingOptions(**options))
    return [(row.chosen, row.rejected) for row in made.rows]


def test_a_lesson_of_three_questions_as_the_paper_s_first_example():
    made = alternating_population(
        [
            _talk(
                "u:What does a lever do?",
                "a:It trades force for distance.",
                "u:And a pulley?",
                "a:It turns the direction of a pull.",
                "u:Where is one used?",
                "a:On every building crane.",
            )
        ]
    )
    assert [(row.id, row.chosen, row.rejected) for row in made.rows] == [
        ("talk/0", "It trades force for distance.", "It turns the direction of a pull."),
        ("talk/2", "It turns the direction of a pull.", "On every building crane."),
    ]
    assert made.rows[0].prompt == "Student: What does a lever do?\nTutor:"
    assert made.rows[1].prompt == (
        "Student: What does a lever do?\nTutor: It trades force for distance.\n"
        "Student: And a pulley?\nTutor:"
    )
    assert made.rows[1].group == "talk"
    assert made.dialogues[1] == (
        Message("user", "What does a lever do?"),
        Message("assistant", "It trades force for distance."),
        Message("user", "And a pulley?"),
    )
    assert (made.skipped, made.dropped) == ({"no later answer": 1}, {})


def test_a_tutor_who_greets_as_the_paper_s_second_example():
    talk = _talk(
        "a:Hello, what shall we look at?",
        "u:Why is the sky blue?",
        "a:Air scatters blue light most.",
        "u:And at dusk?",
        "a:The way is longer, so red is left.",
    )
    pair = ("Air scatters blue light most.", "The way is longer, so red is left.")
    kept = alternating_population([talk])
    dropped = alternating_population([talk], AlternatingOptions(opening="drop"))
    assert [(row.chosen, row.rejected) for row in kept.rows + dropped.rows] == [pair, pair]
    assert kept.rows[0].prompt == (
        "Tutor: Hello, what shall we look at?\nStudent: Why is the sky blue?\nTutor:"
    )
    assert dropped.rows[0].prompt == "Student: Why is the sky blue?\nTutor:"
    assert kept.rows[0].id == dropped.rows[0].id == "talk/1"


def test_the_last_round_wraps_to_the_first_answer_as_the_paper_s_third_example():
    talk = _talk(
        "a:Welcome!",
        "u:Is seven prime?",
        "a:Yes: only one and seven divide it.",
        "u:Is nine?",
        "a:No, three times three is nine.",
        "u:Thanks, and two?",
        "a:Yes, the single even one.",
    )
    assert _answers(talk, last_turn="wrap", opening="drop")[-1] == (
        "Yes, the single even one.",
        "Yes: only one and seven divide it.",
    )
    assert len(_answers(talk, last_turn="wrap")) == 3
    assert len(_answers(talk)) == 2


def test_one_answer_cannot_wrap_to_itself():
    made = alternating_population(
        [_talk("a:hi", "u:one?", "a:1")], AlternatingOptions(last_turn="wrap")
    )
    assert (made.rows, made.skipped) == ((), {"no other answer": 1})


def test_turns_of_one_speaker_are_merged_or_kept_apart():
    talk = _talk("u:one?", "u:I mean 1", "a:1", "a:", "a:and more", "u:two?", "a:2")
    (merged,) = alternating_population([talk]).rows
    assert merged.prompt == "Student: one?\nI mean 1\nTutor:"
    assert (merged.id, merged.chosen, merged.rejected) == ("talk/0", "1\nand more", "2")
    kept = alternating_population([talk], AlternatingOptions(consecutive="keep"))
    assert kept.rows[0].prompt == "Student: one?\nStudent: I mean 1\nTutor:"
    assert (kept.rows[0].id, kept.rows[0].chosen, kept.rows[0].rejected) == ("talk/1", "1", "2")
    assert kept.skipped == {"no immediate answer": 1, "no later answer": 1}


def test_system_messages_are_part_of_prompts_but_no_turns():
    talk = _talk("s:be kind", "u:one?", "s:now in French", "a:un", "u:two?", "a:deux")
    (row,) = alternating_population([talk]).rows
    assert row.prompt == ("System: be kind\nStudent: one?\nSystem: now in French\nTutor:") and (
        row.chosen,
        row.rejected,
    ) == ("un", "deux")
    (row,) = alternating_population([talk], AlternatingOptions(system="drop")).rows
    assert row.prompt == "Student: one?\nTutor:"
    assert row.id == "talk/1"


def test_a_greeting_after_a_system_message_is_an_opening():
    talk = _talk("s:rules", "a:hello", "u:one?", "a:1", "u:two?", "a:2")
    (row,) = alternating_population([talk], AlternatingOptions(opening="drop")).rows
    assert row.prompt == "System: rules\nStudent: one?\nTutor:"


def test_what_makes_no_triplet_is_counted_by_reason():
    made = alternating_population(
        [
            _talk("u:one?", "a:same", "u:two?", "a:same "),
            _talk("u: ", "a:1", "u:two?", "a:2"),
            _talk("u:one?", "a:1", "u:two?", "a:\n"),
            _talk("u:one?", "a:It is the third.", "u:two?", "a:it is the THIRD"),
            _talk("u:one?", "a:1", "u:two?"),
            _talk("u:one?"),
            _talk("a:hello", "a:anyone?"),
            Conversation("nothing", ()),
            _talk("u:one?", "p:1", "u:two?", "a:2"),
        ]
    )
    assert made.rows == ()
    assert made.skipped == {
        "chosen equals rejected": 1,
        "empty turn": 2,
        "near-duplicate answers": 1,
        "no immediate answer": 2,
        "no later answer": 5,
    }
    assert made.dropped == {"no user turn": 2, "unknown role": 1}


def test_labels_and_group_are_the_callers():
    talk = _talk("p:squawk", "u:one?", "a:1", "u:two?", "a:2")._replace(group="algebra")
    labels = {"p": "Bird", "user": "Human", "assistant": "Assistant"}
    (row,) = alternating_population([talk], AlternatingOptions(labels=labels)).rows
    assert row.prompt == "Bird: squawk\nHuman: one?\nAssistant:"
    assert row.group == "algebra"


@pytest.mark.parametrize(
    ("first", "second", "least", "alike"),
    [
        ("That is right!", "that is  right", 1.0, True),
        ("ﬁne", "fine", 1.0, True),
        ("one two three four", "one two three five", 0.75, True),
        ("one two three four", "one two three five", 0.76, False),
        ("one two", "two one", 0.6, False),  # the order counts
        ("x < 3", "x > 3", 0.9, False),  # and so do the signs of formulae
        ("?", "!", 0.9, False),
        ("?", "? ", 1.0, True),
        ("", "word", 0.1, False),
    ],
)
def test_near_duplicates_share_their_words_in_order(first, second, least, alike):
    assert near_duplicates(first, second, least) is alike
    assert near_duplicates(second, first, least) is alike


def test_the_threshold_decides_which_answers_are_too_alike():
    talk = _talk("u:one?", "a:one two three four", "u:two?", "a:one two three five")
    assert _answers(talk) != []
    assert _answers(talk, duplicate_similarity=0.75) == []


@pytest.mark.parametrize(
    "options",
    [
        {"last_turn": "loop"},
        {"consecutive": "drop"},
        {"opening": "merge"},
        {"system": ""},
        {"duplicate_similarity": 0.0},
        {"duplicate_similarity": 1.1},
        {"duplicate_similarity": float("nan")},
        {"labels": {"user": "Student"}},
    ],
)
def test_a_bad_option_is_named(options):
    with pytest.raises(DataError, match=next(iter(options))):
        alternating_population([], AlternatingOptions(**options))


def _by_hand(messages, last_turn, consecutive, opening, system):
    """(turn, prompt, chosen, rejected) of every triplet, by looking at pairs of neighbours."""
    turns = [(m.role, m.content, n) for n, m in enumerate(messages)]
    if system == "drop":
        turns = [turn for turn in turns if turn[0] != "system"]
    if opening == "drop":
        while any(t[0] == "user" for t in turns):
            speakers = [n for n, t in enumerate(turns) if t[0] != "system"]
            if turns[speakers[0]][0] == "user":
                break
            del turns[speakers[0]]
    if consecutive == "merge":
        n = 0
        while n + 1 < len(turns):
            if turns[n][0] == turns[n + 1][0]:
                turns[n] = (turns[n][0], f"{turns[n][1]}\n{turns[n + 1][1]}", turns[n][2])
                del turns[n + 1]
            else:
                n += 1
    rounds = []  # place of a question and of its answer
    for question in range(len(turns)):
        for answer in range(question + 1, len(turns)):
            between = {turn[0] for turn in turns[question + 1 : answer]}
            roles = (turns[question][0], turns[answer][0])
            if roles == ("user", "assistant") and between <= {"system"}:
                rounds.append((question, answer))
    triplets = []
    for number, (question, answer) in enumerate(rounds):
        if number + 1 < len(rounds):
            other = rounds[number + 1][1]
        elif last_turn == "wrap" and number > 0:
            other = rounds[0][1]
        else:
            continue
        prompt = tuple(Message(*turn[:2]) for turn in turns[:answer])
        triplets.append((turns[question][2], prompt, turns[answer][1], turns[other][1]))
    return triplets


OPTIONS = st.fixed_dictionaries(
    {
        "last_turn": st.sampled_from(["drop", "wrap"]),
        "consecutive": st.sampled_from(["merge", "keep"]),
        "opening": st.sampled_from(["keep", "drop"]),
        "system": st.sampled_from(["keep", "drop"]),
    }
)


@given(st.lists(st.sampled_from("uas"), max_size=12), OPTIONS)
def test_it_makes_what_is_found_by_hand_and_counts_the_other_user_turns(roles, options):
    talk = _talk(*(f"{role}:text{n} word{n}" for n, role in enumerate(roles)))
    made = alternating_population([talk], AlternatingOptions(**options))
    found = [
        (int(row.id.split("/")[1]), dialogue, row.chosen, row.rejected)
        for row, dialogue in zip(made.rows, made.dialogues, strict=True)
    ]
    assert found == _by_hand(talk.messages, **options)
    if options["consecutive"] == "keep":
        assert len(made.rows) + sum(made.skipped.values()) == roles.count("u")
    assert sum(made.dropped.values()) == ("u" not in roles)
    # Which answers there are does not depend on what is left in the prompts.
    other = alternating_population([talk], AlternatingOptions(**(options | {"opening": "keep"})))
    assert [row[2:4] for row in other.rows] == [row[2:4] for row in made.rows]


CONTENTS = st.one_of(st.text(max_size=8), st.sampled_from(["yes", "Yes.", " ", "no", "yes "]))


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([*ROLES.values(), "parrot"]), CONTENTS), max_size=8),
        max_size=4,
    ),
    OPTIONS,
    st.floats(0.01, 1.0),
)
def test_every_row_is_usable_and_every_conversation_is_accounted_for(talks, options, least):
    talks = [
        Conversation(f"c{n}", tuple(Message(*turn) for turn in turns))
        for n, turns in enumerate(talks)
    ]
    made = alternating_population(talks, AlternatingOptions(duplicate_similarity=least, **options))
    for row, dialogue in zip(made.rows, made.dialogues, strict=True):
        assert row.prompt.strip() and row.chosen.strip() and row.rejected.strip()
        assert row.chosen != row.rejected
        assert not near_duplicates(row.chosen, row.rejected, least)
        assert row.prompt.endswith("\nTutor:")
        assert "user" in {message.role for message in dialogue}
    assert len({row.id for row in made.rows}) == len(made.rows)
    roles = [{message.role for message in talk.messages} for talk in talks]
    assert made.dropped.get("unknown role", 0) == sum("parrot" in some for some in roles)
    again = alternating_population(talks, AlternatingOptions(duplicate_similarity=least, **options))
    assert again == made


def test_the_answers_do_not_depend_on_the_other_conversations():
    talks = [
        _talk("u:one?", "a:1", "u:two?", "a:2", name="first"),
        _talk("u:one?", "a:uno", "u:two?", "a:due", name="second"),
    ]
    together = alternating_population(talks)
    apart = [alternating_population([talk]).rows[0] for talk in talks]
    assert list(together.rows) == apart
