"""`coala-jax generate` and `best-of-n`: a prompt, a file, a session; and what they refuse."""

import argparse
import io
import json
import os
import pty
import threading
from argparse import Namespace

import pytest

from coala_jax._head_files import HeadFileError, load_head, save_head
from coala_jax._unseen import printable
from coala_jax.backbones import load_backbone
from coala_jax.cli._generation_options import (
    add_generation_options,
    generation_config,
    require_chat,
)
from coala_jax.cli._main import main
from coala_jax.cli._parser import UsageError
from coala_jax.cli._side_by_side import side_by_side, text_width
from coala_jax.decoding import PAPER, GenerationConfig, TextRewardModel
from coala_jax.features import FeatureError
from coala_jax.features._settings import ExtractSettings
from tests.decoding.page_reader import Reader
from tests.helpers import random_reward_model

# One shape for all: a row at a time, traced for the page.
SAMPLING = ["--max-new-tokens", "8", "--top-k", "4"]
GUIDED = [*SAMPLING, "--guide-every", "2", "--scale", "20", "--batch-size", "1"]
PROMPT = "the student asks"


@pytest.fixture(scope="module")
def head(checkpoint, tmp_path_factory):
    """The folder of a random head on the tiny backbone."""
    backbone = load_backbone(checkpoint)
    model = random_reward_model(backbone, ExtractSettings())
    folder = tmp_path_factory.mktemp("heads") / "head"
    save_head(folder, model.head, {"identity": model.identity._asdict()})
    return folder


@pytest.fixture
def generate(head, checkpoint):
    """Run the command; gives the exit code."""

    def run(*words):
        return main(["generate", str(head), "--model", str(checkpoint), *map(str, words)])

    return run


@pytest.fixture
def best_of_n(head, checkpoint):
    def run(*words):
        words = ["best-of-n", str(head), "--model", str(checkpoint), *map(str, words), *SAMPLING]
        return main([*words, "--n", "3"])

    return run


@pytest.fixture
def data(tmp_path):
    """Rows with a prompt, whatever else they hold."""
    rows = [
        {"id": "a", "prompt": PROMPT, "chosen": "yes", "rejected": "no"},
        {"prompt": "the tutor", "system": "be brief"},
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_one_prompt_is_answered_twice_and_shown_on_a_page(generate, tmp_path, capsys):
    page = tmp_path / "page.html"
    words = ["--prompt", PROMPT, "--html", page, *GUIDED]
    assert generate(*words, "--json") == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    (response,) = result["responses"]
    assert response["id"] == "prompt"
    assert result["written"] == [str(page)]
    assert result["prompts"] == 1
    reader = Reader(page.read_text())
    assert PROMPT in reader.texts and result["command"] in reader.texts
    for side in ("plain", "guided"):
        assert result["mean_reward"][side] == response[side]["reward"]
        number = f"{response[side]['reward']:+.3f}".replace("-", "\N{MINUS SIGN}")
        assert number in reader.texts
    # The reward after the last token, run as one tree, is that of the generation.
    lengths = [response[side]["tokens"] for side in ("plain", "guided")]
    assert len(reader.tokens) == sum(lengths)
    ends = [reader.tokens[lengths[0] - 1], reader.tokens[-1]]
    for end, side in zip(ends, ("plain", "guided"), strict=True):
        if response[side]["text"] != response[side]["text"].strip():
            assert "white space at its edges does not count" in page.read_text()
            continue
        shown = float(end["title"].split("reward ")[1].replace("\N{MINUS SIGN}", "-"))
        assert shown == pytest.approx(response[side]["reward"], abs=0.006)
    assert generate(*words) == 0  # the same draws
    lines = capsys.readouterr().out
    for side in ("plain", "guided"):
        assert f"{side} ({response[side]['reward']:+.3f}): {response[side]['text']}\n" in lines
    assert lines.endswith(f"written: {page}\n")


def test_the_prompts_of_a_file_are_answered_in_order(generate, data, tmp_path, capsys):
    out, page = tmp_path / "new" / "responses.jsonl", tmp_path / "page.html"
    assert generate("--data", data, "--out", out, "--html", page, *GUIDED) == 0
    printed = capsys.readouterr().out
    assert "2 prompts, mean reward" in printed and f"written: {out}\nwritten: {page}\n" in printed
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a", "line-2"]
    assert lines[0]["guided"]["guided_steps"] > 0 == lines[0]["plain"]["guided_steps"]
    reader = Reader(page.read_text())
    assert "line-2" in reader.texts and "be brief\n\nthe tutor" in reader.texts
    text = tmp_path / "prompts.txt"
    text.write_text(f"\ufeff{PROMPT}\n\n  \nbe brief, the tutor\n")
    assert generate("--data", text, "--json", "--html", page, *GUIDED) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in result["responses"]] == ["1", "4"]
    assert result["responses"][0]["plain"]["text"] == lines[0]["plain"]["text"]


