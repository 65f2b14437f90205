"""Stores and .npz files: what is verified, and how each fault is named."""

import io
import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from coala_jax.features import FeatureError, FeatureIdentity, load_features, open_store
from coala_jax.features.store import RowRecord, Shard, write_store

IDENTITY = FeatureIdentity(*(f"{name} of it" for name in FeatureIdentity._fields))
CHOSEN = np.arange(12, dtype=np.float32).reshape(4, 3)


def _shard(number, before=None):
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

    def die(number, before):
        if number == killed_at:
            raise KeyboardInterrupt
        return _shard(number)

    def go_on(number, before):
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
    def fail(number, before):
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
    assert table[3:] == (None,) * 5


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
