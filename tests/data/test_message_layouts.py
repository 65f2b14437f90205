"""Layouts of messages that data sets have: read as what they mean, or refused by name."""

import json

import pytest

from coala_jax.data import DataError, read_rows, stream_responses
from coala_jax.data._prompts import read_prompts

PLAIN = {
    "prompt": [{"role": "user", "content": "Why?"}],
    "chosen": [{"role": "assistant", "content": "Because."}],
    "rejected": [{"role": "assistant", "content": "No."}],
}


def texts(row):
    (read,) = read_rows([row]).rows
    return read[1:4]


def with_all(change):
    return {name: change(turns) for name, turns in PLAIN.items()}


def shared(turns):
    speakers = {"user": "human", "assistant": "gpt"}
    return [{"from": speakers[turn["role"]], "value": turn["content"]} for turn in turns]


def typed(turns):
    return [{**t, "content": [{"type": "text", "text": t["content"]}]} for t in turns]


def with_nulls(turns):
    """As Arrow gives turns of which some have more fields than others."""
    return [{**turn, "tool_calls": None, "name": None} for turn in turns]


LAYOUTS = {
    "json": with_all(json.dumps),
    "indented json": with_all(lambda turns: json.dumps(turns, indent=2)),
    "python": with_all(repr),
    "python tuples": with_all(lambda turns: repr(tuple(turns))),
    "one message": with_all(lambda turns: turns[0]),
    "one message as json": with_all(lambda turns: json.dumps(turns[0])),
    "typed parts": with_all(typed),
    "ShareGPT": with_all(shared),
    "ShareGPT as json": with_all(lambda turns: json.dumps(shared(turns))),
    "lists of roles and contents": with_all(
        lambda turns: {key: [turn[key] for turn in turns] for key in ("role", "content")}
    ),
    "null fields": with_all(with_nulls),
    "tuples": with_all(tuple),
    "text answers": {"prompt": PLAIN["prompt"], "chosen": "Because.", "rejected": "No."},
    "text prompt": {**PLAIN, "prompt": "Why?"},
    "an empty system message": {
        **PLAIN,
        "prompt": [{"role": "system", "content": " "}, *PLAIN["prompt"]],
    },
    "conversations": {
        "conversations": shared(PLAIN["prompt"]),
        "chosen": shared(PLAIN["chosen"])[0],
        "rejected": shared(PLAIN["rejected"])[0],
    },
    "messages": {"messages": PLAIN["prompt"], "chosen": "Because.", "rejected": "No."},
    "implicit": {side: PLAIN["prompt"] + PLAIN[side] for side in ("chosen", "rejected")},
    "implicit as json": {
        side: json.dumps(PLAIN["prompt"] + PLAIN[side]) for side in ("chosen", "rejected")
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_means_the_same(layout):
    assert texts(LAYOUTS[layout]) == texts(PLAIN)


@pytest.mark.parametrize(
    "row",
    [
        {"completions": ["Because.", "No."], "scores": [2, 1]},
        {"completions": [repr(PLAIN["chosen"]), repr(PLAIN["rejected"])], "scores": [2, 1]},
        {"completions": [PLAIN["chosen"][0], PLAIN["rejected"][0]], "scores": [2, 1]},
    ],
)
def test_scored_rows_have_the_same_layouts(row):
    assert texts({"prompt": PLAIN["prompt"], **row}) == texts(PLAIN)


@pytest.mark.parametrize(
    "completion", ["Because.", PLAIN["chosen"][0], json.dumps(PLAIN["chosen"])]
)
def test_unpaired_rows_and_responses_do_too(completion):
    bad = {"prompt": PLAIN["prompt"], "completion": PLAIN["rejected"], "label": False}
    rows = [{"prompt": PLAIN["prompt"], "completion": completion, "label": True}, bad]
    assert read_rows(rows).rows[0][1:4] == texts(PLAIN)
    for response in ({"response": completion}, {"responses": [completion]}):
        (((own,),)) = list(stream_responses([{"prompt": PLAIN["prompt"], **response}]).entries)
        assert (own.prompt, own.response) == texts(PLAIN)[:2]


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2] is a list",
        '{"content": 3} parses as what?',
        "[{'role': 'user'}]",
        '{"value": 1, "from": ["x"',
        "{} [] ()",
        '[{"a": 1}]',
    ],
)
def test_a_text_that_is_no_messages_stays_text(text):
    row = {"prompt": text, "chosen": "a", "rejected": "b"}
    assert texts(row)[0] == text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        # As numpy prints an array of dicts, of which pandas makes a CSV.
        (
            {"prompt": "[{'content': 'a', 'role': 'user'}\n {'content': 'b', 'role': 'user'}]"},
            "messages written as text that cannot be read back",
        ),
        ({"prompt": [{"role": "user", "content": [{"type": "audio"}]}]}, "a part of type audio"),
        ({"prompt": {"role": ["user"], "content": ["a", "b"]}}, "lists of different lengths"),
        ({"prompt": [{"from": "alien", "value": "a"}]}, "a role other than system, user"),
        ({"prompt": [{"role": "user", "content": None}]}, "a message without role and content"),
        ({"videos": ["a.mp4"]}, "videos: only text has features"),
    ],
)
def test_what_is_not_read_is_named(change, reason):
    read = read_rows([PLAIN, {**PLAIN, **change}])
    (line,) = read.set_aside
    assert reason in line.reason