@pytest.mark.slow
def test_a_session_in_a_pipe_answers_line_by_line(generate, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PROMPT}\n\n   \nthe tutor\n"))
    assert generate(*GUIDED) == 0
    printed = capsys.readouterr()
    assert printed.out.count("plain (") == printed.out.count("guided (") == 2
    assert "\x1b" not in printed.out and ">" not in printed.err
    first = printed.out
    lines = [PROMPT.encode(), b"the student " * 40, b"not \xff UTF-8", b"the tutor", b""]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines)), "utf-8"))
    assert generate(*GUIDED) == 2  # nobody sits there to see the error
    printed = capsys.readouterr()
    assert "error: prompt has" in printed.err and "shorten it" in printed.err
    assert "error: prompt is not valid Unicode" in printed.err
    assert printed.out.count("plain (") == 2
    assert printed.out.startswith(first.split("guided (")[0])


def test_a_session_answers_as_the_command_does(generate, tmp_path, monkeypatch, capsys):
    """Stop texts and rewards, too: the reward is of what stands before the stop text."""

    def answer(*words):
        page = ["--html", tmp_path / "page.html"]
        assert generate("--prompt", PROMPT, *page, "--json", *words) == 0
        return json.loads(capsys.readouterr().out)["responses"][0]

    text = answer(*GUIDED)["plain"]["text"]
    stop = next(letter for letter in text[1:] if letter.isascii() and letter.isprintable())
    words = [*GUIDED, "--stop", stop]
    response = answer(*words)
    assert response["plain"]["finish_reason"] == "stop"
    assert response["plain"]["text"] == text[: text.index(stop)]
    monkeypatch.setattr("sys.stdin", io.StringIO(PROMPT))
    assert generate(*words) == 0
    printed = capsys.readouterr().out
    for side in ("plain", "guided"):
        made = response[side]
        assert f"{side} ({made['reward']:+.3f}): {made['text']}\n" in printed


def test_a_session_at_a_terminal_draws_two_columns(generate, monkeypatch):
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "20")
    drawn = []

    def watch():
        try:
            while piece := os.read(ours, 4096):
                drawn.append(piece)
        except OSError:  # the other end was closed
            pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    os.write(ours, f"{PROMPT}\n".encode() + b"\x04")
    with (
        os.fdopen(os.dup(theirs), "r") as keyboard,
        os.fdopen(os.dup(theirs), "w") as screen,
    ):
        monkeypatch.setattr("sys.stdin", keyboard)
        monkeypatch.setattr("sys.stdout", screen)
        monkeypatch.setattr("sys.stderr", screen)
        assert generate(*GUIDED) == 0
        monkeypatch.undo()
    os.close(theirs)
    watcher.join(timeout=10)
    os.close(ours)
    text = b"".join(drawn).decode().replace("\r\n", "\n")
    assert "a prompt a line; ctrl-D ends" in text and "> " in text
    frames = text.split("\x1b[J")
    assert len(frames) > 2  # it grew
    last = frames[-1].split("> ")[0].splitlines()
    assert last[0].startswith("plain (") and " | guided (" in last[0]
    assert last[1].startswith("-----")
    assert all(line.count(" | ") <= 1 and len(line) <= 59 for line in last)
    up = [int(frame.rsplit("\x1b[", 1)[1].rstrip("A")) for frame in frames[:-1]]
    heights = [frame.split("\x1b[")[0].count("\n") for frame in frames[1:-1]]
    assert up[1:] == heights  # every frame is drawn over the one before


