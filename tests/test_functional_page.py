"""The Python of docs/functional.md prints what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "functional.md"


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path):
    """In a process of its own, as a reader runs it."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    *summary, sweep, objectives, accuracy, joint, groups, gradient = done.stdout.splitlines()
    assert summary[0].startswith("accuracy 0.")  # the report, of as many lines as it has
    score = next(line for line in summary if re.fullmatch(r"0\.\d+", line))
    assert float(score) > 0.75  # no linear probe can
    figures = dict(line.split() for line in summary if line.startswith("  "))
    assert float(figures["relative_gap"]) <= 1e-2
    assert float(figures["explained"]) >= 0.9
    values = [float(value) for value in sweep.split("[")[2].rstrip("]").split()]
    assert max(values) <= 1.02 * min(values)  # each within the tolerance of one optimum
    refined, sampled = map(float, objectives.split())
    assert refined < sampled
    assert 0.5 < float(accuracy) <= 1
    assert "status=SOLVED," in joint
    assert "status=SOLVED," in groups
    assert np.isfinite(float(gradient))
    assert sorted(file.name for file in (tmp_path / "head").iterdir()) == [
        "README.md",
        "head.json",
        "head.safetensors",
    ]
