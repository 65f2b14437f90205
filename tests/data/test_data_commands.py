"""`coala-jax data`: conversations to pairs, and a look at pairs, by the command line."""

import gzip
import json
import shutil

import pytest

from coala_jax.cli._main import main
from coala_jax.data import read_rows

TALK = {
    "id": "t",
    "utterances": [
        ["student", "What is a mole?"],
        ["tutor", "An amount of substance."],
        ["student", "How many is it?"],
        ["tutor", "About 6.02e23 of them."],
        ["student", "Who counted?"],
        ["tutor", "Perrin, among others."],
    ],
}
SHORT = {"id": "s", "messages": [{"role": "user", "content": "hi"}]}
ODD = {"id": "o", "messages": [{"role": "narrator", "content": "once"}]}


@pytest.fixture
def talks(tmp_path):
    path = tmp_path / "talks.jsonl"
    lines = [json.dumps(TALK), json.dumps(SHORT), json.dumps(ODD), "{broken"]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"id": f"r{n}", "prompt": f"the student {n}", "chosen": "the long answer" * 2}
        | {"rejected": f"an answer {n}"}
        for n in range(10)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_conversations_become_pairs_that_can_be_read(talks, tmp_path, capsys):
    out = tmp_path / "made" / "pairs.jsonl.gz"
    assert main(["data", "alternate", str(talks), "--out", str(out)]) == 0
    rows = read_rows(out).rows
    assert [(row.id, row.chosen, row.rejected, row.group) for row in rows] == [
        ("t/0", "An amount of substance.", "About 6.02e23 of them.", "t"),
        ("t/2", "About 6.02e23 of them.", "Perrin, among others.", "t"),
    ]
    assert rows[0].prompt == "Student: What is a mole?\nTutor:"
    text = capsys.readouterr().out
    assert "3 conversations, 4 user turns, 2 triplets" in text
    assert "lines set aside: broken JSON 1" in text
    assert "conversations dropped: unknown role 1" in text
    assert "user turns without a triplet: no immediate answer 1, no later answer 1" in text


def test_counts_as_json_and_every_option_is_heard(talks, tmp_path, capsys):
    out = tmp_path / "pairs.jsonl"
    words = ["--last-turn", "wrap", "--label", "assistant=Teacher", "--label", "narrator=Voice"]
    words += ["--duplicate-similarity", "1", "--consecutive", "keep", "--opening", "drop"]
    words += ["--system", "drop", "--speaker", "student=user", "--json"]
    assert main(["data", "alternate", str(talks), "--out", str(out), *words]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["triplets"] == 3
    assert result["conversations"] == {
        "read": 3,
        "set_aside": {"broken JSON": 1},
        "notes": [],
        "dropped": {"no user turn": 1},
    }
    assert result["user_turns_skipped"] == {"no immediate answer": 1}
    last = read_rows(out).rows[-1]
    assert last.rejected == "An amount of substance."
    assert last.prompt.endswith("Student: Who counted?\nTeacher:")


def test_conversational_prompts_are_lists_of_messages(talks, tmp_path):
    out = tmp_path / "pairs.jsonl.gz"
    words = ["data", "alternate", str(talks), "--out", str(out), "--prompt", "conversational"]
    assert main(words) == 0
    first, second = map(json.loads, gzip.decompress(out.read_bytes()).splitlines())
    assert first == {
        "id": "t/0",
        "prompt": [{"role": "user", "content": "What is a mole?"}],
        "chosen": [{"role": "assistant", "content": "An amount of substance."}],
        "rejected": [{"role": "assistant", "content": "About 6.02e23 of them."}],
        "group": "t",
    }
    assert [message["role"] for message in second["prompt"]] == ["user", "assistant", "user"]
    before = out.read_bytes()
    assert main(words) == 0
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--out", "pairs.json"], "ends in .jsonl or .jsonl.gz"),
        (["--out", "p.jsonl", "--duplicate-similarity", "1.5"], "duplicate_similarity must lie"),
        (["--out", "p.jsonl", "--label", "user"], "NAME=VALUE"),
        ([], "--out"),
    ],
)
def test_a_bad_command_line_is_one_line_and_writes_nothing(
    talks, tmp_path, monkeypatch, capsys, words, reason
):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "alternate", str(talks), *words]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["talks.jsonl"]


