"""The GPU benchmark end to end at a tiny size on whatever device there is, and what it keeps."""

import importlib
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PAIRS, WIDTH, GATES = 60, 6, 3
SIZE = ["--pairs", str(PAIRS), "--width", str(WIDTH), "--gates", str(GATES)]
TOLERANCES = (0.1, 0.001)


@pytest.fixture(scope="module")
def gpu_solver():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("gpu_solver")


@pytest.fixture(scope="module")
def gpu_parts(gpu_solver):
    return sys.modules["gpu_parts"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    tolerances = ["--tolerances", *map(str, TOLERANCES)]
    options = [*SIZE, "--precisions", "default", *tolerances, "--out", str(folder)]
    script = str(BENCHMARKS / "gpu_solver.py")
    subprocess.run([sys.executable, script, *options], check=True, capture_output=True)
    return folder


def read_rows(folder):
    return json.loads((folder / "gpu_solver.json").read_text())["rows"]


@pytest.fixture(scope="module")
def rows(out):
    return read_rows(out)


def parts(rows, name):
    return [row for row in rows if row["part"] == name]


@pytest.mark.slow
def test_every_part_is_measured(rows):
    assert [row["failure"] for row in rows] == [None] * len(rows)
    once = ("copy", "features", "compile", "preparation", "row penalties", "step")
    assert [len(parts(rows, name)) for name in once] == [1] * len(once)
    assert all(row["seconds"] > 0 for row in rows if row["part"] != "certificate")
    products = [(row["pass"], row["columns"]) for row in parts(rows, "product")]
    assert products == [("row", 7), ("column", 7), ("row", 6), ("column", 6)]


@pytest.mark.slow
def test_solves_report_what_they_were_asked_for(rows):
    solves = parts(rows, "solve")
    assert [row["tolerance"] for row in solves] == list(TOLERANCES)
    for row in solves:
        assert row["status"] == "solved"
        assert max(row["relative_gap"], row["cone_violation"]) <= row["tolerance"]
        gap = (row["primal_value"] - row["dual_bound"]) / abs(row["dual_bound"])
        assert row["relative_gap"] == pytest.approx(gap, abs=1e-6)
        assert 0 < row["explained"] <= 1


@pytest.mark.slow
def test_recomputed_certificates_bear_the_solves_out(rows):
    certificates = parts(rows, "certificate")
    assert [row["tolerance"] for row in certificates] == list(TOLERANCES)
    for row, solve in zip(certificates, parts(rows, "solve"), strict=True):
        gap = (row["primal_value"] - row["dual_bound"]) / abs(row["dual_bound"])
        assert gap == pytest.approx(row["relative_gap"], abs=1e-6)
        assert gap <= row["tolerance"]
        assert row["reported_gap"] == solve["relative_gap"]
        assert row["cone_violation"] == 0
    # Every bound holds for the one program that all of them solve.
    bounds = [row["dual_bound"] for row in certificates]
    assert max(bounds) <= min(row["primal_value"] for row in certificates) * (1 + 1e-6)


@pytest.mark.parametrize("by_block", [True, False])
def test_bytes_of_a_step_are_those_of_its_arrays(gpu_parts, by_block):
    m, d, p, k = 2 * PAIRS, WIDTH + 1, GATES, 2
    x, state, patterns = m * d, 2 * p * m, p * m
    inverses = 2 * p * d**2 if by_block else d**2
    # Slack and multiplier together, products, patterns, and penalties where rows have their own.
    read = (3 if by_block else 2) * state + patterns
    one_cg = 2 * state + patterns + 2 * patterns + patterns + 3 * state
    numbers = read + 2 * state + inverses + k * (one_cg + inverses) + read + state
    size = gpu_parts.Size(PAIRS, WIDTH, GATES)
    for row_bytes in (4, 2):
        expected = 4 * numbers + row_bytes * (1 + 2 * k) * x
        found = gpu_parts.step_bytes(size, k, by_block=by_block, row_bytes=row_bytes)
        assert found == expected


@pytest.mark.slow
def test_share_of_the_copy_is_the_ratio_of_their_rates(rows, gpu_parts):
    (copy,), (step,) = parts(rows, "copy"), parts(rows, "step")
    assert copy["bytes"] == 2 * 4 * 2 * PAIRS * (WIDTH + 1)
    size = gpu_parts.Size(PAIRS, WIDTH, GATES)
    assert step["bytes"] == gpu_parts.step_bytes(size, step["cg_iterations"], by_block=True)
    assert step["cg_iterations"] > 0
    share = step["bytes"] / step["seconds"] / (copy["bytes"] / copy["seconds"])
    assert step["share_of_copy"] == pytest.approx(share)


@pytest.mark.slow
def test_tables_have_a_line_a_row(out, rows):
    lines = (out / "gpu_solver.md").read_text().splitlines()
    cells = [line for line in lines if line.startswith("| ") and "---" not in line]
    heads = 4
    assert len(cells) == len(rows) + heads


@pytest.fixture(scope="module")
def size(gpu_parts):
    return gpu_parts.Size(4000, WIDTH, GATES)


@pytest.fixture(scope="module")
def features(gpu_parts, size):
    return gpu_parts.make_features(size)


def test_features_have_unit_variance_and_a_falling_spectrum(features):
    assert {leaf.dtype for leaf in features[:2]} == {jnp.dtype(jnp.bfloat16)}
    assert features.chosen.shape == features.rejected.shape == (4000, WIDTH)
    stacked = np.concatenate([np.asarray(rows, np.float32) for rows in features[:2]])
    np.testing.assert_allclose(stacked.std(axis=0), 1, atol=0.05)
    spectrum = np.linalg.svd(stacked, compute_uv=False)
    assert spectrum[0] > 1.5 * spectrum[-1]


def test_features_do_not_depend_on_the_chunks_they_are_made_in(
    gpu_parts, size, features, monkeypatch
):
    monkeypatch.setattr(gpu_parts, "CHUNK_PAIRS", 999)
    chunked = jax.jit(lambda: gpu_parts.make_features.__wrapped__(size))()
    for one, other in zip(features[:2], chunked[:2], strict=True):
        np.testing.assert_allclose(
            np.asarray(one, np.float32), np.asarray(other, np.float32), rtol=1e-2, atol=1e-6
        )


def test_parts_that_fail_stay_with_their_reason(gpu_solver, tmp_path, capsys):
    options = ["--pairs", "1", "--width", "3", "--gates", "2", "--tolerances", "0.1"]
    gpu_solver.main([*options, "--precisions", "highest", "--out", str(tmp_path)])
    rows = read_rows(tmp_path)
    (copy,), (compile_row,), (solve,) = (parts(rows, p) for p in ("copy", "compile", "solve"))
    assert copy["failure"] is None
    assert "at least 2 pairs" in compile_row["failure"]
    assert solve["failure"] == "not run: a part before it gave nothing"
    assert all(row["failure"] is None for row in parts(rows, "product"))
    assert "at least 2 pairs" in capsys.readouterr().out


def test_nothing_runs_without_a_budget(gpu_solver, tmp_path):
    gpu_solver.main(["--budget", "0", "--out", str(tmp_path)])
    rows = read_rows(tmp_path)
    # Both precisions have four parts, three solves with their certificates, and four products.
    assert len(rows) == 2 + 2 * (4 + 3 * 2 + 4)
    assert all(row["failure"].startswith("not run") for row in rows)
    assert "0 s of the budget left" in rows[0]["failure"]


def test_a_part_that_may_outlast_the_budget_is_skipped(gpu_solver, tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    reporting = sys.modules["reporting"]
    monkeypatch.setattr(reporting, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def four_seconds():
        clock.now += 4
        return gpu_solver.Measured({})

    recorder = _recorder(gpu_solver, tmp_path, budget=10.0)
    for part in ("solve", "solve", "step"):
        recorder.measure({"part": part}, four_seconds)
    failures = [row["failure"] for row in recorder.rows]
    assert failures == [None, "not run: 6 s of the budget left, 8 s may be needed", None]


def test_rows_are_on_disk_when_a_later_part_is_killed(gpu_solver, tmp_path):
    def killed():
        raise KeyboardInterrupt

    recorder = _recorder(gpu_solver, tmp_path, budget=10.0)
    recorder.measure({"part": "step"}, lambda: gpu_solver.Measured({"seconds": 2.0}))
    with pytest.raises(KeyboardInterrupt):
        recorder.measure({"part": "solve"}, killed)
    assert [row["seconds"] for row in read_rows(tmp_path)] == [2.0]


def _recorder(gpu_solver, folder, budget):
    arguments = Namespace(
        pairs=PAIRS,
        width=WIDTH,
        gates=GATES,
        max_iterations=1000,
        budget=budget,
        out=folder,
        name="gpu_solver",
    )
    return gpu_solver.make_recorder(arguments)
