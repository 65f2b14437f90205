"""Stores and .npz files: what is verified, and how each fault is named."""

import errno
import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from coala_jax import _lock as lock_module
from coala_jax.features import FeatureError, FeatureIdentity, load_features, open_store
from coala_jax.features import _shard as shard_module
from coala_jax.features._shard import RowRecord, Shard
from coala_jax.features._store import write_store

IDENTITY = FeatureIdentity(*(f"{name} of it" for name in FeatureIdentity._fields))
CHOSEN = np.arange(12, dtype=np.float32).reshape(4, 3)


def _shard(number, recorded_budget=None):
    part = slice(2 * number, 2 * number + 2)
    records = [
        RowRecord(f"row-{i}", f"hash-{i}", weight=0.5 + i) for i in (2 * number, 2 * number + 1)
    ]
    tokens = {"given": 9, "distinct": 7, "run": 8}
    return Shard(
        CHOSEN[part],
        -CHOSEN[part],
        records,
        {"prompt": 1, "response": 0},
        tokens,
        6,
        [(1, 8, 2)],
        64,
    )


@pytest.fixture
def store(tmp_path):
    settings = {"identity": IDENTITY._asdict(), "rows": 4}
    return write_store(tmp_path / "deep" / "store", settings, _shard, 2)


def _npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_a_store_gives_back_what_was_written(store):
    table = load_features(store.path)
    np.testing.assert_array_equal(table.chosen, CHOSEN)
    np.testing.assert_array_equal(table.rejected, -CHOSEN)
    assert table.ids == ("row-0", "row-1", "row-2", "row-3")
    assert table.weight.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert table.margin is None and table.groups is None
    assert table.identity == IDENTITY
    assert store.manifest["cut"] == {"prompt": 2, "response": 0}
    assert store.manifest["tokens"] == {"given": 18, "distinct": 14, "run": 16}
    assert store.manifest["shapes"] == 1


@pytest.mark.parametrize("killed_at", [0, 1])
def test_a_run_that_was_killed_at_any_shard_goes_on(store, tmp_path, killed_at):
    made = []

    def die(number, recorded_budget):
        if number == killed_at:
            raise KeyboardInterrupt
        return _shard(number)

    def go_on(number, recorded_budget):
        made.append(number)
        return _shard(number)

    settings = {"identity": IDENTITY._asdict(), "rows": 4}
    (tmp_path / "again.partial").mkdir()
    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "again", settings, die, 2)
    again = write_store(tmp_path / "again", settings, go_on, 2)
    assert made == list(range(killed_at, 2))
    for path in store.path.iterdir():
        assert (again.path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("failed_at", [0, 1])
def test_a_shard_that_cannot_be_made_keeps_the_finished_ones_alone(tmp_path, failed_at):
    def fail(number, recorded_budget):
        if number == failed_at:
            raise FeatureError("not finite")
        return _shard(number)

    settings = {"identity": IDENTITY._asdict(), "rows": 4}
    with pytest.raises(FeatureError, match="not finite"):
        write_store(tmp_path / "store", settings, fail, 2)
    shards = {path.name[:11] for path in tmp_path.glob("store.partial/shard-*")}
    assert shards == ({"shard-00000"} if failed_at else set())
    assert (tmp_path / "store.partial").exists() == bool(failed_at)
    assert len(write_store(tmp_path / "store", settings, _shard, 2).table.ids) == 4


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "store").mkdir()
    settings = {"identity": IDENTITY._asdict(), "rows": 4}
    assert len(write_store(tmp_path / "store", settings, _shard, 2).table.ids) == 4