def test_a_group_without_a_command_says_so(capsys):
    assert main(["data"]) == 2
    assert "COMMAND" in capsys.readouterr().err


def test_the_matter_of_length_is_printed_first_and_no_text_of_the_data(pairs, capsys):
    assert main(["data", "inspect", str(pairs)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith("warning: chosen is the longer one in 100 % of rows")
    assert "10 rows, 10 distinct prompts" in text
    assert "the long answer" not in text
    assert "tokens" not in text


def test_the_page_the_examples_and_the_tokens_are_there_when_asked_for(
    pairs, tmp_path, checkpoint, capsys
):
    out = tmp_path / "page.html"
    words = ["--out", str(out), "--examples", "2", "--model", str(checkpoint), "--json"]
    assert main(["data", "inspect", str(pairs), *words]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["examples"]) == 2
    assert result["tokens"]["prompt"]["min"] >= 1
    page = out.read_text()
    assert all(example["prompt"] in page for example in result["examples"])
    assert page.count("<h3>") == 2


def test_examples_cannot_steer_a_terminal(tmp_path, capsys):
    path = tmp_path / "pairs.jsonl"
    row = {"id": "\x1b]0;a\x07", "prompt": "p\x1b[2J", "chosen": "c" * 700, "rejected": "r\r"}
    path.write_text(json.dumps(row))
    assert main(["data", "inspect", str(path), "--examples", "5"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text and "\r" not in text and "\x07" not in text
    assert "c ... (100 more characters)" in text


def test_a_given_split_is_checked(pairs, tmp_path, capsys):
    held_out = tmp_path / "held-out.jsonl"
    lines = pairs.read_text().splitlines()
    new = json.loads(lines[0]) | {"id": "unseen", "prompt": "unseen"}
    held_out.write_text("\n".join([*lines[:3], json.dumps(new), "[]"]))
    assert main(["data", "inspect", str(pairs), "--eval", str(held_out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["leaks"] == {"prompts": 3, "groups": None, "rows": 3, "held_out": 4}
    assert result["length_rule"]["rows"] == 1
    assert result["set_aside"] == {"file": {}, "eval": {"not a JSON object": 1}}
    assert result["warnings"][1].startswith("3 of 4 held-out rows have a prompt that is also")


def survey(path, rows):
    """Pairs as a spreadsheet has them, the prompt repeated in both responses."""
    lines = [f"ask {n},ask {n} the better {n},ask {n} worse {n}" for n in range(rows)]
    path.write_text("\n".join(["question,best,other", *lines, "blank,,x"]) + "\n")
    return path


NAMES = ["--columns", "prompt=question,chosen=best,rejected=other"]


def test_rows_are_inspected_with_the_options_of_extract(tmp_path, capsys):
    path = survey(tmp_path / "survey.csv", 10)
    assert main(["data", "inspect", str(path)]) == 2
    assert "are those of no format" in capsys.readouterr().err
    rejected = tmp_path / "kept" / "bad.jsonl"
    words = [*NAMES, "--strip-prompt", "--rejected", str(rejected), "--json"]
    assert main(["data", "inspect", str(path), *words]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["rows"] == 10
    assert result["characters"]["chosen"]["max"] == len("the better 9")
    assert result["set_aside"] == {"file": {"no chosen": 1}}
    (kept,) = map(json.loads, rejected.read_text().splitlines())
    assert (kept["line"], kept["row"]["question"]) == (12, "blank")
    assert main(["data", "inspect", str(path), *NAMES, "--strip-prompt", "--strict"]) == 2
    assert f"{path}: line 12: no chosen" in capsys.readouterr().err


def test_formats_pairs_and_splits_are_heard_for_both_files(tmp_path, capsys):
    folder = tmp_path / "set"
    folder.mkdir()
    for split, count in (("train", 6), ("held", 4)):
        rows = [
            {"prompt": f"{split} {n}", "completions": ["a", "b b", "c c c"], "scores": [3, 2, 1]}
            for n in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--format", "scored", "--pairs", "all", "--eval", str(folder), "--json"]
    words += ["--split", "train", "--eval-split", "held"]
    assert main(["data", "inspect", str(folder), *words]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["rows"], result["leaks"]["held_out"], result["leaks"]["rows"]) == (30, 12, 0)
    assert result["chosen_shorter"] == 1.0


def test_a_split_of_no_held_out_file_is_an_error(pairs, capsys):
    assert main(["data", "inspect", str(pairs), "--eval-split", "test"]) == 2
    assert "--eval-split says how --eval is read" in capsys.readouterr().err


def test_the_model_may_be_a_hub_id_and_writes_the_prompts_of_conversations(
    tmp_path, checkpoint, monkeypatch, capsys
):
    from huggingface_hub import constants

    # The cache of a hub id whose weights were never fetched: a tokenizer needs none.
    snapshot = tmp_path / "hub" / "models--org--tiny" / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "v1").write_text("1" * 40)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint / name, snapshot / name)
    template = "{% for message in messages %}<{{ message.content }}>{% endfor %}"
    (snapshot / "chat_template.jinja").write_text(template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    path = tmp_path / "talks.jsonl"
    rows = [
        {
            "prompt": [{"role": "user", "content": f"the student {n}"}],
            "chosen": [{"role": "assistant", "content": "the tutor answers"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for n in range(3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["data", "inspect", str(path), "--model", "org/tiny", "--json", "--examples", "1"]
    assert main([*words, "--revision", "v1"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["tokens"]["chosen"]["min"] > result["tokens"]["rejected"]["min"] > 0
    assert result["examples"][0]["prompt"].startswith("<the student")
    assert main(words) == 2  # its main branch is not in the cache
    assert "pass download=True (--download) to fetch it" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_inspect_says_first_that_most_rows_are_lost(pairs, capsys, options):
    pairs.write_text(pairs.read_text() + "{broken\n" * 11 + "[]\n")
    assert main(["data", "inspect", str(pairs), *options]) == 0
    note = f"{pairs}: 12 of 22 rows cannot be used: broken JSON 11, not a JSON object 1"
    note += "; write one JSON object a line"
    text, said = capsys.readouterr()
    assert said.splitlines()[0] == f"coala-jax: warning: {note}"
    if options:
        assert json.loads(text)["notes"] == [note]
    else:
        assert text.splitlines()[0] == f"warning: {note}"


def test_few_rows_that_are_lost_are_no_first_line(pairs, capsys):
    pairs.write_text(pairs.read_text() + "{broken\n" * 10)
    assert main(["data", "inspect", str(pairs)]) == 0
    assert "cannot be used" not in capsys.readouterr().out


def test_inspect_says_first_that_a_file_breaks_off(pairs, capsys):
    packed = pairs.with_name("pairs.jsonl.gz")
    lines = "".join(f"{json.dumps({**row, 'n': n})}\n" for n in range(5000) for row in rows_of(n))
    packed.write_bytes(gzip.compress(lines.encode())[:-9])
    assert main(["data", "inspect", str(packed)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    lost = "its end is lost: cannot be read from here on; fetch the file again"
    assert first == f"warning: {packed}: {lost}"


def rows_of(number):
    return [{"prompt": f"p {number % 7}", "chosen": f"c{number}", "rejected": f"r{number}"}]


def test_commands_say_that_a_shard_is_missing(pairs, talks, tmp_path, capsys):
    note = ": of the 2 shards of train 1 is missing (00001-of-00002): not all rows are read"
    for name, file in (("pairs", pairs), ("talks", talks)):
        (tmp_path / name).mkdir()
        shutil.copy(file, tmp_path / name / "train-00000-of-00002.jsonl")
    assert main(["data", "inspect", str(tmp_path / "pairs")]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"warning: {tmp_path / 'pairs'}{note}"
    out = str(tmp_path / "made.jsonl")
    assert main(["data", "alternate", str(tmp_path / "talks"), "--out", out]) == 0
    text, said = capsys.readouterr()
    assert text.splitlines()[0] == f"warning: {tmp_path / 'talks'}{note}"
    assert note not in said
