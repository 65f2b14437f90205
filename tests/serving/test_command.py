"""`coala-jax serve` as a process, from its first line to its end by a signal."""

import http.client
import json
import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from coala_jax._head_files import save_head
from coala_jax.cli._main import main
from tests.serving.asking import PATIENCE

COMMAND = [sys.executable, "-m", "coala_jax.cli._main", "serve"]


@pytest.fixture(scope="module")
def words(model_folder, model, tmp_path_factory):
    """Words of a command line: the head of the tests and its model."""
    folder = tmp_path_factory.mktemp("served") / "head"
    save_head(folder, model.head, {"identity": model.identity._asdict()})
    return [str(folder), "--model", str(model_folder)]


@pytest.mark.slow
def test_a_signal_ends_it_cleanly(words):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [*COMMAND, *words, "--port", "0", "--json", "--batch-size", "1", "--max-top-k", "4"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        lines = iter(process.stdout.readline, "}\n")
        said = json.loads("".join(lines) + "}")
        url = urlsplit(said["url"])
        assert (url.hostname, url.path, said["model"]) == ("127.0.0.1", "/v1", "tiny")
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=PATIENCE)
        connection.request("GET", "/health")
        assert json.loads(connection.getresponse().read()) == {"status": "ok"}
        connection.close()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "GET /health 200" in errors and "shutting down" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--host", "0.0.0.0", "--port", "0"], "--without-token"),
        (["--port", "70000"], "at most 65535"),
        (["--scale", "-1"], "--scale -1.0 must be at least 0"),
        (["--max-waiting", "3"], "choices=16 must be at most waiting=3"),
        (["--allow-origin", "*"], "--allow-origin *"),
        (["--allow-host", "a:80"], "--allow-host a:80"),
        (["--token-file", "no/such/file"], "no/such/file"),
        (["--host", "no.such.host.invalid", "--without-token"], "no.such.host.invalid"),
    ],
)
def test_options_that_cannot_be_used(words, options, part, capsys):
    assert main(["serve", *words, *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert part in printed.err


def test_a_port_that_is_taken(words, served, capsys):
    assert main(["serve", *words, "--port", str(served.address[1])]) == 2
    assert "cannot listen there" in capsys.readouterr().err


def test_what_is_missing_names_its_extra(words, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "coala_jax.serving._run")
    assert main(["serve", *words, "--port", "0"]) == 2
    assert "pip install '.[serve]' in the folder" in capsys.readouterr().err
