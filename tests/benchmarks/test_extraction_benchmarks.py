"""The extraction benchmarks end to end at small sizes, and what they keep."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LENGTHS = (16, 32)


def _run(name, folder, *options):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--small", "--out", str(folder)]
    finished = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def extraction(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("results")
    return _run("extraction", folder, "--data", str(folder))


@pytest.mark.slow
def test_ours_and_torch_run_on_the_same_tokens(extraction):
    rows = extraction["rows"]
    cores = [count for count in (1, 2) if count <= len(os.sched_getaffinity(0))]
    # Ours with and without sharing, and torch with one thread and with as many as there are cores.
    assert len(rows) == sum(2 * (2 + count) for count in cores)
    for row in rows:
        same = [row[name] for name in ("cores", "model", "rows")]
        others = [x for x in rows if [x[name] for name in ("cores", "model", "rows")] == same]
        assert len({x["given"] for x in others}) == 1
        assert row["largest_error"] <= 1e-4
        assert row["tokens_per_second"] == pytest.approx(row["given"] / row["seconds"])
        best = min(x["seconds"] for x in others if x["contender"].startswith("torch"))
        assert row["ratio"] == pytest.approx(row["seconds"] / best)


@pytest.mark.slow
def test_sharing_runs_fewer_tokens_and_peaks_are_kept(extraction):
    rows = [row for row in extraction["rows"] if row["cores"] == 1]
    for model in ("embedded", "llama"):
        found = {row["contender"]: row for row in rows if row["model"] == model}
        assert found["ours, shared"]["run"] <= found["ours"]["run"]
        assert found["ours, shared"]["flops"] > 0
        assert found["ours"]["peak_bytes"] > 0 and found["torch"]["peak_bytes"] > 0


@pytest.fixture(scope="module")
def gpu_extraction(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    options = ["--lengths", *map(str, LENGTHS), "--token-budget", "64"]
    return _run("gpu_extraction", folder, *options), (folder / "gpu_extraction.md").read_text()


@pytest.mark.slow
def test_every_part_on_the_device_is_measured_with_its_share_of_the_rate(gpu_extraction):
    result, table = gpu_extraction
    (rate,) = [row for row in result["rows"] if row["part"] == "rate"]
    ours = [row for row in result["rows"] if row["part"] == "ours"]
    assert [row["failure"] for row in (rate, *ours)] == [None] * 5
    assert [row["length"] for row in ours] == list(LENGTHS) * 2
    for row in ours:
        assert row["rows"] * row["length"] == 64
        share = row["flops"] / row["seconds"] / (rate["flops"] / rate["seconds"])
        assert row["share_of_rate"] == pytest.approx(share)
        # Attention's loop over rows on a CPU counts once there, norms and softmax count here.
        assert row["compiler_flops"] == pytest.approx(row["flops"], rel=0.2)
    heads = 2
    assert len([line for line in table.splitlines() if line.startswith("| ")]) == (
        heads + len(result["rows"])
    )


def test_a_device_whose_compiler_counts_nothing_has_no_count(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    gpu_extraction = importlib.import_module("gpu_extraction")
    lowered = SimpleNamespace(cost_analysis=lambda: None)  # as jax's CUDA plugin has it
    features = SimpleNamespace(lower=lambda state, batch, layer: lowered)
    config = SimpleNamespace(depth=2)
    assert gpu_extraction._compiler_flops(features, config, None, None) is None


def test_nothing_runs_without_a_budget(tmp_path):
    result = _run("gpu_extraction", tmp_path, "--budget", "0")
    assert all(row["failure"].startswith("not run") for row in result["rows"])
