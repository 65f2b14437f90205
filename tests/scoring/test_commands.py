"""`coala-jax score`, `rank`, `explain` and `export-head`: what they print, write and refuse."""

import io
import json
import math
import sys
from pathlib import Path

import pytest

from coala_jax.cli._main import main
from coala_jax.data import PromptFingerprint
from coala_jax.data._split import text_sha256

ROWS = [
    {"id": "a", "prompt": "the student asks", "response": "the tutor answers"},
    {"id": "b", "prompt": "the student asks", "response": "no"},
    {"id": "c", "prompt": "the student", "response": "a short answer"},
]
COMMANDS = ["score", "rank", "explain"]


def write_rows(path, rows=ROWS):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def run(head_folder, checkpoint, tmp_path, capsys):
    """Run a command on the tiny head: its exit code, stdout and stderr."""
    data = write_rows(tmp_path / "rows.jsonl")

    def command(name, *words, data=data, head=head_folder, model=checkpoint):
        code = main([name, str(head), "--model", str(model), "--data", data, *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.mark.parametrize("command", ["rank", "explain", "export-head"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "example:" in text and f"coala-jax {command} head" in text and "--json" in text


def test_score_writes_a_line_a_row_with_its_id(run, tmp_path):
    out = tmp_path / "out.jsonl"
    code, printed, _ = run("score", "--out", str(out), "--json")
    assert code == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a", "b", "c"]
    result = json.loads(printed)
    assert (result["lines"], result["responses"], result["pairs"]) == (3, 3, 0)
    assert result["rows"] == {
        "set_aside": {},
        "cut": {"prompt": 0, "response": 0},
        "rejected": None,
        "notes": [],
    }


@pytest.mark.parametrize(
    ("known", "said", "unseen"),
    [
        (["the student asks"], "of 2 of 3 rows; accuracy 0.000 on the 1 other pairs", 0.0),
        (["The  student", "the student asks"], "of 3 of 3 rows, of all pairs here", None),
        ([], None, None),
    ],
)
def test_score_says_which_prompts_the_head_was_trained_on(
    run, write_head, tmp_path, known, said, unseen
):
    prompts = PromptFingerprint.of_hashes(map(text_sha256, known))
    head = write_head(tmp_path / "head", trained_on_prompts=prompts.text)
    rows = [
        {"id": "a", "prompt": "the student asks", "chosen": "the tutor answers", "rejected": "no"},
        {"id": "b", "prompt": "the student", "chosen": "the tutor", "rejected": "no"},
        {"id": "c", "prompt": "the student asks", "chosen": "no", "rejected": "the tutor answers"},
    ]
    data, out = write_rows(tmp_path / "pairs.jsonl", rows), str(tmp_path / "out.jsonl")
    code, printed, _ = run("score", "--out", out, head=head, data=data)
    assert code == 0
    warned = [line for line in printed.splitlines() if "trained on" in line]
    assert (len(warned) == 0) if said is None else (len(warned) == 1 and said in warned[0])
    # What an earlier run has written is written anew.
    code, printed, _ = run("score", "--out", out, "--json", head=head, data=data)
    assert code == 0
    pairs = {0: 0, 1: 2, 2: 3}[len(known)]
    whole = 1 / 3 if unseen is None and not known else unseen  # one of a and c is right
    found = json.loads(printed)["trained_on"]
    assert found == {"rows": pairs, "pairs": pairs, "unseen_accuracy": pytest.approx(whole)}


def test_score_counts_no_prompts_of_a_head_that_does_not_say(run, tmp_path):
    code, printed, _ = run("score", "--out", str(tmp_path / "out.jsonl"), "--json")
    assert code == 0
    assert json.loads(printed)["trained_on"] is None


def test_a_damaged_fingerprint_is_named(run, write_head, tmp_path):
    head = write_head(tmp_path / "head", trained_on_prompts="nonsense!")
    code, _, said = run("score", "--out", str(tmp_path / "out.jsonl"), head=head)
    assert code == 2
    assert "head.json: trained_on_prompts: a fingerprint of prompts must be base64" in said


def test_score_goes_from_standard_input_to_standard_output(run, monkeypatch, tmp_path):
    assert run("score", "--out", str(tmp_path / "out.jsonl"))[0] == 0
    content = (tmp_path / "rows.jsonl").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    code, printed, said = run("score", "--out", "-", data="-")
    assert code == 0
    assert printed == (tmp_path / "out.jsonl").read_text()
    assert "rewards of 3 responses" in said


def test_score_takes_the_rows_that_extract_takes(run, tmp_path):
    rows = [
        {"question": "the student asks", "best": "the tutor answers", "worst": "no"},
        {"question": "the student asks", "best": "", "worst": "no"},
    ]
    out, data = tmp_path / "out.jsonl", write_rows(tmp_path / "pairs.jsonl", rows)
    words = ["--columns", "prompt=question,chosen=best,rejected=worst", "--out", str(out)]
    code, printed, _ = run("score", *words, data=data)
    assert code == 0
    assert "rows set aside: empty chosen 1" in printed
    assert f"set aside: {out}.rejected_rows.jsonl" in printed
    assert "reward margin" in printed and "on 1 pairs" in printed
    (line,) = map(json.loads, out.read_text().splitlines())
    assert set(line) == {"id", "chosen_reward", "rejected_reward", "reward_margin"}
    code, _, said = run("score", *words, "--strict", data=data)
    assert code == 2 and "line 2: empty chosen; mend the row" in said


def test_rank_shows_the_order_and_the_probabilities(run, tmp_path):
    code, printed, _ = run("rank", "--json")
    assert code == 0
    result = json.loads(printed)
    assert (result["prompts"], result["responses"], result["ties"]) == (2, 3, 0)
    (ranking, single) = result["rankings"]
    assert {each["id"] for each in ranking["ranking"]} == {"a", "b"}
    (pair,) = ranking["pairs"]
    best, worst = (each["reward"] for each in ranking["ranking"])
    assert pair["probability"] == pytest.approx(1 / (1 + math.exp(worst - best)))
    assert single["pairs"] == []
    code, printed, _ = run("rank")
    assert code == 0
    assert f"{pair['probability']:.3f}" in printed and "3 responses of 2 prompts" in printed
    out = tmp_path / "ranking.jsonl"
    code, printed, _ = run("rank", "--out", str(out))
    assert code == 0 and f"written: {out}" in printed and "tutor" not in printed
    assert [json.loads(line) for line in out.read_text().splitlines()] == result["rankings"]


def test_explain_shows_shares_that_add_up(run, tmp_path):
    out = tmp_path / "explained.json"
    code, printed, _ = run("explain", "--id", "c", "--neurons", "2", "--out", str(out), "--json")
    assert code == 0
    result = json.loads(printed)
    assert json.loads(out.read_text()) == result
    (explained,) = result["explanations"]
    assert explained["id"] == "c"
    assert math.fsum(each["share"] for each in explained["shares"]) == explained["reward"]
    assert [each["neuron"] for each in result["neurons"]] == [
        each["neuron"] for each in explained["shares"]
    ][:2]
    code, printed, _ = run("explain", "--id", "c", "--neurons", "2")
    assert code == 0
    assert f"c (response): reward {explained['reward']:+.4f}  a short answer" in printed
    assert "of 3 responses" in printed


def test_text_cannot_act_on_the_terminal(run, tmp_path):
    rows = [{"prompt": "p", "response": "\x1b[2J red\n\x07 line"}]
    code, printed, _ = run("explain", data=write_rows(tmp_path / "odd.jsonl", rows))
    assert code == 0 and "\x1b" not in printed and "\x07" not in printed and "red" in printed


def test_export_head_writes_what_others_load(head_folder, tmp_path, capsys):
    out = tmp_path / "torch"
    assert main(["export-head", str(head_folder), "--to", "torch", "--out", str(out)]) == 0
    assert f"written: {out / 'reward_head.py'}" in capsys.readouterr().out
    pytest.importorskip("flatbuffers")
    file = tmp_path / "reward.stablehlo"
    words = ["export-head", str(head_folder), "--to", "stablehlo", "--out", str(file), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["files"] == [str(file), f"{file}.json"]
    assert main(["export-head", str(head_folder), "--to", "torch", "--out", str(file)]) == 2
    assert "reward.stablehlo: a file is in the way" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_another_backbone_is_refused_with_what_differs(run, make_checkpoint, tmp_path, command):
    other, out = make_checkpoint(tmp_path / "other", seed=1), tmp_path / "out.jsonl"
    code, printed, said = run(command, "--out", str(out), model=other)
    assert code == 2 and printed == ""
    assert "other is not the backbone of" in said and "weights_sha256" in said
    assert not out.exists()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "p", "response": ""}], "no usable row; set aside: empty response: 1"),
        ([{"prompt": "p", "text": "r"}], "its columns (prompt, text) hold no responses"),
        ([], "the file is empty"),
    ],
)
def test_rows_that_cannot_be_used_are_one_line(run, tmp_path, command, rows, message):
    out = tmp_path / "out.jsonl"
    code, printed, said = run(
        command, "--out", str(out), data=write_rows(tmp_path / "bad.jsonl", rows)
    )
    assert code == 2 and printed == "" and message in said
    assert len([line for line in said.splitlines() if "error" in line]) == 1
    assert not out.exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
