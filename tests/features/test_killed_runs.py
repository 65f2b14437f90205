"""Runs that end by SIGKILL: the next one goes on, and the bytes are those of a run that was not."""

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coala_jax.features import open_store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no SIGKILL or fork here")
HERE = Path(__file__).parent
KILLS = 10
# Shards of extract_in_forks.py.
SHARDS = 60
# An uninterrupted run takes a second; a machine may be slow, but a test must end.
PATIENCE_S = 300


@pytest.mark.parametrize("way", ["made", "repaired"])
def test_a_writer_killed_at_any_change_of_a_file_leaves_the_same_bytes(tmp_path, way):
    words = [sys.executable, str(HERE / "kill_at_every_change.py"), str(tmp_path), way]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # A shard with beginnings takes six files and the manifest, each opened and renamed, and there
    # are three.
    assert int(done.stdout) >= (42 if way == "made" else 14)


@pytest.fixture
def extractor(checkpoint):
    """What extracts in processes of their own."""
    words = [sys.executable, str(HERE / "extract_in_forks.py"), str(checkpoint)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, bufsize=0) as server:
        yield server
        server.stdin.close()


def _start(extractor, store):
    extractor.stdin.write(f"{store}\n".encode())
    return int(extractor.stdout.readline())


def _ended(extractor):
    return bool(select.select([extractor.stdout], [], [], 0)[0])


def _wait(extractor):
    """How the run ended: 0, or minus the signal."""
    return int(extractor.stdout.readline())


def _names(store):
    folder = store.with_name(f"{store.name}.partial")
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def _shards(store):
    return sum(name.endswith("-rows.jsonl") for name in _names(store))


def _run_until(extractor, happened):
    """Look until something has happened or the run has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened() and not _ended(extractor):
        assert time.monotonic() < deadline
        time.sleep(0.0005)


@pytest.mark.slow
def test_an_extraction_killed_ten_times_ends_with_the_same_bytes(extractor, tmp_path):
    rng = random.Random(0)
    store, whole = tmp_path / "store", tmp_path / "whole"
    shards = 0
    for _ in range(KILLS):
        process = _start(extractor, store)
        before = _names(store)
        _run_until(extractor, lambda before=before: _names(store) != before)
        # While the next file is written, or one or two shards later, whatever the pace is.
        wanted = shards + rng.choice([0, 1, 2])
        _run_until(extractor, lambda wanted=wanted: _shards(store) >= wanted)
        time.sleep(rng.uniform(0, 0.01))
        os.kill(process, signal.SIGKILL)
        assert _wait(extractor) == -signal.SIGKILL
        assert not store.exists()
        assert shards <= _shards(store) < SHARDS, "a finished shard was lost, or none was left"
        shards = _shards(store)
    assert shards > 0
    for out in (store, whole):
        _start(extractor, out)
        assert _wait(extractor) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"store", "whole"}
    assert {path.name for path in store.iterdir()} == {path.name for path in whole.iterdir()}
    for path in whole.iterdir():
        assert (store / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(open_store(store).manifest["shards"]) == SHARDS