@pytest.mark.parametrize("name", ["chosen.npy", "rejected.npy", "rows.jsonl"])
def test_a_damaged_or_missing_shard_is_named(store, name):
    file = store.path / f"shard-00001-{name}"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(FeatureError, match=f"shard-00001-{name} is damaged"):
        open_store(store.path)
    file.unlink()
    with pytest.raises(FeatureError, match=f"shard-00001-{name} is missing"):
        load_features(store.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not the manifest of a feature store"),
        ({"format_version": 99}, "format version 99, this package reads 2"),
        ({"shards": []}, "no shards in it"),
        ({"rows": 5}, "4 rows in its shards, 5 in manifest.json"),
        ({"identity": {"backbone": "x"}}, "feature identity: no text for model_type"),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(store, change, message):
    file = store.path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(FeatureError, match=message):
        open_store(store.path)


def test_a_broken_or_missing_manifest_is_refused(store):
    (store.path / "manifest.json").write_text("{")
    with pytest.raises(FeatureError, match="cannot be read as JSON"):
        open_store(store.path)
    (store.path / "manifest.json").unlink()
    with pytest.raises(FeatureError, match="not a feature store"):
        open_store(store.path)


def test_an_npz_with_two_arrays_is_enough(tmp_path):
    table = load_features(_npz(tmp_path / "f.npz", chosen=CHOSEN, rejected=-CHOSEN))
    np.testing.assert_array_equal(table.rejected, -CHOSEN)
    assert table.ids == ("0", "1", "2", "3")
    assert table[3:] == (None,) * 7


def test_the_columns_of_an_npz_are_read_and_others_ignored(tmp_path):
    path = _npz(
        tmp_path / "f.npz",
        chosen=CHOSEN.astype(np.float16),
        rejected=-CHOSEN.astype(np.float16),
        id=np.array(list("abcd")),
        group=np.array([1, 1, 2, 2]),
        prompt_sha256=np.array(list("wxyz")),
        weight=np.array([1, 2, 3, 4]),
        margin=np.zeros(4),
        source=np.array(["here"] * 4),
    )
    table = load_features(path)
    assert table.chosen.dtype == np.float16
    assert table.ids == ("a", "b", "c", "d") and table.groups == ("1", "1", "2", "2")
    assert table.prompt_hashes == ("w", "x", "y", "z")
    assert table.weight.tolist() == [1, 2, 3, 4] and table.margin.dtype == np.float32


NAN = np.where(CHOSEN == 7, np.nan, CHOSEN)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"chosen": CHOSEN}, "no array named 'rejected'"),
        (
            {"chosen": CHOSEN, "rejected": CHOSEN[:3]},
            r"chosen has shape \(4, 3\), rejected \(3, 3\); save both with one row a pair",
        ),
        (
            {"chosen": CHOSEN.astype(int), "rejected": CHOSEN},
            r"chosen has type int64, .*\.astype\('float32'\)",
        ),
        ({"chosen": CHOSEN[0], "rejected": CHOSEN}, r"chosen has shape \(3,\), expected \(n, d\)"),
        ({"chosen": CHOSEN[:0], "rejected": CHOSEN[:0]}, "chosen holds no pairs"),
        ({"chosen": CHOSEN[:, :0], "rejected": CHOSEN}, r"chosen has shape \(4, 0\)"),
        ({"chosen": CHOSEN, "rejected": NAN}, "rejected holds NaN or infinity in 1 rows.* row 2"),
        (
            {"chosen": CHOSEN.astype(object), "rejected": CHOSEN},
            r"chosen is a pickled array .* refused; save a plain float array: \.astype",
        ),
        (
            {"chosen": CHOSEN, "rejected": -CHOSEN, "id": np.array(list("abcd"), object)},
            r"id is a pickled array .* refused; save a plain text array: \.astype\('str'\)",
        ),
        ({"chosen": CHOSEN, "rejected": -CHOSEN, "weight": np.ones(3)}, r"weight has shape \(3,\)"),
        ({"chosen": CHOSEN, "rejected": -CHOSEN, "id": np.ones((4, 1))}, r"id has shape \(4, 1\)"),
        ({"chosen": CHOSEN, "rejected": -CHOSEN, "weight": -np.ones(4)}, "must not be negative"),
        ({"chosen": CHOSEN, "rejected": -CHOSEN, "margin": np.full(4, np.inf)}, "finite numbers"),
        (
            {"chosen": CHOSEN, "rejected": -CHOSEN, "margin": np.array(list("abcd"))},
            "finite numbers",
        ),
    ],
)
def test_an_npz_that_cannot_be_used_is_one_clear_error(tmp_path, arrays, message):
    path = _npz(tmp_path / "f.npz", **arrays)
    with pytest.raises(FeatureError, match=message) as caught:
        load_features(path)
    assert str(path) in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


