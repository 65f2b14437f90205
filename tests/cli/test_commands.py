"""Help, version, and the way from rows through a store and a head to rewards."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import coala_jax
from coala_jax.cli._main import main
from coala_jax.features._distinct import SAME_TOKENS
from coala_jax.study._read_pairs import read_pairs

ROWS = [
    {"id": "a", "prompt": "the student asks", "chosen": "the tutor answers", "rejected": "no"},
    {"id": "b", "prompt": "the student", "chosen": "a short answer", "rejected": "a long answer"},
    {"id": "c", "prompt": "the student", "chosen": "same", "rejected": "same"},
]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


@pytest.mark.parametrize(
    "command",
    [
        "quickstart",
        "extract",
        "solve",
        "report",
        "score",
        "rank",
        "explain",
        "generate",
        "best-of-n",
        "serve",
        "export",
        "export-head",
        "join",
        "backbones",
        "data get",
        "data alternate",
        "data inspect",
    ],
)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "example:" in text
    assert f"coala-jax {command}" in text
    assert "--json" in text


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"coala-jax {coala_jax.__version__}\n"


def test_the_entry_point_loads_neither_flax_nor_transformers_nor_matplotlib():
    heavy = ("flax", "transformers", "matplotlib", "sklearn")
    code = f"import coala_jax.cli._main, sys; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_extract_writes_a_store_and_says_what_was_set_aside(checkpoint, data, tmp_path, capsys):
    words = ["extract", "--model", str(checkpoint), "--data", data, "--pooling", "last"]
    out = tmp_path / "store"
    assert main([*words, "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["out"] == str(out)
    assert result["pairs"]["total"] == 2
    assert result["rows"]["set_aside"] == {"chosen equals rejected": 1}
    assert result["features"] == {"width": 16, "dtype": "float32"}
    pairs = read_pairs(str(out), None, data)
    assert pairs.split_by == "prompt"
    assert pairs.set_aside_counts == {"chosen equals rejected": 1}
    assert pairs.cut == {"prompt": 0, "response": 0}
    assert pairs.lengths.tolist() == [[17, 2], [14, 13]]
    assert pairs.identity.pooling == "last"
    assert main([*words, "--out", str(out)]) == 0  # finished: nothing to do
    printed = capsys.readouterr().out
    assert "chosen equals rejected 1" in printed and "repaired" not in printed
    assert f"written: {out}" in printed
    (out / "shard-00000-chosen.npy").write_bytes(b"damaged")
    assert main([*words, "--out", str(out)]) == 0
    assert "repaired: shard-00000-chosen.npy is damaged" in capsys.readouterr().out
    other = ["extract", "--model", str(checkpoint), "--data", data, "--pooling", "mean"]
    assert main([*other, "--out", str(out)]) == 2
    assert "pooling is 'last' there, 'mean' now" in capsys.readouterr().err
    repeated = {**ROWS[0], "id": "again"}
    turned = {**repeated, "id": "turned", "chosen": ROWS[0]["rejected"]}
    turned["rejected"] = ROWS[0]["chosen"]
    more = tmp_path / "more.jsonl"
    more.write_text("".join(json.dumps(row) + "\n" for row in (*ROWS, repeated, turned)))
    words[words.index(data)] = str(more)
    assert main([*words, "--out", str(tmp_path / "repeats")]) == 0
    said = capsys.readouterr()
    assert said.err.count("warning: 1 rows repeat an earlier row") == 1
    assert "warning: 3 rows contradict another row" in said.out


def test_the_quickstart_writes_a_head_that_knows_its_backbone(quickstart, checkpoint):
    report = json.loads((quickstart / "report.json").read_text())
    assert report["pairs"] == {"train": 51, "eval": 9}
    assert report["split"]["by"] == "group"
    assert 0 <= report["baseline"]["length_accuracy"] <= 1
    assert report["rows"]["set_aside"] == {}
    assert report["rows"]["cut"]["prompt"] > 0  # the tiny backbone sees 64 tokens
    _, metadata = coala_jax.load_head(quickstart)
    assert metadata.identity["pooling"] == "mean"
    assert metadata.document["result"]["eval"] == report["eval"]


def test_score_gives_the_rewards_of_the_head(quickstart, checkpoint, data, tmp_path, capsys):
    out = tmp_path / "rewards.jsonl"
    words = ["score", str(quickstart), "--model", str(checkpoint), "--data", data]
    assert main([*words, "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a", "b", "c"]
    assert all(
        line["reward_margin"] == line["chosen_reward"] - line["rejected_reward"] for line in lines
    )
    assert [line["id"] for line in lines if "set_aside" in line] == ["c"]
    assert (result["pairs"], result["pairs_set_aside"], result["ties"]) == (2, {SAME_TOKENS: 1}, 0)
    assert result["responses"] == 6
    assert result["rewards/margins"] == pytest.approx(
        np.mean([line["reward_margin"] for line in lines[:2]])
    )
    single = tmp_path / "single.jsonl"
    single.write_text(json.dumps({"prompt": ROWS[0]["prompt"], "response": ROWS[0]["chosen"]}))
    words = ["score", str(quickstart), "--model", str(checkpoint), "--data", str(single)]
    assert main([*words, "--out", str(out)]) == 0
    assert "rewards of 1 responses" in capsys.readouterr().out
    line = json.loads(out.read_text())
    assert line["id"] == "line-1"
    assert line["reward"] == pytest.approx(lines[0]["chosen_reward"], rel=1e-4, abs=1e-6)


def test_another_backbone_is_refused_with_what_differs(
    quickstart, make_checkpoint, data, tmp_path, capsys
):
    other = make_checkpoint(tmp_path / "other", seed=1)
    out = tmp_path / "rewards.jsonl"
    words = ["score", str(quickstart), "--model", str(other), "--data", data, "--out", str(out)]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "other is not the backbone of" in message
    assert "weights_sha256" in message
    assert "config_sha256" not in message
    assert not out.exists()


def test_a_damaged_head_is_refused(quickstart, checkpoint, data, tmp_path, capsys):
    shutil.copytree(quickstart, tmp_path / "head")
    words = ["score", str(tmp_path / "head"), "--model", str(checkpoint), "--data", data]
    info = json.loads((tmp_path / "head" / "head.json").read_text())
    del info["identity"]["pooling"]
    (tmp_path / "head" / "head.json").write_text(json.dumps(info))
    assert main([*words, "--out", str(tmp_path / "o.jsonl")]) == 2
    assert "feature identity: no text for pooling" in capsys.readouterr().err
