"""Every bad input: exit code 2, one clear line, nothing written."""

import json
from pathlib import Path

import numpy as np
import pytest

from coala_jax.cli._main import main

ONES = np.ones((4, 3), np.float32)
RANDOM = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def _with(value):
    array = RANDOM.copy()
    array[2, 1] = value
    return array


def _error(capsys):
    """The one line that stderr ends with; no traceback before it."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    errors = [line for line in printed.err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert errors[0].startswith("coala-jax: error: ")
    return errors[0]


def _pairs(chosen, rejected, **more):
    return {"id": None, "chosen": chosen, "rejected": rejected, **more}


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        (_pairs(_with(np.nan), RANDOM), ["features.npz", "chosen", "NaN", "row 2"]),
        (_pairs(RANDOM, _with(np.inf)), ["features.npz", "rejected", "infinity", "row 2"]),
        (_pairs(RANDOM.astype(np.float64), _with(0.0).astype(np.float64) * 1e300), ["rejected"]),
        (_pairs(RANDOM.astype(int), RANDOM.astype(int)), ["chosen", "int64", ".astype('float32')"]),
        (_pairs(RANDOM, RANDOM[:, :2]), ["chosen", "(4, 3)", "rejected", "(4, 2)", "save"]),
        (_pairs(RANDOM, RANDOM[:3]), ["(4, 3)", "(3, 3)"]),
        (_pairs(RANDOM[:1], RANDOM[1:2]), ["chosen and rejected", "1 pair", "3 columns"]),
        (_pairs(np.tile(ONES, (10, 1)), np.tile(ONES, (10, 1))), ["all 3 columns", "constant"]),
        (_pairs(RANDOM[:, 0], RANDOM[:, 0]), ["chosen", "(4,)", "(n, d)"]),
        (_pairs(RANDOM[:0], RANDOM[:0]), ["chosen holds no pairs"]),
        (_pairs(RANDOM, None), ["no array named 'rejected'"]),
        (_pairs(RANDOM, RANDOM + 1, weight=-np.ones(4)), ["weight must not be negative"]),
        (
            _pairs(RANDOM, RANDOM + 1, group=np.array(["a"] * 4)),
            ["(1 of them)", "all share one group"],
        ),
        (_pairs(RANDOM[:3], RANDOM[1:]), ["each part needs 2", "--eval-fraction"]),
    ],
)
def test_features_that_cannot_be_solved(npz, tmp_path, capsys, arrays, parts):
    path = npz(**arrays)
    assert main(["solve", path, "--out", str(tmp_path / "head"), "--eval-fraction", "0.5"]) == 2
    message = _error(capsys)
    assert path in message
    assert all(part in message for part in parts), message
    assert {file.name for file in tmp_path.iterdir()} == {"features.npz"}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["solve", "missing.npz", "--out", "h"], "missing.npz: no such file"),
        (["solve", "empty", "--out", "h"], "empty: not a feature store"),
        (["solve", "text.txt", "--out", "h"], "neither a feature store (a folder) nor an .npz"),
        (["solve", "text.npz", "--out", "h"], "not an .npz file"),
        (["solve", "x.npz", "--out", "text.txt"], "text.txt: a file is in the way"),
        (["solve", "x.npz", "--out", "text.txt/h"], "text.txt is a file"),
        (["solve", "x.npz"], "required: --out"),
        (["solve", "x.npz", "--uot", "h"], "required: --out; --uot is none; did you mean --out?"),
        (["solve", "x.npz", "--out=h", "--roh=1"], "arguments: --roh=1; did you mean --rho?"),
        (["sovle", "x.npz"], "did you mean solve?"),
        (["solve", "x.npz", "--out", "h", "--rho", "-1"], "--rho: '-1' must be above 0"),
        (["solve", "x.npz", "--out", "h", "--rho", "nan"], "'nan' is not a finite number"),
        (["solve", "x.npz", "--out", "h", "--weight-decay", "-1"], "'-1' must be at least 0"),
        (["solve", "x.npz", "--out", "h", "--n-gates", "0"], "not an integer of at least 1"),
        (["solve", "x.npz", "--out", "h", "--seed", "-1"], "at most 4294967295"),
        (["solve", "x.npz", "--out", "h", "--eval-fraction", "1"], "must be below 1"),
        (["solve", "x.npz", "--out", "h", "--loss", "hinge"], "invalid choice"),
        (["extract", "--model", "empty", "--data", "no.jsonl", "--out", "s"], "no such file"),
        (["extract", "--model", "empty", "--data", "blank.jsonl", "--out", "s"], "file is empty"),
        (["extract", "--model", "empty", "--data", "bad.jsonl", "--out", "s"], "no usable row"),
        (["extract", "--model", "empty", "--data", "ok.jsonl", "--out", "s"], "no config.json"),
        (["extract", "--model", "gone", "--data", "ok.jsonl", "--out", "s"], "no such folder"),
        (
            ["extract", "--model", "e", "--data", "d", "--out", "s", "--pooling", "max"],
            "pooling='max' is not known",
        ),
        (["score", "gone", "--model", "m", "--data", "d", "--out", "o"], "gone: no head here"),
        (["score", "gone", "--model", "m", "--data", "d", "--out", "empty"], "a folder is in"),
        (["export", "gone", "--out", "f.npz"], "gone: no such file or folder"),
        (["export", "empty", "--out", "f.npz"], "empty: not a feature store"),
        (["export", "x", "--out", "f", "--format", "npz"], "--out: f must end in .npz"),
        (["export", "x", "--out", "text.txt"], "text.txt: a file is in the way"),
        (["quickstart", "--model", "empty", "--train-pairs", "9", "--out", "q"], "no config.json"),
        (
            ["quickstart", "--train-pairs", "1"],
            "--train-pairs: '1' is not an integer of at least 2",
        ),
        (["quickstart", "--eval-pairs", "1"], "--eval-pairs: '1' is not an integer of at least 2"),
        (["quickstart", "--out", "text.txt"], "a file is in the way"),
        (["backbones", "empty"], "no config.json"),
        (["backbones", "gone"], "gone: no such folder, and not in the hub's cache"),
        (["backbones", "empty/gone/x"], "no such folder"),
        (
            ["extract", "--model", "gone", "--data", "ok.jsonl", "--out", "s", "--revision", "v"],
            "gone at revision 'v': no such folder",
        ),
        (["quickstart", "extra"], "unrecognized arguments: extra"),
        (["align"], "invalid choice: 'align'"),
        ([], "required: COMMAND"),
    ],
)
def test_command_lines_that_cannot_be_run(tmp_path, capsys, monkeypatch, words, part):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "blank.jsonl").write_text("")
    (tmp_path / "bad.jsonl").write_text('{"prompt": "p", "chosen": "c"}\n')
    row = {"prompt": "p", "chosen": "c", "rejected": "r"}
    (tmp_path / "ok.jsonl").write_text(json.dumps(row) + "\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(words) == 2
    assert part in _error(capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_groups_and_rows_must_fit_the_features(npz, tmp_path, capsys):
    path, out = npz(), str(tmp_path / "head")
    few = tmp_path / "few.json"
    few.write_text(json.dumps({"row-0": "a"}))
    assert main(["solve", path, "--groups", str(few), "--out", out]) == 2
    assert "59 of 60 rows have no group, the first is 'row-1'" in _error(capsys)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "row-0", "prompt": "p", "chosen": "c", "rejected": "r"}\n')
    assert main(["solve", path, "--data", str(rows), "--out", out]) == 2
    assert "59 of the 60 rows" in _error(capsys)
    assert not (tmp_path / "head").exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
@pytest.mark.parametrize("command", ["extract", "solve", "score", "export", "quickstart"])
def test_an_output_where_nothing_can_be_written_is_named(npz, capsys, command):
    words = {
        "extract": ["--model", "m", "--data", "d"],
        "solve": [npz()],
        "score": ["head", "--model", "m", "--data", "d"],
        "export": ["store"],
    }
    assert main([command, *words.get(command, []), "--out", "/proc/x"]) == 2
    assert "error: /proc/x: no file can be made in /proc (" in _error(capsys)


@pytest.mark.parametrize(
    "words",
    [
        ("data", "alternate", "rows.jsonl", "--out", "rows.jsonl"),
        ("data", "inspect", "rows.jsonl", "--out", "../rows/rows.jsonl"),
        ("score", "head", "--model", "m", "--data", "rows.jsonl", "--out", "rows.jsonl"),
        ("rank", "head", "--model", "m", "--data", "rows.jsonl", "--rejected", "rows.jsonl"),
        ("generate", "head", "--model", "m", "--data", "rows.jsonl", "--out", "rows.jsonl"),
        ("best-of-n", "head", "--model", "m", "--data", "rows.jsonl", "--out", "rows.jsonl"),
    ],
)
def test_what_is_read_is_never_written_over(tmp_path, monkeypatch, capsys, words):
    folder = tmp_path / "rows"
    folder.mkdir()
    monkeypatch.chdir(folder)
    rows = Path("rows.jsonl")
    rows.write_text('{"prompt": "a"}\n')
    assert main(words) == 2
    assert "is what is read; give another file" in _error(capsys)
    assert rows.read_text() == '{"prompt": "a"}\n'


def test_a_missing_groups_file_is_named(npz, tmp_path, capsys):
    missing = tmp_path / "none.json"
    assert main(["solve", npz(), "--groups", str(missing), "--out", str(tmp_path / "head")]) == 2
    assert f"{missing}: no such file; give a .json" in _error(capsys)


def test_a_head_of_an_npz_cannot_score_texts(solved, checkpoint, tmp_path, capsys):
    data, out = tmp_path / "rows.jsonl", tmp_path / "rewards.jsonl"
    data.write_text('{"prompt": "p", "response": "r"}\n')
    words = ["score", str(solved), "--model", str(checkpoint), "--data", str(data)]
    assert main([*words, "--out", str(out)]) == 2
    assert "head.json: says nothing of the backbone" in _error(capsys)
    assert not out.exists()


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("coala_jax.cli._solve.read_pairs", interrupt)
    assert main(["solve", "x.npz", "--out", "h"]) == 130
    assert _error(capsys) == "coala-jax: error: interrupted"


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "coala_jax.features._build", None)
    assert main(["extract", "--model", "m", "--data", "d", "--out", "o"]) == 2
    assert "pip install '.[text]' in the folder" in _error(capsys)
