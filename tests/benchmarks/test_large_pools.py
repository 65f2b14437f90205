"""The comparison of pools: both ways give the same, which the script checks, and a table."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_both_ways_are_measured(tmp_path):
    script = str(ROOT / "benchmarks" / "large_pools.py")
    small = ["--ids", "32000", "--rows", "2", "--repeats", "1", "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, script, *small], check=True, capture_output=True, env=environment
    )
    (row,) = json.loads((tmp_path / "large-pools.json").read_text())["rows"]
    assert (row["ids"], row["rows"]) == (32000, 2) and min(row["whole"], row["parts"]) > 0
    assert "| 32000 | 2 |" in (tmp_path / "large-pools.md").read_text()
