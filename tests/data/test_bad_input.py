"""Bad input: reported with file and line, counted by reason, kept aside, fatal where asked for."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.data import (
    DataError,
    RowOptions,
    SourceOptions,
    alternating_population,
    load_named,
    open_source,
    read_rows,
    stream_responses,
    write_rows,
    write_set_aside,
)

GOOD = {"id": "good", "prompt": "Why?", "chosen": "Because.", "rejected": "No."}


def line(**change):
    fields = {**GOOD, "id": "bad", **change}
    return json.dumps({key: value for key, value in fields.items() if value != "absent"}).encode()


# What stands between two good lines, and the reason.
BAD_LINES = {
    "invalid UTF-8": (line(prompt="caf#").replace(b"#", b"\xe9"), "not valid UTF-8"),
    "broken JSON": (b'{"prompt": "Why?", "chosen', "broken JSON"),
    "no object": (b'["Why?"]', "not a JSON object"),
    "column missing": (line(rejected="absent"), "no rejected"),
    "null": (line(chosen=None), "no chosen"),
    "empty": (line(prompt=""), "empty prompt"),
    "blank": (line(chosen=" \t"), "empty chosen"),
    "a list among strings": (
        line(
            chosen=[{"role": "assistant", "content": "c"}],
            rejected=[{"role": "assistant", "content": "r"}],
        ),
        "messages here, text in the first row, or the other way round",
    ),
    "prompt repeated": (
        line(prompt="Why is it?", chosen="Why is it? Because.", rejected="Why is it? No."),
        "prompt repeated in chosen (--strip-prompt takes it out)",
    ),
    "10 MB": (line(chosen="a" * 10_000_000), "chosen is longer than 2,000,000 characters"),
    "equal": (line(chosen="No."), "chosen equals rejected"),
    "repeated id": (line(id="good"), "id of an earlier row"),
    "margin": (line(margin="large"), "margin is not a number"),
}


@pytest.fixture(params=BAD_LINES, ids=str)
def bad(request, tmp_path):
    content, reason = BAD_LINES[request.param]
    path = tmp_path / "rows.jsonl"
    after = json.dumps({**GOOD, "id": "after"}).encode()
    path.write_bytes(b"\n".join([json.dumps(GOOD).encode(), content, after, b""]))
    return path, reason


def test_a_bad_line_is_set_aside_alone_with_its_place(bad):
    path, reason = bad
    read = read_rows(path)
    assert [row.id for row in read.rows] == ["good", "after"]
    assert read.set_aside_counts == {reason: 1}
    assert (read.set_aside[0].file, read.set_aside[0].number) == (str(path), 2)


def test_strict_makes_it_fatal_and_says_where(bad):
    path, reason = bad
    with pytest.raises(DataError) as caught:
        read_rows(path, RowOptions(strict=True))
    assert str(caught.value).startswith(f"{path}: line 2: {reason}; mend the row")


def test_what_is_set_aside_is_kept_with_its_reason(bad, tmp_path):
    path, reason = bad
    out = write_set_aside(tmp_path / "out" / "rejected_rows.jsonl", read_rows(path).set_aside)
    (kept,) = map(json.loads, out.read_text().splitlines())
    assert (kept["file"], kept["line"], kept["reason"]) == (str(path), 2, reason)
    content = path.read_bytes().split(b"\n")[1]
    if reason == "not valid UTF-8":
        assert kept["row"] == content.replace(b"\xe9", b"\\xe9").decode()
    elif reason == "broken JSON":
        assert kept["row"] == content.decode()
    else:
        assert kept["row"] == json.loads(content)
    assert not list(out.parent.glob("*.partial"))


def user(text):
    return {"role": "user", "content": text}


def tutor(text):
    return {"role": "assistant", "content": text}


TALK = {"prompt": [user("Why?")], "chosen": [tutor("Because.")], "rejected": [tutor("No.")]}
# As `BAD_LINES`, between two conversations.
BAD_TALKS = {
    "roles that do not alternate": ({"prompt": [user("Why?"), user("Why?")]}, "roles do not alter"),
    "a string among lists": (
        {"prompt": "Why?", "chosen": "Because.", "rejected": "No."},
        "messages here, text in the first row, or the other way round",
    ),
    "a list and a string": (
        {"prompt": "Why?", "rejected": "No."},
        "messages and text in one row",
    ),
    "prompt repeated": (
        {"chosen": [user("Why?"), tutor("Because.")]},
        "prompt repeated in chosen (--strip-prompt takes it out)",
    ),
    "a message that is null": ({"chosen": [tutor(None)]}, "a message without role and content"),
    "10 MB": ({"chosen": [tutor("a" * 10_000_000)]}, "chosen is longer than 2,000,000 characters"),
}


@pytest.mark.parametrize("kind", BAD_TALKS)
def test_a_bad_conversation_is_set_aside_alone_with_its_place(tmp_path, kind):
    change, reason = BAD_TALKS[kind]
    path = tmp_path / "talks.jsonl"
    rows = [{**TALK, "id": "good"}, {**TALK, "id": "bad", **change}, {**TALK, "id": "after"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = read_rows(path)
    assert [row.id for row in read.rows] == ["good", "after"]
    (set_aside,) = read.set_aside
    assert set_aside.reason.startswith(reason)
    assert (set_aside.file, set_aside.number, set_aside.content) == (str(path), 2, rows[1])
    with pytest.raises(DataError, match=r"talks\.jsonl: line 2: "):
        read_rows(path, RowOptions(strict=True))


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_a_file_cut_short_gives_its_whole_rows_and_says_where_it_ends(tmp_path, packed):
    lines = b"".join(line(id=f"{n}", prompt=f"{n * 7919 % 10007}?") + b"\n" for n in range(20_000))
    whole = gzip.compress(lines) if packed == ".gz" else zstd(lines)
    path = tmp_path / f"rows.jsonl{packed}"
    path.write_bytes(whole[: len(whole) * 3 // 4])
    read = read_rows(path)
    assert [row.id for row in read.rows] == [str(n) for n in range(len(read.rows))]
    assert 0 < len(read.rows) < 20_000
    # The bytes may end amid a line, which is then broken as well.
    assert read.set_aside_counts["cannot be read from here on"] == 1
    assert len(read.set_aside) <= 2
    assert read.set_aside[-1].file == str(path) and read.set_aside[-1].number > len(read.rows)
    with pytest.raises(DataError, match="cannot be read from here on; mend the row"):
        read_rows(path, RowOptions(strict=True))


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv"])
def test_windows_line_ends_and_a_byte_order_mark_are_no_fault_in_any_kind_of_file(
    tmp_path, kind, packed
):
    mark = "," if kind == "csv" else "\t"
    text = {
        "jsonl": json.dumps(GOOD) + "\r\n" + line().decode() + "\r\n",
        "json": json.dumps([GOOD, json.loads(line())], indent=1).replace("\n", "\r\n"),
    }.get(kind) or "".join(
        mark.join(values) + "\r\n" for values in (GOOD, GOOD.values(), json.loads(line()).values())
    )
    data = b"\xef\xbb\xbf" + text.encode()
    path = tmp_path / f"rows.{kind}{packed}"
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".zst": zstd}[packed](data))
    read = read_rows(path, RowOptions(strict=True))
    assert [row[:4] for row in read.rows] == [
        ("good", *list(GOOD.values())[1:]),
        ("bad", *list(GOOD.values())[1:]),
    ]


def zstd(data):
    return pytest.importorskip("zstandard").compress(data)


USABLE = (json.dumps(GOOD | {"id": None}).encode(), json.dumps(TALK).encode())
PIECES = st.sampled_from(
    [
        *USABLE,
        line(id=None, chosen=""),
        b'{"prompt": ',
        b"\xff\xfe",
        b"[]",
        b"null",
        b"",
        b" \r",
        b"\xef\xbb\xbf" + USABLE[0],  # a mark anywhere but at the start is none
        b"\0",
    ]
)


@given(st.sampled_from(USABLE), st.lists(PIECES, max_size=8), st.sampled_from([b"\n", b"\r\n"]))
def test_every_line_is_a_row_or_is_set_aside(tmp_path_factory, first, others, end):
    pieces = [first, *others]
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_bytes(end.join(pieces) + end)
    filled = [n for n, piece in enumerate(pieces, start=1) if piece.strip(b" \r")]
    read = read_rows(path)
    numbers = [int(row.id.removeprefix("line-")) for row in read.rows]
    assert sorted([*numbers, *(one.number for one in read.set_aside)]) == filled
    assert all(one.reason and one.file == str(path) for one in read.set_aside)
    if read.set_aside:
        with pytest.raises(DataError, match=f"line {read.set_aside[0].number}: "):
            read_rows(path, RowOptions(strict=True))


def test_a_csv_says_numbers_in_text(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,chosen,rejected,margin,n\np,12,r,0.5,7\nq,c,r,big,8\ns,c,r,,9\n")
    read = read_rows(path)
    assert [(row.chosen, row.margin, dict(row.extra)) for row in read.rows] == [
        ("12", 0.5, {"n": "7"}),
        ("c", None, {"n": "9"}),
    ]
    assert read.set_aside_counts == {"margin is not a number": 1}
    assert read.set_aside[0].number == 3


def test_rows_without_ids_are_told_apart_by_their_file(tmp_path):
    for name in ("train-0.jsonl", "train-1.jsonl"):
        (tmp_path / name).write_bytes(line(id=None) + b"\n")
    assert [row.id for row in read_rows(tmp_path).rows] == ["train-0-1", "train-1-1"]


def test_written_rows_are_read_back_the_same(tmp_path):
    rows = [
        {**GOOD, "margin": 1.5, "weight": 2.0, "group": "g", "source": ["é", None]},
        {**GOOD, "id": "b"},
    ]
    read = read_rows(rows).rows
    assert read_rows(write_rows(tmp_path / "rows.jsonl", read)).rows == read


def turns(*contents, first="user"):
    roles = ("user", "assistant") if first == "user" else ("assistant", "user")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]


CONVERSATIONS = {
    "explicit": {
        "prompt": turns("p", "q", "r"),
        "chosen": turns("yes", "why?", "so", first="assistant"),
        "rejected": turns("no", first="assistant"),
    },
    "implicit": {"chosen": turns("p", "yes"), "rejected": turns("p", "no")},
    "system": {
        "prompt": turns("p"),
        "chosen": turns("yes", first="assistant"),
        "rejected": turns("no", first="assistant"),
        "system": "Be brief.",
    },
    "a question of text": {
        "prompt": "p",
        "chosen": turns("p", "yes"),
        "rejected": turns("p", "no"),
        "messages": turns("p", "yes"),  # a column of its own, as in UltraFeedback
        "margin": 2.0,
    },
    "scored": {
        "prompt": turns("p"),
        "completions": [turns(text, first="assistant") for text in ("no", "yes", "so")],
        "scores": [0, 2, 1],
    },
    "unpaired": {"prompt": turns("p"), "completion": turns("yes", first="assistant")},
}


@pytest.mark.parametrize("kind", CONVERSATIONS)
def test_conversations_that_kept_their_messages_are_read_back_the_same(tmp_path, kind):
    rows = [CONVERSATIONS[kind]]
    if kind == "unpaired":
        rows = [
            {**rows[0], "label": True},
            {**rows[0], "completion": turns("no", first="assistant"), "label": False},
        ]
    kept = read_rows(rows, RowOptions(keep_messages=True, pairs="all"))
    path = write_rows(tmp_path / "rows.jsonl", kept.rows)
    for line in map(json.loads, path.read_text().splitlines()):
        assert all(isinstance(line[part], list) for part in ("prompt", "chosen", "rejected"))
    again = read_rows(path, RowOptions(keep_messages=True, strict=True))
    assert again.rows == kept.rows and kept.rows
    assert again.chat_template == kept.chat_template
    bare = read_rows(rows, RowOptions(pairs="all"))
    assert bare.rows == tuple(row._replace(messages=None) for row in kept.rows)


def test_rows_of_text_have_no_messages_to_keep():
    (row,) = read_rows([GOOD], RowOptions(keep_messages=True)).rows
    assert row.messages is None


@pytest.mark.parametrize(
    ("read", "options", "kind"),
    [
        (read_rows, {"columns": {"prompt": "q"}}, "RowOptions"),
        (read_rows, SourceOptions(), "RowOptions"),
        (stream_responses, {}, "RowOptions"),
        (open_source, {}, "SourceOptions"),
        (alternating_population, {}, "AlternatingOptions"),
    ],
)
def test_options_of_another_type_are_named(read, options, kind):
    with pytest.raises(DataError, match=rf"options=.* must be {kind}\(\.\.\.\)"):
        read([GOOD], options)
    with pytest.raises(DataError, match="must be RowOptions"):
        load_named("edufeedback", options={})
