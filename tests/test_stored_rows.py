"""Rows in files: named, read and brought to a device without a copy of all of them."""

import json
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import coala_jax._stored_rows as stored_rows
from coala_jax import PreferenceFeatures
from coala_jax._shard_rows import filled_columns, split_rows
from coala_jax._stored_rows import ArrayFile, StoredRows, in_memory, row_blocks, stored
from tests.stores import draw_rows, write_stores

WIDTH = 5
# Of the store of the subprocess: 2 x 4096 rows of 2048 float16 numbers, 34 MB.
PAIRS, COLUMNS = 4096, 2048
STORE_BYTES = 2 * PAIRS * COLUMNS * 2
READ = """
import contextlib, json, sys
import numpy as np
from coala_jax import _stored_rows as stored_rows
from coala_jax._types import Config
from coala_jax.study._constant_columns import constant_columns
from coala_jax.study._experiment import _placed
from coala_jax.study._read_pairs import read_pairs
def status(name):  # of this process alone: ru_maxrss begins at what its parent has
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))
def on_device(store):
    pairs = read_pairs(store)
    constant_columns(pairs)
    wanted = np.arange(len(pairs.keys)) % 4 > 0
    return pairs, _placed(pairs, pairs, wanted, Config(rows="compact"))
stored_rows.BLOCK_BYTES = 1 << 20
on_device(sys.argv[1])  # what the first call compiles is not of the rows
before = status("VmRSS")
with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak begins anew
pairs, rows = on_device(sys.argv[2])
grown, dtype = status("VmHWM") - before, rows.pairs.features.chosen.dtype
print(json.dumps([grown, str(dtype), len(pairs.keys)]))
"""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(stored_rows, "BLOCK_BYTES", 3 * WIDTH * 4)


@pytest.fixture
def whole():
    return np.random.default_rng(0).standard_normal((23, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_rows_of_files_and_arrays_are_those_of_one_array(tmp_path, whole, dtype):
    whole = whole.astype(dtype)
    for name, part in (("a", whole[:7]), ("b", whole[7:8])):
        np.save(tmp_path / f"{name}.npy", part)
    files = [ArrayFile.of(tmp_path / f"{name}.npy") for name in "ab"]
    rows = StoredRows.joined([StoredRows(files), stored(whole[8:])[:]])
    assert (rows.shape, rows.dtype, len(rows)) == (whole.shape, whole.dtype, 23)
    np.testing.assert_array_equal(np.asarray(rows), whole)
    some = rows[np.arange(23) % 3 > 0][::-1]
    expected = whole[np.arange(23) % 3 > 0][::-1]
    np.testing.assert_array_equal(in_memory(some), expected)
    np.testing.assert_array_equal(in_memory(StoredRows(files[:1])), whole[:7])
    begins, blocks = zip(*row_blocks(some), strict=True)
    assert len(blocks) > 2 and begins[1] == len(blocks[0])
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    placed = some.on_device()
    assert placed.dtype == dtype
    np.testing.assert_array_equal(np.asarray(placed), expected)
    wide = some.astype(np.float32).on_device()
    np.testing.assert_array_equal(np.asarray(wide), expected.astype(np.float32))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells peaks so")
def test_a_store_comes_to_the_device_without_a_copy_of_it_on_the_host(tmp_path):
    """Three quarters of it, in float16: one side of these in float32 would be as much again."""
    rows, *_ = draw_rows(PAIRS, 1)
    rng = np.random.default_rng(0)
    sides = [rng.integers(-9, 9, (PAIRS, COLUMNS), np.int8).astype(np.float16) for _ in range(2)]
    stores = [
        write_stores(tmp_path / f"{count}", rows[:count], *(side[:count] for side in sides), **kind)
        for count, kind in ((600, {}), (PAIRS, {"shard_rows": 1024}))
    ]
    # A copy is there every time; what the machine takes back of a process meanwhile is not.
    for _ in range(3):
        ran = subprocess.run(
            [sys.executable, "-c", READ, *map(str, stores)],
            capture_output=True,
            text=True,
            check=True,
        )
        grown, dtype, pairs = json.loads(ran.stdout.splitlines()[-1])
        assert (dtype, pairs) == ("float16", PAIRS)
        if 0.7 * STORE_BYTES < grown < 1.1 * STORE_BYTES:
            return
    pytest.fail(f"the peak grew by {grown / STORE_BYTES:.2f} of the store")


def test_rows_are_filled_up_and_split_over_devices_without_being_read_as_a_whole(whole):
    rows = stored(whole.astype(np.float16))
    weight = np.array([0, *range(1, 23)], np.float32)
    columns = {"chosen": rows, "rejected": rows[::-1], "weight": weight, "margin": None}
    filled = filled_columns(columns, 23, 26)
    assert isinstance(filled["chosen"], StoredRows)
    for name, first in (("chosen", whole[1]), ("rejected", whole[-2])):  # the first with weight
        np.testing.assert_array_equal(np.asarray(filled[name])[:23], np.asarray(columns[name]))
        np.testing.assert_array_equal(np.asarray(filled[name])[23:], [first.astype(np.float16)] * 3)
    features = PreferenceFeatures(rows, rows[::-1], weight)
    found, kept = split_rows(features, None), PreferenceFeatures(*map(np.asarray, features[:3]))
    expected = split_rows(kept, None)
    assert found.features.chosen.sharding == expected.features.chosen.sharding
    for one, other in zip(found.features[:3], expected.features[:3], strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