def test_tools_that_are_no_tools_are_named():
    for tools in ("[" * 100_000, "no json", [1]):
        (line,) = read_rows([PLAIN, {**PLAIN, "tools": tools}]).set_aside
        assert line.reason == "tools is not a list of mappings"


def test_much_white_space_is_read_at_once():
    row = {"prompt": " " * 1_000_000 + "Why?", "chosen": "a", "rejected": "b"}
    assert texts(row)[1:] == ("a", "b")  # quadratic, it would take hours


def test_prompts_to_answer_are_read_in_these_layouts_and_without_tools(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": json.dumps(PLAIN["prompt"])}) + "\n")
    (row,) = read_prompts(file)
    assert [message.content for message in row.prompt] == ["Why?"]
    file.write_text(json.dumps({**PLAIN, "tools": [{"type": "function"}]}) + "\n")
    with pytest.raises(DataError, match="row 1: tools: responses are generated without any"):
        read_prompts(file)


def whole(question, *answers):
    return dict(zip(("chosen", "rejected"), (f"{question}{each}" for each in answers), strict=True))


@pytest.mark.parametrize("column", ["question", "instruction", "input", "query", "context"])
def test_a_column_that_looks_like_the_prompt_is_asked_for(column):
    rows = [{column: f"q{n}", **whole("The answer: ", f"a{n}", f"b{n}")} for n in range(3)]
    with pytest.raises(DataError, match=f"rows in memory: no column .* --columns prompt={column}"):
        read_rows(rows)


def test_a_guessed_prompt_that_all_rows_share_or_few_have_is_refused():
    same = [whole("The answer: ", f"a{n}", f"b{n}") for n in range(20)]
    with pytest.raises(DataError, match="one of 1 texts in 20 rows; name the column"):
        read_rows(same)
    told, untold = ([whole(f"I {n} ", "a", "b") for n in range(20)], [whole("", "a", "b")] * 20)
    assert len(read_rows(told[:13] + untold[:7]).rows) == 13
    chance = told[:7] + untold[:13]
    with pytest.raises(DataError, match="in 13 of 20 rows they begin differently; name the col"):
        read_rows(chance)


HAN, JOINED = "\u5929\u6c14", "\U0001f469\u200d"


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        (HAN, "\u6674", "\u96e8"),  # Chinese words have no spaces between them
        ("\u3069\u3046\u3057\u3066\uff1f", "\u306f\u3044", "\u3044\u3044\u3048"),
        # An English word is not cut, nor a letter from its accent, nor a joined sign.
        (HAN, "yes of", "yet"),
        (HAN, "\u0e01\u0e49\u0e32", "\u0e01\u0e49\u0e4b"),
        (HAN, f"{JOINED}\U0001f4bb", f"{JOINED}\U0001f680"),
        (f"Say it: {HAN}", "\u597d", "\u4eec"),
        ("Why? It", "rains", "pours"),
    ],
)
def test_a_guessed_prompt_ends_amid_no_word_and_no_character(prompt, chosen, rejected):
    space = " " if prompt.endswith("It") else ""
    row = {"chosen": f"{prompt}{space}{chosen}", "rejected": f"{prompt}{space}{rejected}"}
    assert texts(row) == (prompt, chosen, rejected)


def test_rows_that_go_on_from_one_question_are_a_group():
    later = [*PLAIN["prompt"], *PLAIN["chosen"], {"role": "user", "content": "And now?"}]
    kind = [{"role": "system", "content": "Be kind."}, *PLAIN["prompt"]]
    other = [{"role": "user", "content": "How?"}]
    read = read_rows([{**PLAIN, "prompt": each} for each in (PLAIN["prompt"], later, kind, other)])
    groups = [row.group for row in read.rows]
    assert groups[0] == groups[1] == groups[2] != groups[3]
    assert "rows with the same first question are a group" in read.notes[0]
    assert read_rows([PLAIN]).notes == ()
    own = read_rows([{**PLAIN, "group": "mine"}]).rows[0].group
    assert own == "mine"
    plain = {"chosen": "a", "rejected": "b"}
    read = read_rows([{"prompt": "Why?", "system": each, **plain} for each in ("S", "T", None)])
    assert read.rows[0].group == read.rows[1].group == groups[0]
    assert read.rows[2].group == groups[0]
    assert read_rows([{"prompt": "Why?", **plain}]).rows[0].group is None  # prompts are enough
    implicit = {"chosen": "Why? It rains", "rejected": "Why? It pours"}
    read = read_rows([{**implicit, "system": each} for each in ("S", "T")])
    assert read.rows[0].group == read.rows[1].group is not None
