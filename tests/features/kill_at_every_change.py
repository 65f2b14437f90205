"""Run by test_killed_runs: kills the writer of a store before its first change of a file, then one
before its second, and so on, each followed by an uninterrupted run.

    python kill_at_every_change.py FOLDER made|repaired

Prints how many were killed; fails where bytes differ or something is left over.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np

from coala_jax.features import FeatureIdentity, PairPrefixes
from coala_jax.features._shard import RowRecord, Shard
from coala_jax.features._store import write_store

SETTINGS = {"identity": FeatureIdentity(*"abcdefghij")._asdict(), "rows": 6}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def make_shard(number, recorded_budget):
    features = np.full((2, 3), number, np.float32)
    records = [RowRecord(f"{number}-{row}", "hash") for row in range(2)]
    tokens, cut = {"given": 2, "distinct": 2, "run": 2}, {"prompt": 0, "response": 0}
    cuts = PairPrefixes(features, -features, np.array([0, 1]), np.array([3, 2]))
    shard = Shard(features, -features, records, cut, tokens, 10, [(1, 2, 2)], 64)
    return shard._replace(prefixes=cuts)


def run(store, die_at):
    """Write the store in a process of its own; gives how that ended."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    changes = 0

    def count(event, arguments):
        nonlocal changes
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if writes or event in ("os.rename", "os.mkdir", "os.remove"):
            changes += 1
            if changes == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        write_store(store, SETTINGS, make_shard, 3)
    except BaseException as error:
        print(error, file=sys.stderr)
        os._exit(1)
    os._exit(0)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main(root, way):
    whole, store = root / "whole", root / "store"
    assert run(whole, die_at=0) == 0
    die_at = 1
    while True:
        if way == "repaired":
            shutil.copytree(whole, store)
            (store / "shard-00001-rejected.npy").write_bytes(b"damaged")
        ended = run(store, die_at)
        if ended:
            assert ended == signal.SIGKILL, ended
            assert run(store, die_at=0) == 0, f"after a kill at change {die_at}"
        assert contents(store) == contents(whole), f"after a kill at change {die_at}"
        assert {path.name for path in root.iterdir()} == {"whole", "store"}
        shutil.rmtree(store)
        if not ended:
            break
        die_at += 1
    print(die_at - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
