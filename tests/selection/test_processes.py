"""Several processes choose what one does, each with its part of the rows."""

import json
import os
import socket
import subprocess
import sys

import pytest

from tests.collectives import ROOT


def started(number, count, address):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.selection.processes", str(number), str(count), address],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(process):
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-4000:]
    return json.loads(out.splitlines()[-1])


@pytest.mark.slow
def test_two_processes_choose_what_one_does():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    one = printed(started(0, 1, address))
    both = [printed(process) for process in [started(number, 2, address) for number in (0, 1)]]
    assert one["processes"] == 1
    assert one["copies"]
    for found in both:
        assert found["processes"] == 2
        assert found["copies"]
        assert found["choice"] == one["choice"]
        assert found["values"] == pytest.approx(one["values"], rel=1e-9)
