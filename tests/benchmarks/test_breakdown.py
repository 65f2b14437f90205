"""The breakdown of Phase I names every part, and counts what a solve ran."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_every_part_of_a_solve_is_measured_and_counted(tmp_path):
    script = str(BENCHMARKS / "breakdown.py")
    options = ["--sets", "60x4x3", "--losses", "squared", "--out", str(tmp_path)]
    subprocess.run([sys.executable, script, *options], check=True, capture_output=True)
    (row,) = json.loads((tmp_path / "breakdown.json").read_text())["rows"]
    assert row["status"] == "solved"
    # Rows of narrow blocks are updated at every check; the last check made bound and projection.
    assert row["runs"]["row penalties"] >= row["steps"] / 25
    assert row["runs"]["dual bounds"] >= 1
    assert row["runs"]["projections"] >= 1
    measured = {name: value for name, value in row.items() if name.endswith(", s")}
    assert all(value > 0 for name, value in measured.items() if name != "rest, s")
    assert "| 60x4x3 | squared | solved |" in (tmp_path / "breakdown.md").read_text()
