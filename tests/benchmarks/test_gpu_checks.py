"""The checks of a device: what counts as held, what is kept, and all of them at tiny sizes."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def gpu_checks():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("gpu_checks")


def rows_of(folder):
    return json.loads((folder / "gpu_checks.json").read_text())["rows"]


@pytest.mark.parametrize(
    ("figure", "at_most", "sound", "held"),
    [
        (0.1, 0.1, True, True),
        (0.2, 0.1, True, False),
        (5.0, None, True, True),
        (0.1, 0.1, False, False),
        (float("nan"), 0.1, True, False),
        (float("nan"), None, True, False),
    ],
)
def test_a_check_holds_within_its_limit_where_all_else_is_sound(
    gpu_checks, figure, at_most, sound, held
):
    assert gpu_checks.Found(figure, at_most, "", sound).held == held


def test_responses_may_part_where_there_was_a_near_tie(gpu_checks):
    def response(tokens, near_ties=0):
        return SimpleNamespace(tokens=tokens, near_ties=near_ties, reward=0.0)

    reference = [response((1, 2)), response((3,)), response((4,))]
    found = gpu_checks._parted([response((1, 2)), response((9,), 1), response((4,))], reference)
    assert found.held and "2 of 3" in found.detail
    assert not gpu_checks._parted([response((7,)), *reference[1:]], reference).held


def test_a_check_that_raises_stays_with_its_reason_and_the_others_run(
    gpu_checks, tmp_path, monkeypatch
):
    def broken():
        raise RuntimeError("no such kernel")

    made = [("one", "broken", broken), ("two", "whole", lambda: gpu_checks.Found(0.0, 0.0, "fine"))]
    monkeypatch.setattr(gpu_checks, "checks", lambda sides: made)
    assert gpu_checks.main(["--small", "--out", str(tmp_path)]) == 1
    one, two = rows_of(tmp_path)
    assert one["failure"] == "RuntimeError: no such kernel" and two["held"]
    table = (tmp_path / "gpu_checks.md").read_text()
    assert "| NO | - | RuntimeError: no such kernel |" in table and "| yes |" in table
    assert gpu_checks.main(["--small", "--out", str(tmp_path), "--only", "two"]) == 0


def test_nothing_runs_without_a_budget(gpu_checks, tmp_path):
    assert gpu_checks.main(["--small", "--budget", "0", "--out", str(tmp_path)]) == 1
    assert all(row["failure"].startswith("not run") for row in rows_of(tmp_path))


@pytest.mark.slow
def test_checks_hold_where_the_device_is_the_cpu(tmp_path):
    """Some of them: all take minutes."""
    command = [sys.executable, str(BENCHMARKS / "gpu_checks.py"), "--small", "--out", str(tmp_path)]
    some = ("--only", "solve", "features as the CPU's", "tokens as the CPU's")
    done = subprocess.run(
        [*command, *some, "--budget", "3000"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    rows = rows_of(tmp_path)
    assert [row for row in rows if not row.get("held")] == []
    assert done.returncode == 0, done.stderr[-2000:]
    compared = [row for row in rows if row["part"].endswith("the CPU's") and row["at_most"] == 0]
    assert compared and all(row["figure"] == 0 for row in compared)