def _npy_bytes():
    file = io.BytesIO()
    np.save(file, CHOSEN)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"text", b"", pickle.dumps([1.0]), _npy_bytes()],
    ids=["text", "empty", "pickle", "npy"],
)
def test_a_file_that_is_npz_by_name_alone_is_told_how_to_become_one(tmp_path, content):
    (tmp_path / "f.npz").write_bytes(content)
    with pytest.raises(FeatureError, match=r"not an \.npz file") as caught:
        load_features(tmp_path / "f.npz")
    assert "np.savez(path, chosen=..., rejected=...)" in str(caught.value)
    assert "pickle" not in str(caught.value)


@pytest.mark.parametrize("place", [200, -1])
def test_a_damaged_npz_is_refused(tmp_path, place):
    np.savez_compressed(tmp_path / "f.npz", chosen=CHOSEN, rejected=-CHOSEN)
    content = (tmp_path / "f.npz").read_bytes()
    (tmp_path / "f.npz").write_bytes(content[:60] + b"?" * 40 + content[100:place])
    with pytest.raises(FeatureError, match=r"f\.npz: .*cannot be read .* again"):
        load_features(tmp_path / "f.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [(_npy_bytes()[:-4], "chosen cannot be read"), (b"1,2", r"chosen has shape \(\)")],
    ids=["cut", "text"],
)
def test_a_damaged_array_in_a_whole_npz_is_refused(tmp_path, content, message):
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("chosen.npy", content)
        archive.writestr("rejected.npy", _npy_bytes())
    with pytest.raises(FeatureError, match=rf"f\.npz: {message}"):
        load_features(tmp_path / "f.npz")


def test_a_missing_file_and_another_suffix_are_refused(tmp_path):
    with pytest.raises(FeatureError, match="no such file or folder"):
        load_features(tmp_path / "none.npz")
    (tmp_path / "f.csv").write_text("1,2")
    with pytest.raises(FeatureError, match=r"neither a feature store \(a folder\) nor an .npz"):
        load_features(tmp_path / "f.csv")


def test_reading_features_needs_neither_flax_nor_transformers():
    check = (
        "import sys, coala_jax.features, coala_jax.data; "
        "print({'flax', 'transformers', 'torch', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


SETTINGS = {"identity": IDENTITY._asdict(), "rows": 4}


def _bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _made_again(made):
    def make(number, recorded_budget):
        made.append((number, recorded_budget))
        return _shard(number)

    return make


@pytest.mark.parametrize("name", ["store", "store.partial"])
@pytest.mark.parametrize("fault", ["flipped", "cut", "gone"])
def test_a_damaged_shard_alone_is_made_again_and_said(store, tmp_path, name, fault):
    shutil.copytree(store.path, tmp_path / name)
    file = tmp_path / name / "shard-00000-rejected.npy"
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    if fault == "gone":
        file.unlink()
    else:
        file.write_bytes(content if fault == "flipped" else content[:-9])
    kept = tmp_path / name / "shard-00001-chosen.npy"
    before = kept.stat().st_mtime_ns
    made, lines = [], []
    again = write_store(tmp_path / "store", SETTINGS, _made_again(made), 2, lines.append)
    assert made == [(0, 64)]
    why = "is missing" if fault == "gone" else "is damaged, its checksum differs"
    assert again.repaired == (f"shard-00000-rejected.npy {why}",)
    assert lines == [f"{tmp_path / name}: shard-00000-rejected.npy {why}; that shard is made again"]
    assert _bytes(again.path) == _bytes(store.path)
    assert (again.path / kept.name).stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir() if path.name != "deep"] == ["store"]