def test_what_a_terminal_or_page_would_obey_is_named():
    left, right = "\u2039U+", "\u203a"
    shown = printable("a\r\n\tb\rc\x1b\x7f\x9b\u202e\u2067")
    assert shown == f"a\n\tb\u240dc\u241b\u2421{left}009B{right}{left}202E{right}{left}2067{right}"


def test_columns_keep_their_width_whatever_is_in_them():
    texts = ["日本語 のテキスト\x1b[2J\ttab", "short\n\nand a-word-that-is-far-too-long-for-it"]
    lines = side_by_side(["plain", "guided"], texts, 23)
    assert all(text_width(line) <= 23 for line in lines)
    assert "\x1b" not in "".join(lines)
    assert lines[:2] == ["plain      | guided", "---------- | ----------"]
    right = [line.split(" | ")[1] if " | " in line else "" for line in lines[2:]]
    assert right[:2] == ["short", ""]
    assert "".join(right[2:]).replace(" ", "") == "anda-word-that-is-far-too-long-for-it"
    assert side_by_side(["a", "b"], ["", ""], 1)


def test_best_of_n_orders_samples(best_of_n, data, tmp_path, capsys):
    out = tmp_path / "best.jsonl"
    assert best_of_n("--data", data, "--out", out, "--all", "--batch-size", "3") == 0
    printed = capsys.readouterr().out
    assert "2 prompts, 3 samples each" in printed and f"written: {out}" in printed
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a", "line-2"]
    for line in lines:
        rewards = [sample["reward"] for sample in line["samples"]]
        assert rewards == sorted(rewards, reverse=True) and rewards[0] == line["reward"]
    assert best_of_n("--data", data, "--json", "--batch-size", "3") == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["text"] for row in result["responses"]] == [line["text"] for line in lines]
    assert "samples" not in result["responses"][0]
    assert best_of_n("--prompt", PROMPT) == 0
    expected = [f"{one['reward']:+.3f}: {one['text']}\n" for one in lines[0]["samples"]]
    assert capsys.readouterr().out == "".join(expected)


