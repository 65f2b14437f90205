"""`coala-jax solve` in several processes that meet on the loopback interface."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from coala_jax.features import Part
from coala_jax.features._join import part_path
from tests.parquet_files import write_parquet
from tests.stores import draw_group_rows, draw_rows, write_stores

ROOT = Path(__file__).parents[2]
OPTIONS = ("--n-gates", "4", "--gate-distribution", "isotropic", "--group-lasso", "0.1")
PAIRWISE = (*OPTIONS, "--phase1-loss", "bradley_terry")
GROUPED = (*OPTIONS, "--phase1-loss", "listwise")
# Compiling takes most of it; a machine of two cores that does other work takes several times as
# long as one that does not.
LIMIT = 400


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(*words, **variables):
    """A command in a process of its own, in float64."""
    return subprocess.Popen(
        [sys.executable, "-m", "coala_jax.cli._main", *map(str, words)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_X64": "1",
            **variables,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(running):
    """Code, stdout and stderr of each."""
    try:
        outputs = [each.communicate(timeout=LIMIT) for each in running]
    finally:
        for each in running:
            each.kill()
    return [(each.returncode, *texts) for each, texts in zip(running, outputs, strict=True)]


def start_all(processes, *words):
    meeting = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", processes)
    return [
        start("solve", *words, *meeting, "--process-id", number, "--json")
        for number in range(processes)
    ]


def require_same_head(one, other, *, but=()):
    """Heads, statuses, steps and figures, but for times, what names the run and those named."""
    tensors, others = (load_file(folder / "head.safetensors") for folder in (one, other))
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        np.testing.assert_allclose(tensor, others[name], rtol=1e-7, atol=1e-9, err_msg=name)
    reports = [json.loads((folder / "report.json").read_text()) for folder in (one, other)]
    for report in reports:
        for phase in ("phase1", "phase2"):
            for name in ("seconds", "compile_seconds"):
                del report[phase][name]
            # Bounds of rounding, and what is left to it.
            for name in ("gradient_norm", "excess"):
                report[phase].pop(name, None)
        del report["command"], report["features"]["source"], report["device"]
    first, second = map(flat, reports)
    assert first.keys() == second.keys()
    for name in first.keys() - set(but):
        value = first[name]
        if isinstance(value, float):
            assert second[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
        else:
            assert second[name] == value, name


def flat(fields, prefix=""):
    found = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            found |= flat(dict(enumerate(value)), f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def require_solved(results, out):
    assert [code for code, *_ in results] == [0] * len(results), results
    (_, text, _), *others = results
    assert json.loads(text)["out"] == str(out)  # and nothing of gloo's
    assert all(not printed and not said for _, printed, said in others), others


@pytest.fixture(scope="module")
def pairs():
    return draw_rows(53, 3)


@pytest.fixture(scope="module")
def alone(pairs, tmp_path_factory):
    """The head of one process with one device."""
    folder = tmp_path_factory.mktemp("alone")
    store = write_stores(folder / "store", *pairs)
    ((code, _, said),) = ended([start("solve", store, "--out", folder / "head", *PAIRWISE)])
    assert code == 0, said
    return folder / "head"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_solve_the_parts_of_a_store_as_one_solves_the_whole(
    pairs, alone, tmp_path, processes
):
    parts = write_stores(tmp_path / "parts", *pairs, parts=2)
    many = tmp_path / "many"
    require_solved(ended(start_all(processes, parts, "--out", many, *PAIRWISE)), many)
    require_same_head(alone, many)


@pytest.mark.slow
def test_groups_of_responses_are_solved_whole(tmp_path):
    rows = draw_group_rows(25, 3)
    whole = write_stores(tmp_path / "whole", *rows)
    parts = write_stores(tmp_path / "parts", *rows, parts=2)
    many, one = tmp_path / "many", tmp_path / "one"
    ((code, _, said),) = ended([start("solve", whole, "--out", one, *GROUPED)])
    assert code == 0, said
    require_solved(ended(start_all(2, parts, "--out", many, *GROUPED)), many)
    require_same_head(one, many)


@pytest.mark.slow
def test_a_process_whose_groups_all_say_nothing_changes_no_weight(tmp_path):
    rows, *features = draw_group_rows(26, 3)
    rows = [row._replace(margin=row.margin if at < 26 else 0.0) for at, row in enumerate(rows)]
    store = write_stores(tmp_path, rows, *features)
    many, one = tmp_path / "many", tmp_path / "one"
    ((code, _, said),) = ended([start("solve", store, "--out", one, *PAIRWISE)])
    assert code == 0, said
    require_solved(ended(start_all(2, store, "--out", many, *PAIRWISE)), many)
    require_same_head(one, many)


@pytest.mark.slow
def test_strengths_are_chosen_on_the_pairs_of_all_processes(tmp_path):
    rows = draw_rows(161, 3)
    whole = write_stores(tmp_path / "whole", *rows)
    parts = write_stores(tmp_path / "parts", *rows, parts=3)
    many, one = tmp_path / "many", tmp_path / "one"
    options = ("--n-gates", "4", "--gate-distribution", "isotropic")
    ((code, _, said),) = ended([start("solve", whole, "--out", one, *options)])
    assert code == 0, said
    require_solved(ended(start_all(2, parts, "--out", many, *options)), many)
    # A chosen head without a network has nothing for conjugate gradients to do but rounding.
    require_same_head(one, many, but=("phase1.cg_iterations", "phase1.admm_flops"))


@pytest.mark.slow
def test_one_process_uses_all_of_its_devices(pairs, alone, tmp_path):
    store, head = write_stores(tmp_path / "store", *pairs), tmp_path / "head"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=3"
    ((code, _, said),) = ended([start("solve", store, "--out", head, *PAIRWISE, XLA_FLAGS=flags)])
    assert code == 0, said
    require_same_head(alone, head)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_ends_the_others(pairs, tmp_path, killed):
    store = write_stores(tmp_path, *pairs)
    running = start_all(2, store, "--out", tmp_path / "head", *PAIRWISE)
    # Once process 0 says so, both are at it.
    assert "solving on" in running[0].stderr.readline()
    running[killed].send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    code, _, said = ended([running[1 - killed]])[0]
    assert time.monotonic() - killed_at < 90  # a heartbeat, and some
    running[killed].communicate()
    assert code not in (0, None)
    assert "another process has ended" in said or "another task died" in said, said
    assert not (tmp_path / "head").exists()


@pytest.mark.slow
def test_a_fault_of_one_process_is_named_by_all(tmp_path):
    store = write_stores(tmp_path, *draw_rows(64, 3), parts=2)
    damaged = part_path(store, Part(1, 2)) / "shard-00001-chosen.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    results = ended(start_all(2, store, "--out", tmp_path / "head", *PAIRWISE))
    for code, _, said in results:
        assert code == 2
        assert said.count("\n") == 1, said
        assert "error: process 1 of 2: " in said and "shard-00001-chosen.npy is damaged" in said
    assert not (tmp_path / "head").exists()


@pytest.mark.slow
def test_processes_that_no_launcher_has_started_are_asked_for(tmp_path):
    words = ("solve", "store", "--out", tmp_path / "head", "--processes", "auto")
    ((code, _, said),) = ended([start(*words)])
    assert code == 2
    assert "--processes auto: jax finds no SLURM, Open MPI or Cloud TPU here" in said


@pytest.mark.slow
def test_tasks_of_slurm_meet_by_what_srun_sets(pairs, tmp_path):
    store = write_stores(tmp_path, *pairs, parts=2)
    words = ("solve", store, "--out", tmp_path / "head", *PAIRWISE, "--json")
    job = {
        "SLURM_JOB_ID": str(free_port() % 2**12),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
    }
    running = [
        start(*words, "--processes", "auto", SLURM_PROCID=task, SLURM_LOCALID=task, **job)
        for task in ("0", "1")
    ]
    require_solved(ended(running), tmp_path / "head")


@pytest.mark.slow
def test_pods_of_an_indexed_job_solve_parquet(pairs, tmp_path):
    folder = write_parquet(tmp_path / "features", *pairs)
    words = ("solve", folder, "--out", tmp_path / "head", *PAIRWISE, "--json")
    meeting = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2")
    running = [
        start(*words, *meeting, "--process-id", "auto", JOB_COMPLETION_INDEX=index)
        for index in ("0", "1")
    ]
    require_solved(ended(running), tmp_path / "head")
