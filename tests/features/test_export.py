"""Features to .npz and Arrow and back: the same table."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax.cli._main import main
from coala_jax.features import (
    FeatureError,
    FeatureIdentity,
    FeatureTable,
    from_dataset,
    load_features,
    to_dataset,
    write_npz,
)
from coala_jax.features._export import write_dataset_folder
from coala_jax.features._shard import RowRecord, Shard
from coala_jax.features._store import write_store

IDENTITY = FeatureIdentity(*(f"{name} of it: é" for name in FeatureIdentity._fields))
CHOSEN = np.arange(12, dtype=np.float32).reshape(4, 3) / 7


@pytest.fixture(params=["float32", "float16", "bfloat16", "float64", "bare"])
def table(request):
    if request.param == "bare":
        return FeatureTable(CHOSEN, -CHOSEN, ids=("0", "1", "2", "3"))
    chosen = CHOSEN.astype(jnp.dtype(request.param))
    return FeatureTable(
        chosen,
        -chosen,
        ids=("a", "b", "å", "a long name"),
        prompt_hashes=("w", "x", "y", "z"),
        margin=np.array([0, 1, 2, 3], np.float32),
        weight=np.array([1, 0.5, 2, 1], np.float32),
        groups=("g", "g", "h", "h"),
        lengths=np.array([[3, 4], [5, 1], [12345, 0], [2, 2]], np.int64),
        identity=IDENTITY,
    )


@pytest.fixture
def store(tmp_path):
    def make(number, recorded_budget):
        part = slice(2 * number, 2 * number + 2)
        records = [
            RowRecord(f"row-{i}", f"hash-{i}", margin=i, chosen_chars=i, rejected_chars=9)
            for i in range(4)[part]
        ]
        counts = {"prompt": 0, "response": 0}, {"given": 9, "distinct": 7, "run": 8}
        return Shard(CHOSEN[part], -CHOSEN[part], records, *counts, 10, [(1, 8, 2)], 64)

    settings = {"identity": IDENTITY._asdict(), "rows": 4}
    return write_store(tmp_path / "store", settings, make, 2)


def _same(left, right):
    assert left._fields == right._fields
    for name, one, other in zip(left._fields, left, right, strict=True):
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, err_msg=name)
        else:
            assert one == other, name


def _in_arrow(table):
    """The table as Arrow can hold it, which has no bfloat16."""
    if table.chosen.dtype != jnp.bfloat16:
        return table
    chosen, rejected = (np.float32(side) for side in (table.chosen, table.rejected))
    return table._replace(chosen=chosen, rejected=rejected)


def test_an_npz_gives_back_the_table(table, tmp_path):
    path = write_npz(tmp_path / "deep" / "f.npz", table)
    _same(load_features(path), table)
    assert [file.name for file in path.parent.iterdir()] == ["f.npz"]


def test_an_npz_without_identity_is_read_as_before(tmp_path):
    np.savez(tmp_path / "f.npz", chosen=CHOSEN, rejected=-CHOSEN)
    assert load_features(tmp_path / "f.npz").identity is None


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ("text", "identity is not a JSON object"),
        ("[1]", "identity is not a JSON object"),
        ('{"backbone": "b"}', "no text for model_type"),
    ],
)
def test_an_identity_that_is_none_is_refused(tmp_path, identity, message):
    np.savez(tmp_path / "f.npz", chosen=CHOSEN, rejected=-CHOSEN, identity=identity)
    with pytest.raises(FeatureError, match=f"f.npz: .*{message}"):
        load_features(tmp_path / "f.npz")


def test_an_npz_of_another_name_is_refused(table, tmp_path):
    with pytest.raises(FeatureError, match=r"must end in \.npz"):
        write_npz(tmp_path / "f.bin", table)


def test_a_dataset_gives_back_the_table(table):
    pytest.importorskip("datasets")
    dataset, kept = to_dataset(table), _in_arrow(table)
    assert dataset.features["chosen"].feature.dtype == str(kept.chosen.dtype)
    _same(from_dataset(dataset), kept)


def test_a_dataset_takes_the_memory_of_the_table(table):
    pytest.importorskip("datasets")
    values = to_dataset(table).data.column("chosen").chunk(0).flatten().to_numpy()
    assert np.shares_memory(values, table.chosen) == (table.chosen.dtype != jnp.bfloat16)


def test_a_dataset_on_disk_is_features_to_load(table, tmp_path, capsys):
    datasets = pytest.importorskip("datasets")
    path = write_dataset_folder(tmp_path / "deep" / "arrow", table)
    _same(load_features(path), _in_arrow(table))
    assert datasets.load_from_disk(str(path)).num_rows == 4
    assert [folder.name for folder in path.parent.iterdir()] == ["arrow"]
    assert capsys.readouterr() == ("", "")
    with pytest.raises(FeatureError, match="in the way"):
        write_dataset_folder(path, table)


def test_rows_of_a_dataset_may_be_selected_shuffled_and_joined(table):
    datasets = pytest.importorskip("datasets")
    dataset = to_dataset(table)
    picked = from_dataset(dataset.select([3, 1]))
    np.testing.assert_array_equal(picked.chosen, table.chosen[[3, 1]])
    assert picked.ids == (table.ids[3], table.ids[1])
    assert picked.identity == table.identity
    twice = from_dataset(datasets.concatenate_datasets([dataset, dataset.select([0])]))
    np.testing.assert_array_equal(twice.rejected, -table.chosen[[0, 1, 2, 3, 0]])
    assert twice.identity == table.identity


def test_a_dataset_of_somebody_else_is_read_by_its_columns():
    datasets = pytest.importorskip("datasets")
    columns = {"chosen": CHOSEN.tolist(), "rejected": (-CHOSEN).tolist(), "group": [1, 1, 2, 2]}
    table = from_dataset(datasets.Dataset.from_dict({**columns, "other": list("abcd")}))
    np.testing.assert_allclose(table.chosen, CHOSEN, rtol=1e-7)
    assert table.groups == ("1", "1", "2", "2") and table.identity is None
    assert table.ids == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"chosen": [[1.0]]}, "no array named 'rejected'"),
        ({"chosen": [[1.0], [1.0, 2.0]], "rejected": [[1.0], [2.0]]}, "lists of 1 to 2 numbers"),
        ({"chosen": [[1.0], None], "rejected": [[1.0], [2.0]]}, "chosen is null in 1 rows"),
        ({"chosen": [[1.0], [None]], "rejected": [[1.0], [2.0]]}, "NaN or infinity in 1 rows"),
        ({"chosen": [1.0, 2.0], "rejected": [[1.0], [2.0]]}, r"chosen has shape \(2,\)"),
        ({"chosen": [[1], [2]], "rejected": [[1.0], [2.0]]}, "chosen has type int64"),
        ({"chosen": [], "rejected": []}, "chosen holds no pairs"),
    ],
)
def test_a_dataset_that_cannot_be_used_is_one_clear_error(columns, message):
    datasets = pytest.importorskip("datasets")
    with pytest.raises(FeatureError, match=f"dataset: .*{message}"):
        from_dataset(datasets.Dataset.from_dict(columns))


def test_several_splits_and_damaged_folders_are_refused(table, tmp_path):
    datasets = pytest.importorskip("datasets")
    with pytest.raises(FeatureError, match=r"got DatasetDict; .* dataset\['train'\]"):
        from_dataset(datasets.DatasetDict(train=to_dataset(table)))
    path = write_dataset_folder(tmp_path / "arrow", table)
    (file,) = path.glob("*.arrow")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(FeatureError, match="arrow: cannot be read as a data set"):
        load_features(path)


def test_without_datasets_the_extra_is_named(tmp_path, monkeypatch, capsys, store):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FeatureError, match=r"pip install '\.\[data\]' in the folder"):
        to_dataset(store.table)
    assert main(["export", str(store.path), "--out", str(tmp_path / "arrow")]) == 2
    assert "pip install '.[data]' in the folder" in capsys.readouterr().err
    assert not (tmp_path / "arrow").exists()


@pytest.mark.parametrize("name", ["f.npz", "arrow"])
def test_the_command_exports_what_solve_reads(store, tmp_path, capsys, name):
    if name == "arrow":
        pytest.importorskip("datasets")
    out = tmp_path / "out" / name
    assert main(["export", str(store.path), "--out", str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["format"] == ("npz" if name == "f.npz" else "datasets")
    assert result["pairs"]["total"] == 4 and result["identity"] == IDENTITY._asdict()
    _same(load_features(out), store.table)
    assert main(["export", str(out), "--out", str(tmp_path / "again.npz")]) == 0
    _same(load_features(tmp_path / "again.npz"), store.table)


def test_the_command_refuses_what_it_cannot_write(store, tmp_path, capsys):
    out = tmp_path / "f.bin"
    assert main(["export", str(store.path), "--out", str(out), "--format", "npz"]) == 2
    assert "must end in .npz" in capsys.readouterr().err
    out.write_text("mine")
    assert main(["export", str(store.path), "--out", str(out)]) == 2
    assert "a file is in the way" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_exporting_an_npz_needs_no_datasets(store, tmp_path):
    code = (
        "import sys; from coala_jax.cli._main import main; "
        f"main(['export', {str(store.path)!r}, '--out', {str(tmp_path / 'f.npz')!r}]); "
        "print({'flax', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
