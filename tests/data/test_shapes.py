"""Formats of rows, as TRL documents them: what each becomes, and what is set aside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.data import DataError, RowOptions, read_rows


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


def texts(rows, **options):
    return [row[1:4] for row in read_rows(rows, RowOptions(**options)).rows]


PROMPT = "What color is the sky?"
CHAT = f"User: {PROMPT}\nAssistant:"
SIDES = {"chosen": [assistant("Blue.")], "rejected": [assistant("Green.")]}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
            ("The sky is", " blue.", " green."),
        ),
        (
            {"chosen": "The sky is blue.", "rejected": "The sky is black."},
            ("The sky is", "blue.", "black."),
        ),
        (
            {
                "chosen": "\n\nHuman: Hi\n\nAssistant: I am well",
                "rejected": "\n\nHuman: Hi\n\nAssistant: I am not",
            },
            ("\n\nHuman: Hi\n\nAssistant:", "I am well", "I am not"),
        ),
        ({"prompt": [user(PROMPT)], **SIDES}, (CHAT, "Blue.", "Green.")),
        (
            {key: [user(PROMPT), *value] for key, value in SIDES.items()},
            (CHAT, "Blue.", "Green."),
        ),
        (
            {"prompt": PROMPT, **{key: [user(PROMPT), *value] for key, value in SIDES.items()}},
            (CHAT, "Blue.", "Green."),
        ),
        ({"prompt": PROMPT, **SIDES}, (CHAT, "Blue.", "Green.")),
        (
            {"prompt": [system("Be brief."), user(PROMPT)], **SIDES},
            (f"System: Be brief.\n{CHAT}", "Blue.", "Green."),
        ),
        (
            {"prompt": [user(PROMPT)], "system": "Be brief.", **SIDES},
            (f"System: Be brief.\n{CHAT}", "Blue.", "Green."),
        ),
        (
            {"prompt": "p", "chosen": "c", "rejected": "r", "system": "Be brief."},
            ("Be brief.\n\np", "c", "r"),
        ),
        (
            {
                "prompt": [user("Hi")],
                "chosen": [assistant("Hello"), user("And?"), assistant("Well")],
                "rejected": [assistant("What")],
            },
            ("User: Hi\nAssistant:", "Hello\nUser: And?\nAssistant: Well", "What"),
        ),
    ],
)
def test_preference_rows_become_text(row, expected):
    assert texts([row]) == [expected]


def test_margin_and_other_columns_are_carried_through():
    row = {"prompt": [user("p")], **SIDES, "margin": 2, "source": "s", "system": None}
    (made,) = read_rows([row]).rows
    assert (made.margin, dict(made.extra)) == (2.0, {"source": "s"})


def test_the_chat_format_is_recorded_and_asked_for_once_where_there_is_a_conversation():
    from coala_jax.data._chat import PLAIN

    asked = []

    def chat():
        asked.append(1)
        return PLAIN._replace(name="n", write=lambda turns, _: " ".join(m.content for m in turns))

    rows = [{"prompt": [user(name)], **SIDES} for name in ("a", "b")]
    read = read_rows(rows, chat=chat)
    assert [row.prompt for row in read.rows] == ["a", "b"]
    assert (read.chat_template, asked) == ("n", [1])
    plain = read_rows([{"prompt": "p", "chosen": "c", "rejected": "r"}], chat=chat)
    assert (plain.chat_template, asked) == ("", [1])


GOOD = {"prompt": [user("p")], **SIDES}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": "p", "chosen": "text"}, "messages and text in one row"),
        (
            {"prompt": "p", "chosen": "text", "rejected": "other"},
            "messages here, text in the first row, or",
        ),
        ({"prompt": None}, "no prompt"),
        ({"prompt": 7}, "prompt is not a string"),
        ({"chosen": []}, "messages and text in one row"),
        ({"chosen": [user("q")]}, "a completion does not begin with the assistant"),
        ({"prompt": [user("p"), user("q")]}, "roles do not alternate"),
        ({"prompt": [assistant("p")]}, "roles do not alternate"),
        ({"prompt": [user("p"), system("s"), user("q")]}, "roles do not alternate"),
        ({"prompt": [{"role": "tool", "content": "p"}]}, "a role other than system, user, assist"),
        ({"prompt": [{"content": "p"}]}, "a message without role and content"),
        ({"prompt": [user("p"), "q"]}, "a message without role and content"),
        ({"rejected": [assistant(None)]}, "a message without role and content"),
        ({"rejected": SIDES["chosen"]}, "chosen equals rejected"),
        ({"chosen": [user("p"), assistant("a")]}, r"prompt repeated in chosen \(--strip-prompt"),
        ({"system": 7}, "system is not a string"),
    ],
)
def test_a_conversation_that_cannot_be_used_is_set_aside(change, reason):
    bad = {**GOOD, **change}
    read = read_rows([GOOD, bad])
    (set_aside,) = read.set_aside
    assert len(read.rows) == 1 and set_aside.number == 2
    assert set_aside.reason.startswith(reason.replace("\\", ""))
    assert set_aside.content == bad
    with pytest.raises(DataError, match=f"rows in memory: line 2: {reason}"):
        read_rows([GOOD, bad], RowOptions(strict=True))


def test_a_template_that_raises_sets_the_row_aside():
    from coala_jax.data._chat import PLAIN

    def refuse(*_):
        raise RuntimeError("no system role")

    read_chat = PLAIN._replace(write=refuse)
    with pytest.raises(DataError, match="the chat template refuses it \\(no system role\\): 1"):
        read_rows([GOOD], chat=lambda: read_chat)


def test_a_repeated_prompt_is_named_and_taken_out_on_request():
    whole = {"prompt": "The sky is", "chosen": "The sky is blue.", "rejected": "The sky is red."}
    with pytest.raises(DataError, match="prompt repeated in chosen \\(--strip-prompt takes it"):
        read_rows([whole])
    assert texts([whole], strip_prompt=True) == [("The sky is", "blue.", "red.")]
    chat = {"prompt": [user("p")], **{k: [user("p"), *v] for k, v in SIDES.items()}}
    assert texts([chat], strip_prompt=True) == [("User: p\nAssistant:", "Blue.", "Green.")]


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("Say hello", "hello", "Say hello"),  # a parrot is a bad answer, not a mistake
        ("Hello", "Hello! How are you?", "Hello."),
        ("The sky", "The skyline", "other"),
    ],
)
def test_what_only_looks_like_a_repeated_prompt_is_kept(prompt, chosen, rejected):
    row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    assert texts([row]) == [(prompt, chosen, rejected)]
    assert texts([row], strip_prompt=True) == [(prompt, chosen, rejected)]


@given(st.text(), st.text(), st.text())
def test_an_implicit_prompt_loses_nothing_but_space(start, left, right):
    chosen, rejected = start + left, start + right
    try:
        ((prompt, one, other),) = texts([{"chosen": chosen, "rejected": rejected}])
    except DataError:
        return
    for response, whole in ((one, chosen), (other, rejected)):
        assert "".join((prompt + response).split()) == "".join(whole.split())


def test_a_late_prompt_column_is_not_overlooked():
    skies = [f"The sky of {number} is" for number in range(100)]
    implicit = [{"chosen": f"{sky} blue.", "rejected": f"{sky} black."} for sky in skies]
    late = {"prompt": "p", "chosen": "The c", "rejected": "The r"}
    assert texts([*implicit, late])[-1] == ("p", "The c", "The r")


def labelled(prompt, completion, label, **other):
    return {"prompt": prompt, "completion": completion, "label": label, **other}


UNPAIRED = [
    labelled("Why?", "good 1", True, id="g1", source="s"),
    labelled("why? ", "bad 1", False, id="b1"),
    labelled("Why?", "good 2", 1, id="g2"),
    labelled("What?", "good 3", True, id="g3"),
]


def test_unpaired_rows_are_paired_within_a_prompt_one_to_one_in_order():
    read = read_rows(UNPAIRED)
    assert [row[:4] for row in read.rows] == [("g1/b1", "Why?", "good 1", "bad 1")]
    assert dict(read.rows[0].extra) == {"source": "s"}
    left = "left over: no completion of the other label for its prompt"
    assert read.set_aside_counts == {left: 2}
    assert [line.content["id"] for line in read.set_aside] == ["g2", "g3"]
    # Nothing is wrong with what is left.
    assert len(read_rows(UNPAIRED, RowOptions(strict=True)).rows) == 1


def test_unpaired_rows_are_paired_all_with_all_on_request():
    read = read_rows(UNPAIRED, RowOptions(pairs="all"))
    assert [row.id for row in read.rows] == ["g1/b1", "g2/b1"]
    assert [line.content["id"] for line in read.set_aside] == ["g3"]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), min_size=1, max_size=12),
    st.sampled_from(["one", "all"]),
)
def test_every_completion_is_in_a_pair_or_counted(entries, pairs):
    rows = [labelled(p, f"c{i}", label, id=str(i)) for i, (p, label) in enumerate(entries)]
    try:
        read = read_rows(rows, RowOptions(pairs=pairs))
    except DataError:
        assert not {p for p, good in entries if good} & {p for p, good in entries if not good}
        return
    used = [name for row in read.rows for name in row.id.split("/")]
    left = [line.content["id"] for line in read.set_aside]
    assert set(used) | set(left) == {str(i) for i in range(len(rows))}
    assert not set(used) & set(left)
    if pairs == "one":
        assert len(used) == len(set(used))


def test_unpaired_conversations_are_paired():
    rows = [
        labelled([user("p")], [assistant("good")], True),
        labelled([user("p")], [assistant("bad")], False),
    ]
    assert texts(rows) == [("User: p\nAssistant:", "good", "bad")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": None}, "no label"),
        ({"label": "maybe"}, "label is neither true nor false"),
        ({"label": 2}, "label is neither true nor false"),
        ({"label": [1]}, "label is neither true nor false"),
        ({"completion": None}, "no completion"),
        ({"completion": " "}, "empty completion"),
        ({"prompt": None}, "no prompt"),
        ({"prompt": "two words", "completion": "two words more"}, "prompt repeated in completion"),
    ],
)
def test_an_unpaired_row_that_cannot_be_used_is_set_aside(change, reason):
    read = read_rows([*UNPAIRED[:2], {**UNPAIRED[2], **change}])
    assert len(read.rows) == 1
    assert read.set_aside[0].reason.startswith(reason)


SCORED = {"id": "q", "prompt": "p", "completions": ["a", "b", "c"], "scores": [1, 3, 1.5]}


def test_scored_rows_become_best_against_worst_with_the_difference_as_margin():
    (row,) = read_rows([{**SCORED, "source": "s"}]).rows
    assert row[:5] == ("q", "p", "b", "a", 2.0)
    assert dict(row.extra) == {"source": "s"}


def test_scored_rows_become_all_pairs_and_ties_are_counted():
    read = read_rows([{**SCORED, "scores": [1, 3, 1]}], RowOptions(pairs="all"))
    assert [row[:5] for row in read.rows] == [
        ("q/1-0", "p", "b", "a", 2.0),
        ("q/1-2", "p", "b", "c", 2.0),
    ]
    assert read.set_aside_counts == {"tied scores": 1}
    tied = read_rows([SCORED, {**SCORED, "id": "t", "scores": [2, 2, 2]}], RowOptions(strict=True))
    assert tied.set_aside_counts == {"tied scores": 1}


def test_scored_rows_are_kept_as_whole_groups():
    """The best one against each other one, ties too; a row of equal scores says nothing."""
    rows = [{**SCORED, "scores": [3, 1, 3]}, {**SCORED, "id": "t", "scores": [2, 2, 2]}]
    read = read_rows(rows, RowOptions(pairs="groups"))
    assert [row[:5] for row in read.rows] == [
        ("q/0>1", "p", "a", "b", 2.0),
        ("q/0=2", "p", "a", "c", 0.0),
    ]
    assert read.set_aside_counts == {"tied scores": 1}


def test_unpaired_rows_are_kept_as_whole_groups():
    labels = [("p", "a", True), ("p", "b", False), ("q", "c", False), ("p", "d", True)]
    rows = [
        {"id": f"r{number}", "prompt": prompt, "completion": text, "label": label}
        for number, (prompt, text, label) in enumerate(labels)
    ]
    read = read_rows(rows, RowOptions(pairs="groups"))
    assert [row[:5] for row in read.rows] == [
        ("r0/0=1", "p", "a", "d", 0.0),
        ("r0/0>2", "p", "a", "b", 1.0),
    ]
    assert sum(read.set_aside_counts.values()) == 1


def test_scored_conversations_are_text():
    row = {**SCORED, "prompt": [user("p")], "completions": [[assistant(text)] for text in "abc"]}
    assert texts([row]) == [("User: p\nAssistant:", "b", "a")]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6))
def test_all_pairs_and_ties_are_all_there_are(scores):
    row = {"prompt": "p", "completions": [f"c{i}" for i in range(len(scores))], "scores": scores}
    try:
        read = read_rows([row], RowOptions(pairs="all"))
    except DataError:
        assert len(set(scores)) == 1
        return
    assert len(read.rows) + len(read.set_aside) == len(scores) * (len(scores) - 1) // 2
    for made in read.rows:
        better, worse = (scores[int(text[1:])] for text in (made.chosen, made.rejected))
        assert better - worse == made.margin > 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": None}, "no scores"),
        ({"completions": None}, "no completions"),
        ({"scores": [1, 2]}, "completions and scores are not two lists of one length"),
        ({"scores": "1, 2, 3"}, "completions and scores are not two lists of one length"),
        ({"scores": [1], "completions": ["a"]}, "fewer than two completions"),
        ({"scores": [1, float("nan"), 2]}, "a score is not finite"),
        ({"scores": [1, True, 2]}, "a score is not a number"),
        ({"completions": ["a", None, "c"]}, "no completion"),
        ({"completions": ["a", 7, "c"]}, "completion is not a string"),
        ({"completions": ["a", [assistant("b")], "c"]}, "messages and text in one row"),
        ({"completions": ["b", "b", "b"]}, "chosen equals rejected"),
    ],
)
def test_a_scored_row_that_cannot_be_used_is_set_aside(change, reason):
    read = read_rows([SCORED, {**SCORED, "id": "r", **change}])
    assert read.set_aside_counts == {reason: 1}


def test_columns_are_mapped_and_what_they_replace_is_kept():
    row = {"question": "p", "best": "c", "worst": "r", "prompt": "old", "n": 1}
    columns = {"prompt": "question", "chosen": "best", "rejected": "worst"}
    (made,) = read_rows([row], RowOptions(columns=columns)).rows
    assert made[1:4] == ("p", "c", "r")
    assert dict(made.extra) == {"original_prompt": "old", "n": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"question": "prompt"}}, "columns: 'question' must be one of id, prompt"),
        ({"columns": {"prompt": "q"}}, "columns: rows in memory has no column 'q'; it has prompt,"),
        ({"columns": {"chosen": "x", "rejected": "x"}}, "columns: 'x' is given to two names"),
        ({"format": "pairs"}, "format='pairs' must be one of preference, unpaired, scored"),
        ({"pairs": "some"}, "pairs='some' must be one of one, all, groups"),
    ],
)
def test_arguments_out_of_range_are_named(options, message):
    with pytest.raises(DataError, match=message):
        read_rows([{"prompt": "p", "chosen": "c", "rejected": "r"}], RowOptions(**options))


def test_columns_of_no_format_are_an_error_that_says_what_to_do():
    with pytest.raises(DataError, match=r"its columns \(text, label\) are those of no format"):
        read_rows([{"text": "t", "label": 1}])


def test_a_stated_format_wins_over_the_columns():
    row = {**SCORED, "chosen": "x", "rejected": "y"}
    assert texts([row]) == [("p", "x", "y")]
    assert texts([row], format="scored") == [("p", "b", "a")]