def test_a_shard_that_comes_out_otherwise_is_recorded_and_said(store):
    (store.path / "shard-00001-rows.jsonl").unlink()

    def other_device(number, recorded_budget):
        return _shard(number)._replace(chosen=CHOSEN[2:] * 1.0001)

    again = write_store(store.path, SETTINGS, other_device, 2)
    assert "is missing; made again with other bytes: the device" in again.repaired[0]
    np.testing.assert_array_equal(open_store(store.path).table.chosen[:2], CHOSEN[:2])
    assert write_store(store.path, SETTINGS, None, 2).repaired == ()


def test_a_finished_store_that_lacks_shards_is_completed(store):
    manifest = json.loads((store.path / "manifest.json").read_text())
    whole = _bytes(store.path)
    manifest["shards"] = manifest["shards"][:1]
    (store.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(FeatureError, match="2 rows in its shards, 4 in .*run the same extraction"):
        open_store(store.path)
    made = []
    write_store(store.path, SETTINGS, _made_again(made), 2)
    assert made == [(1, 64)] and _bytes(store.path) == whole


def test_a_repair_that_fails_keeps_what_is_whole(store):
    (store.path / "shard-00000-rows.jsonl").write_bytes(b"damaged")
    before = _bytes(store.path)

    def fail(number, recorded_budget):
        raise FeatureError("not finite")

    with pytest.raises(FeatureError, match="not finite"):
        write_store(store.path, SETTINGS, fail, 2)
    assert _bytes(store.path) == before


def _full_after(monkeypatch, arrays, number=errno.ENOSPC):
    """A disk that takes so many arrays more."""
    save = shard_module.save_array
    left = [arrays]

    def limited(file, array):
        left[0] -= 1
        if left[0] < 0:
            file.write(b"half")
            raise OSError(number, os.strerror(number))
        save(file, array)

    monkeypatch.setattr(shard_module, "save_array", limited)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_the_run_goes_on_later(store, tmp_path, monkeypatch, number):
    out = tmp_path / "store"
    with monkeypatch.context() as full:
        _full_after(full, 3, number)
        with pytest.raises(FeatureError, match="1 of 2 shards are finished and kept") as error:
            write_store(out, SETTINGS, _shard, 2)
    assert f"{out}.partial: {os.strerror(number)} (the disk at /" in str(error.value)
    assert "free some space and run the same command again" in str(error.value)
    assert {path.name for path in tmp_path.glob("store.partial/*")} == {
        "manifest.json",
        *(f"shard-00000-{part}" for part in ("chosen.npy", "rejected.npy", "rows.jsonl")),
    }
    made = []
    write_store(out, SETTINGS, _made_again(made), 2)
    assert made == [(1, 64)] and _bytes(out) == _bytes(store.path)


def test_a_full_disk_before_the_first_shard_leaves_nothing(tmp_path, monkeypatch):
    _full_after(monkeypatch, 1)
    with pytest.raises(FeatureError, match="0 of 2 shards"):
        write_store(tmp_path / "store", SETTINGS, _shard, 2)
    assert list(tmp_path.iterdir()) == []


def test_another_error_of_the_disk_passes(tmp_path, monkeypatch):
    _full_after(monkeypatch, 1, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write_store(tmp_path / "store", SETTINGS, _shard, 2)


def test_a_full_disk_while_repairing_keeps_what_is_whole(store, monkeypatch):
    whole = _bytes(store.path)
    (store.path / "shard-00000-rejected.npy").write_bytes(b"damaged")
    before = _bytes(store.path)
    with monkeypatch.context() as full:
        _full_after(full, 1)
        with pytest.raises(FeatureError, match="1 of 2 shards are finished and kept"):
            write_store(store.path, SETTINGS, _shard, 2)
    assert _bytes(store.path) == before
    write_store(store.path, SETTINGS, _shard, 2)
    assert _bytes(store.path) == whole


def test_the_second_writer_is_told_who_the_first_is(tmp_path):
    out = tmp_path / "store"
    told = []

    def meet(number, recorded_budget):
        with pytest.raises(FeatureError) as error:
            write_store(out, SETTINGS, None, 2)
        told.append(str(error.value))
        return _shard(number)

    write_store(out, SETTINGS, meet, 2)
    holder = f"process {os.getpid()} on host {socket.gethostname()}"
    assert told[0].startswith(f"{out}: {holder} is writing it; wait until that has ended")
    assert len(told) == 2 and [path.name for path in tmp_path.iterdir()] == ["store"]


def test_the_lock_of_another_process_is_named_and_ends_with_it(tmp_path):
    out = tmp_path / "store"
    code = (
        "import sys, time; from pathlib import Path; "
        "from coala_jax._lock import only_writer\n"
        "with only_writer(Path(sys.argv[1]), print, ValueError):\n"
        " print('held', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(out)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(FeatureError, match=f"process {holder.pid} on host"):
            write_store(out, SETTINGS, _shard, 2)
        holder.kill()
    assert (tmp_path / "store.lock").exists()
    write_store(out, SETTINGS, _shard, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_what_a_dead_process_left_is_cleared(store):
    lock = store.path.with_name("store.lock")
    lock.write_text("not json")
    (store.path / "shard-00000-rows.jsonl.partial").write_text("half")
    whole = _bytes(store.path)
    del whole["shard-00000-rows.jsonl.partial"]
    write_store(store.path, SETTINGS, None, 2)
    assert _bytes(store.path) == whole and not lock.exists()
    lock.write_text("not json")
    write_store(store.path, SETTINGS, None, 2)
    assert not lock.exists()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def unsupported(descriptor):
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(lock_module, "_lock", unsupported)
    lines = []
    write_store(tmp_path / "store", SETTINGS, _shard, 2, lines.append)
    assert len(lines) == 1 and "cannot be locked (no locks here)" in lines[0]


def test_a_run_that_died_before_its_first_manifest_goes_on(tmp_path):
    (tmp_path / "store.partial").mkdir()
    (tmp_path / "store.partial" / "manifest.json.partial").write_text("{")
    store = write_store(tmp_path / "store", SETTINGS, _shard, 2)
    assert not list(store.path.glob("*.partial"))


def test_a_store_of_rows_knows_their_lengths_and_one_of_before_does_not(tmp_path):
    records = [RowRecord("a", "h", chosen_chars=5, rejected_chars=7), RowRecord("b", "h")]
    shards = iter([records, [records[0]._replace(id="c"), records[0]._replace(id="d")]])
    counts = {"prompt": 0, "response": 0}, {"given": 9, "distinct": 7, "run": 8}

    def make(number, recorded_budget):
        part = slice(2 * number, 2 * number + 2)
        return Shard(CHOSEN[part], -CHOSEN[part], next(shards), *counts, 10, [(1, 8, 2)], 64)

    settings = {"identity": IDENTITY._asdict(), "rows": 4}
    assert write_store(tmp_path / "mixed", settings, make, 2).table.lengths is None
    lines = (tmp_path / "mixed" / "shard-00001-rows.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["chosen_chars"] == 5
    shards = iter(
        [[record._replace(chosen_chars=i, rejected_chars=0) for i, record in enumerate(records)]]
        * 2
    )
    known = write_store(tmp_path / "known", settings, make, 2).table.lengths
    assert known.tolist() == [[0, 0], [1, 0]] * 2
