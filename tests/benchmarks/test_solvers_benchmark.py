"""The solver benchmark end to end on its tiny problem, with the contenders that need no extra."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "solvers.py"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    options = ["--problems", "tiny-0", "--contenders", "ours", "clarabel", "--out", str(folder)]
    subprocess.run([sys.executable, str(SCRIPT), *options], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def rows(out):
    return json.loads((out / "solvers.json").read_text())["rows"]


@pytest.mark.slow
def test_weights_of_a_cone_solver_are_certified_optimal(rows):
    (clarabel,) = [row for row in rows if row["solver"] == "clarabel"]
    assert clarabel["weights_gap"] <= 1e-4
    assert clarabel["own_gap"] <= 1e-6
    assert clarabel["cone_violation"] <= 1e-6
    assert clarabel["explained"] == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_ours_reaches_the_cone_solvers_optimum_within_its_own_gap(rows):
    (optimum,) = [row["primal_value"] for row in rows if row["solver"] == "clarabel"]
    bare, ours = [
        [row for row in rows if row["solver"] == "ours" and ("bare" in row["setting"]) == kind]
        for kind in (True, False)
    ]
    assert [row["steps"] for row in bare] == [10, 60]
    assert all(row["primal_value"] >= optimum * (1 - 1e-6) for row in bare)
    gaps = (0.3, 0.1, 0.01, 0.001)
    assert [row["setting"] for row in ours] == [f"gap {gap}" for gap in gaps]
    for row, gap in zip(ours, gaps, strict=True):
        assert row["own_gap"] <= gap * 1.01
        assert row["primal_value"] == pytest.approx(optimum, rel=gap)
        assert row["dual_bound"] <= optimum * (1 + 1e-6) <= row["primal_value"] * (1 + 2e-6)


@pytest.mark.slow
def test_table_has_a_line_a_row(out, rows):
    lines = (out / "solvers.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| tiny-0 |")]) == len(rows)
