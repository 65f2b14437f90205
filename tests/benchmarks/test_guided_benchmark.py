"""The benchmark of guided decoding at a small size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(part, out, *options):
    command = [
        sys.executable,
        str(ROOT / f"benchmarks/guided_{part}.py"),
        "--out",
        str(out),
        *options,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=out)
    name = f"guided-{part}"
    return json.loads((out / f"{name}.json").read_text()), (out / f"{name}.md").read_text()


@pytest.mark.slow
def test_alignment_is_measured_for_every_scale(tmp_path):
    options = ("--train-pairs", "120", "--prompts", "6", "--methods", "guided")
    result, table = run("align", tmp_path, *options)
    rows = result["rows"]
    assert [row["method"] for row in rows[:6]] == ["plain", *["guided"] * 5]
    assert [row["scale"] for row in rows[:6]] == [0, 0.5, 1, 2, 4, 8]
    assert sum(row["chosen"] for row in rows if row["method"] == "guided") == 1
    assert rows[-1]["method"] == "best of 16"
    # The best of samples has at least the reward of the first of them, whatever the head is worth.
    assert rows[-1]["reward"]["mean"] > rows[0]["reward"]["mean"]
    for row in rows:
        assert 0 <= row["direct"]["mean"] <= 1
        assert row["perplexity"] >= 1
        assert f"| {row['method']} |" in table


@pytest.mark.slow
def test_costs_are_measured_against_plain_sampling(tmp_path):
    options = ("--steps", "10", "--repeats", "2", "--batches", "2")
    result, table = run("cost", tmp_path, *options)
    ratios = {row["contender"]: row["ratio"] for row in result["rows"]}
    assert ratios["plain"] == 1
    assert {f"{n} candidates, closed, full" for n in (5, 50)} <= set(ratios)
    assert all(ratio > 0 for ratio in ratios.values())
    assert "over plain" in table