# Words after the head and the model, and what the error says.
BAD = [
    (["--prompt", "  "], "--prompt is empty; give something to answer"),
    (["--prompt", "caf\udce9"], "not valid Unicode"),
    (["--prompt", "a", "--data", "d"], "not allowed with argument"),
    (["--prompt", "a", "--scale", "-1"], "--scale -1.0 must be a number from 0 to 1e+06"),
    (["--prompt", "a", "--scale", "nan"], "--scale: 'nan' is not a finite number"),
    (["--prompt", "a", "--top-p", "1.5"], "--top-p 1.5 must be above 0 and at most 1"),
    (["--prompt", "a", "--top-k", "0"], "--top-k: '0' is not an integer of at least 1"),
    (["--prompt", "a", "--top-k", "999"], "top_k=999 is larger than the vocabulary"),
    (["--prompt", "a", "--stop", ""], "none of them empty"),
    (["--prompt", "a", "--choice", "worst"], "--choice: invalid choice: 'worst'"),
    (
        ["--prompt", "a", "--guide-every", "2", "--lookahead", "1", "--continuations", "2"],
        "leave one of them at 0",
    ),
    (["--prompt", "a", "--continuations", "2"], "give the tokens of a block, such as"),
    (
        ["--prompt", "a", "--paper", "--continuations", "2", "--choice", "best"],
        "--choice is of single tokens, and --continuations keeps the block with the highest",
    ),
    (
        ["--prompt", "a", "--value-head", "values", "--scored", "closed"],
        "--scored closed: a value head reads texts as they stand; leave out --scored or",
    ),
    (["--prompt", "a", "--out", "o.jsonl"], "--out takes the responses to --data; give --data"),
    (["--prompt", "a", "--html", "/proc/x.html"], "/proc/x.html: no file can be made in /proc"),
    (["--prompt", "a", "--html", "."], "a folder is in the way; give another --html"),
    (["--prompt", "a", "--chat"], "trained on plain texts"),
    (["--prompt", "the student " * 40], "does not fit the model's context of 64; shorten it"),
    (["--html", "p.html"], "--html shows the responses to --prompt or --data; give one"),
    (["--json"], "--json shows the responses to --prompt or --data; give one"),
    (["--data", "ok.jsonl"], "--data needs --out, --html or --json"),
    (["--data", "ok.jsonl", "--out", "x.jsonl", "--html", "x.jsonl"], "are both x.jsonl"),
    (["--data", "ok.jsonl", "--out", "x.zst"], "x.zst: expected a name that ends in .jsonl"),
    (["--data", "ok.jsonl", "--out", "/proc/x.jsonl"], "x.jsonl: no file can be made in /proc"),
    (["--data", "ok.jsonl", "--json", "--chat"], "rows of --data say it by messages"),
    (["--data", "gone.jsonl", "--json"], "gone.jsonl: no such file"),
    (["--data", "gone.txt", "--json"], "gone.txt: no such file"),
    (["--data", "blank.txt", "--json"], "blank.txt: holds no prompt"),
    (["--data", "latin.txt", "--json"], "latin.txt: cannot be read as text"),
    (["--data", "empty.jsonl", "--json"], "empty.jsonl: row 2: prompt is ' '; give a text"),
    (["--data", "none.jsonl", "--json"], "none.jsonl: row 1: prompt is None; give a text"),
    (["--data", "answered.jsonl", "--json"], "row 1: prompt ends in an answer; end it with"),
    (["--data", "surrogate.jsonl", "--json"], "row 1: prompt is not valid Unicode"),
]


@pytest.mark.parametrize(("words", "part"), BAD)
def test_what_cannot_be_answered_is_one_line(generate, tmp_path, monkeypatch, capsys, words, part):
    monkeypatch.chdir(tmp_path)
    answered = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    files = {
        "ok.jsonl": {"prompt": "a"},
        "none.jsonl": {"chosen": "a"},
        "answered.jsonl": {"prompt": answered},
        "surrogate.jsonl": {"prompt": "a\ud800"},
    }
    for name, row in files.items():
        (tmp_path / name).write_text(json.dumps(row) + "\n")
    (tmp_path / "empty.jsonl").write_text('{"prompt": "a"}\n{"prompt": " "}\n')
    (tmp_path / "blank.txt").write_text("\n  \n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    before = sorted(tmp_path.rglob("*"))
    assert generate(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and part in printed.err
    assert printed.err.startswith("coala-jax: error: ") and printed.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "one of the arguments --prompt --data is required"),
        (["--data", "d"], "--data needs --out or --json"),
        (["--prompt", "a", "--out", "o.jsonl"], "--out takes the responses to --data"),
        (["--prompt", "a", "--temperature", "0"], "all 3 samples would be the same; raise it"),
        (["--prompt", "a", "--scale", "1"], "unrecognized arguments: --scale"),
    ],
)
def test_best_of_n_refuses_what_it_cannot_do(best_of_n, capsys, words, part):
    assert best_of_n(*words) == 2
    assert part in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "best-of-n"])
def test_heads_that_do_not_fit_are_refused(
    command, head, checkpoint, make_checkpoint, tmp_path, capsys
):
    words = ["--prompt", "a"]
    assert main([command, str(tmp_path), "--model", str(checkpoint), *words]) == 2
    assert "no head here" in capsys.readouterr().err
    other = make_checkpoint(tmp_path / "other", seed=1)
    assert main([command, str(head), "--model", str(other), *words]) == 2
    printed = capsys.readouterr()
    assert "other is not the backbone of" in printed.err and "weights_sha256" in printed.err
    assert printed.out == ""


