"""A command reads what the one before has compiled; nothing of the cache fails it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from coala_jax._compile_cache import VARIABLE

# Counts of jax's events on the last line.
CODE = """
import collections, json, sys
import jax
from coala_jax.cli._main import main
events = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: events.update([event.split("/")[-1]]))
code = main(sys.argv[1:])
print(json.dumps(events))
sys.exit(code)
"""
REQUESTS, HITS, MISSES = "compile_requests_use_cache", "cache_hits", "cache_misses"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("features") / "features.npz"
    chosen, rejected = rng.normal(0.5, 1, (20, 3)), rng.normal(0, 1, (20, 3))
    np.savez(file, chosen=chosen.astype("f4"), rejected=rejected.astype("f4"))
    return file


def start(features, out, cache, *options):
    words = ["solve", str(features), "--out", str(out), "--n-gates", "2", "--max-epochs", "50"]
    # CI gives the tests a cache of jax's own.
    others = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *words, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**others, VARIABLE: str(cache)},
    )


def end(process):
    """The events of a run that ended with a head, and what it said beside its usual lines."""
    stdout, stderr = process.communicate()
    assert process.returncode in (0, 3), stderr
    lines = stderr.splitlines()
    assert [line for line in lines if not line.startswith("coala-jax: ")] == []
    return json.loads(stdout.splitlines()[-1]), [line for line in lines if VARIABLE in line]


@pytest.mark.slow
def test_a_second_run_compiles_nothing(features, tmp_path):
    cache = tmp_path / "xla"
    for process in [start(features, tmp_path / name, cache) for name in ("a", "b")]:
        events, said = end(process)
        assert events[REQUESTS] > 0 and said == []
    files = {file.name: file.read_bytes() for file in cache.iterdir()}
    events, _ = end(start(features, tmp_path / "c", cache))
    assert events[HITS] == events[REQUESTS] > 0 and MISSES not in events
    assert {file.name: file.read_bytes() for file in cache.iterdir()} == files
    for file in cache.iterdir():  # as a process leaves it that was killed
        file.write_bytes(file.read_bytes()[:100])
    events, said = end(start(features, tmp_path / "d", cache))
    assert HITS not in events and said == []


@pytest.mark.parametrize(("options", "kept"), [([], True), (["--no-compile-cache"], False)])
def test_the_option_says_no(options, kept, tmp_path):
    process = start(tmp_path / "missing.npz", tmp_path / "out", tmp_path / "xla", *options)
    process.communicate()
    assert process.returncode == 2  # the folder is made before features are looked for
    assert (tmp_path / "xla").exists() == kept


def test_a_folder_that_cannot_be_made_fails_no_run(features, tmp_path):
    (tmp_path / "file").write_text("in the way")
    events, said = end(start(features, tmp_path / "out", tmp_path / "file" / "xla"))
    assert HITS not in events and MISSES not in events
    assert len(said) == 1