@pytest.mark.parametrize("command", [*COMMANDS, "export-head"])
def test_an_output_that_cannot_be_written_is_named_before_anything_is_loaded(command, capsys):
    words = ["--to", "torch"] if command == "export-head" else ["--model", "m", "--data", "d"]
    assert main([command, "head", *words, "--out", "/proc/x.jsonl"]) == 2
    assert "/proc/x.jsonl: no file can be made in /proc (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "--out", "-", "--json"], "leave out --json"),
        (["score", "--out", "o.jsonl", "--chunk-responses", "0"], "'0' is not an integer of at"),
        (["score", "--out", "o.jsonl.gz"], "rewards are written unpacked; leave out .gz"),
        (["rank", "--out", "ranking.txt"], "expected a name that ends in .jsonl"),
        (["explain", "--neurons", "0"], "'0' is not an integer of at least 1"),
        (["explain", "--id", "gone"], "no usable row has the id 'gone'"),
        (["rank", "--split", "test"], "is one file, which has none"),
    ],
)
def test_options_that_do_not_fit_are_one_line(run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, printed, said = run(*words)
    assert code == 2 and printed == "" and message in said
    assert said.count("\n") == 1


def test_score_says_first_that_most_rows_are_lost(run, tmp_path):
    data = tmp_path / "lossy.jsonl"
    data.write_text('{"prompt": "p", "response": "r"}\n' + "{broken\n" * 2)
    code, printed, said = run("score", "--out", str(tmp_path / "out.jsonl"), data=str(data))
    assert code == 0
    warning = f"warning: {data}: 2 of 3 rows cannot be used: broken JSON 2; write one JSON object a"
    assert printed.splitlines()[0].startswith(warning) and warning not in said
    code, printed, said = run("score", "--out", "-", data=str(data))
    assert code == 0 and said.count(warning) == 1 and warning not in printed


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_warning_is_printed_once(run, tmp_path, command, options):
    """With --json as a field of the object, and as a line beside it."""
    data = tmp_path / "lossy.jsonl"
    data.write_text('{"prompt": "p", "response": "r"}\n' + "{broken\n" * 2)
    code, printed, said = run(
        command, "--out", str(tmp_path / "out.jsonl"), *options, data=str(data)
    )
    assert code == 0
    note = f"{data}: 2 of 3 rows cannot be used: broken JSON 2; write one JSON object a line"
    assert printed.count(note) == 1
    if options:
        assert json.loads(printed)["rows"]["notes"] == [note]
    assert said.count(note) == len(options)
    assert f"{printed}{said}".count(f"warning: {note}") == 1