def test_a_text_for_a_head_of_conversations_is_told_of_the_option(checkpoint):
    model = random_reward_model(load_backbone(checkpoint), ExtractSettings().for_rows("sha256:x"))
    asked = Namespace(data=None, chat=False)
    with pytest.raises(UsageError, match="give --chat, with which what is asked is what a user"):
        require_chat(asked, model)
    require_chat(Namespace(data=None, chat=True), model)
    require_chat(Namespace(data="rows.jsonl", chat=False), model)


@pytest.fixture(scope="module")
def value_head(head, checkpoint, tmp_path_factory):
    """A head of values, made by the commands of docs/decoding.md from samples of its own."""
    folder = tmp_path_factory.mktemp("values")
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"the student asks {word}\n" for word in "abcdefghijkl"))
    samples, store, out = folder / "samples.jsonl", folder / "store", folder / "value"
    options = [str(head), "--model", str(checkpoint), "--data", str(prompts), "--out", str(samples)]
    assert main(["best-of-n", *options, "--n", "3", "--all", *SAMPLING]) == 0
    options = ["--model", str(checkpoint), "--data", str(samples), "--out", str(store)]
    layers = ["--layers", "1", "--pooling", "last"]
    assert main(["extract", *options, "--pairs", "all", "--prefixes", "3", *layers]) == 0
    options = ["--prefixes", "--phase1-loss", "squared_difference", "--phase2-objective", "none"]
    words = ["solve", str(store), "--out", str(out), *options, "--n-gates", "2", "--select", "none"]
    assert main(words) in (0, 3)
    return out


@pytest.mark.slow
def test_a_value_head_made_of_samples_guides(generate, value_head, tmp_path, data):
    rows = []
    for number, words in enumerate(([], ["--value-head", value_head])):
        out = tmp_path / f"{number}.jsonl"
        assert generate("--data", data, "--out", out, *words, *GUIDED) == 0
        rows.append([json.loads(line) for line in out.read_text().splitlines()])
    without, guided = rows
    assert [row["plain"] for row in without] == [row["plain"] for row in guided]
    texts = [[row["guided"]["text"] for row in each] for each in rows]
    assert texts[0] != texts[1]


@pytest.mark.slow
def test_heads_are_not_taken_for_each_other(generate, value_head, head, checkpoint, capsys):
    words = ["--prompt", PROMPT, *GUIDED]
    assert generate(*words, "--value-head", head) == 2
    assert "a head of whole responses; one of beginnings comes from" in capsys.readouterr().err
    assert main(["generate", str(value_head), "--model", str(checkpoint), *words]) == 2
    assert "the head scores beginnings of responses" in capsys.readouterr().err


def test_a_value_head_of_another_backbone_is_refused(head, checkpoint, tmp_path):
    loaded, metadata = load_head(head)
    other = {**metadata.identity, "weights_sha256": "0" * 64, "layer": "1"}
    save_head(tmp_path / "value", loaded, {"identity": other, "scores": "prefix"})
    with pytest.raises(FeatureError, match="value_head=.*expected weights_sha256"):
        TextRewardModel.load(head, checkpoint, value_head=tmp_path / "value")
    narrow = {**metadata.identity, "pooling": "last"}
    save_head(tmp_path / "narrow", loaded, {"identity": narrow, "scores": "prefix"})
    wrong = "value_head='.*narrow': the value head takes 32 features, .* speaks of 16"
    with pytest.raises(HeadFileError, match=wrong):
        TextRewardModel.load(head, checkpoint, value_head=tmp_path / "narrow")


def _parsed(*words):
    parser = argparse.ArgumentParser()
    add_generation_options(parser, guided=True)
    return generation_config(parser.parse_args(["head", "--model", "model", *words]))


def test_the_papers_form_is_asked_for_by_name_and_options_count_beside_it():
    assert _parsed() == GenerationConfig()
    assert _parsed("--paper") == PAPER
    found = _parsed("--scale", "8", "--paper", "--num-candidates", "2")
    assert found == PAPER.with_options(scale=8.0, num_candidates=2)
    assert _parsed("--temperature", "0.5", "--paper") == PAPER.with_options(temperature=0.5)
