"""Which rows each of several processes reads: of stores, parts, Parquet and single files."""

import itertools
import shutil

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coala_jax._stored_rows import ArrayFile
from coala_jax.data._split import text_sha256
from coala_jax.features import FeatureError, Part, load_features, write_npz
from coala_jax.features._export import write_dataset_folder
from coala_jax.features._join import join_parts, part_path
from coala_jax.features._own_rows import own_rows, parts_here
from coala_jax.features._store import open_store
from tests.parquet_files import lists_of, write_parquet
from tests.stores import SHARD_ROWS, draw_group_rows, draw_rows, write_stores

ROWS, WIDTH = 3 * SHARD_ROWS + 5, 3


def shares(path, processes, **options):
    return [own_rows(path, Part(number, processes), **options) for number in range(processes)]


def require_all_rows(found, whole):
    """Every row once, in order, as many to each as can be, with all of its columns."""
    ids = [own.table.ids for own in found]
    assert tuple(itertools.chain(*ids)) == whole.ids
    assert max(map(len, ids)) - min(map(len, ids)) <= 1
    for name in ("chosen", "rejected", "margin", "lengths"):
        column = getattr(whole, name)
        if column is not None:
            parts = [getattr(own.table, name) for own in found]
            np.testing.assert_array_equal(np.concatenate(parts), column)
    if whole.prompt_hashes is not None:
        hashes = (own.table.prompt_hashes for own in found)
        assert tuple(itertools.chain(*hashes)) == whole.prompt_hashes


@pytest.mark.parametrize("processes", [1, 2, 4, 5])
@pytest.mark.parametrize("parts", [0, 2, 3])
def test_the_rows_of_a_store_or_of_its_parts_are_dealt_out_in_order(tmp_path, processes, parts):
    whole = open_store(write_stores(tmp_path / "whole", *draw_rows(ROWS, WIDTH)))
    store = write_stores(tmp_path / "here", *draw_rows(ROWS, WIDTH), parts=parts)
    found = shares(store, processes)
    require_all_rows(found, whole.table)
    assert all(own.refused == {"empty": 3} for own in found)
    assert sum(own.cut["response"] for own in found) == whole.manifest["cut"]["response"]
    assert all(own.table.identity == whole.table.identity for own in found)


def test_parts_as_they_are_are_what_joining_them_makes(tmp_path):
    store = write_stores(tmp_path, *draw_rows(ROWS, WIDTH), parts=3)
    parts = [part_path(store, Part(number, 3)) for number in range(3)]
    joined = join_parts(parts, tmp_path / "joined")
    require_all_rows(shares(store, 1), joined.table)


def test_a_process_that_sees_its_own_part_alone_reads_that(tmp_path):
    rows, *features = draw_rows(ROWS, WIDTH)
    store = write_stores(tmp_path, rows, *features, parts=2)
    shutil.rmtree(part_path(store, Part(0, 2)))
    assert parts_here(store) is None
    own = own_rows(store, Part(1, 2), all_here=False)
    expected = [row.id for row in rows[SHARD_ROWS : 2 * SHARD_ROWS]]
    assert own.table.ids == (*expected, *(row.id for row in rows[3 * SHARD_ROWS :]))
    with pytest.raises(FeatureError, match=r"process 0 of 2 sees store.part-1-of-2, and neither"):
        own_rows(store, Part(0, 2), all_here=False)
    with pytest.raises(FeatureError, match=r"process 1 of 3 sees store.part-1-of-2, and neither"):
        own_rows(store, Part(1, 3), all_here=False)


def test_two_complete_sets_of_parts_are_refused_by_name(tmp_path):
    rows = draw_rows(ROWS, WIDTH)
    store = write_stores(tmp_path, *rows, parts=2)
    write_stores(tmp_path, *rows, parts=3)
    shutil.rmtree(part_path(store, Part(2, 3)))
    assert parts_here(store) == 2
    write_stores(tmp_path, *rows, parts=4)
    message = r"here 2 times, those of store.part-0-of-2 and store.part-0-of-4: which"
    for find in (parts_here, lambda path: own_rows(path, Part(0, 2))):
        with pytest.raises(FeatureError, match=message):
            find(store)
    write_stores(tmp_path, *rows)  # joined
    assert parts_here(store) == 2
    assert len(own_rows(store, Part(0, 1)).table.ids) == ROWS


def test_shards_of_others_are_not_read(tmp_path):
    store = write_stores(tmp_path, *draw_rows(4 * SHARD_ROWS, WIDTH))
    with (store / "shard-00000-chosen.npy").open("r+b") as file:
        file.truncate(100)
    assert len(own_rows(store, Part(1, 2)).table.ids) == 2 * SHARD_ROWS
    with pytest.raises(FeatureError, match=r"shard-00000-chosen.npy is damaged"):
        own_rows(store, Part(0, 2))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_store_keeps_its_dtype_and_is_not_read_before_it_is_used(tmp_path, monkeypatch, dtype):
    rows, chosen, rejected = draw_rows(ROWS, WIDTH)
    kind = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[dtype]
    store = write_stores(tmp_path, rows, chosen.astype(kind), rejected.astype(kind))
    whole, found = open_store(store).table, shares(store, 2)
    assert whole.chosen.dtype.name == load_features(store).rejected.dtype.name == dtype
    read = []
    monkeypatch.setattr(ArrayFile, "rows", lambda file, _: read.append(file.path.name))
    for own in found:
        assert own.table.chosen.dtype.name == dtype and own.table.chosen[1:3].shape == (2, WIDTH)
    assert not read
    monkeypatch.undo()
    require_all_rows(found, whole)


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_groups_of_responses_stay_whole(tmp_path, processes):
    store = write_stores(tmp_path, *draw_group_rows(25, WIDTH))
    names = [{name.split("/")[0] for name in own.table.ids} for own in shares(store, processes)]
    assert sum(map(len, names)) == len(set().union(*names)) == 25


def test_more_processes_than_rows_are_named(tmp_path):
    store = write_stores(tmp_path, *draw_rows(3, WIDTH))
    with pytest.raises(FeatureError, match=r"3 rows for 4 processes leave none to process 0"):
        own_rows(store, Part(0, 4))


def test_an_npz_and_a_saved_data_set_are_dealt_out_too(tmp_path):
    table = open_store(write_stores(tmp_path, *draw_rows(ROWS, WIDTH))).table
    for path in (
        write_npz(tmp_path / "table.npz", table),
        write_dataset_folder(tmp_path / "arrow", table),
    ):
        require_all_rows(shares(path, 3), table)


@pytest.mark.parametrize("kind", ["list", "large", "fixed", "half"])
def test_parquet_of_many_files_is_read_as_one_table(tmp_path, kind):
    rows, chosen, rejected = draw_rows(ROWS, WIDTH)
    folder = write_parquet(tmp_path / "features", rows, chosen, rejected, kind)
    table = load_features(folder)
    assert table.ids == tuple(row.id for row in rows)
    dtype = np.float16 if kind == "half" else np.float32
    np.testing.assert_array_equal(table.chosen, chosen.astype(dtype))
    np.testing.assert_array_equal(table.rejected, rejected.astype(dtype))
    np.testing.assert_allclose(table.margin, [row.margin for row in rows], rtol=1e-6)
    expected = (text_sha256(f"Prompt {row // 2}") for row in range(ROWS))
    assert table.prompt_hashes == tuple(expected)
    require_all_rows(shares(folder, 4), table)


def test_a_process_reads_its_own_row_groups_alone(tmp_path, monkeypatch):
    folder = write_parquet(tmp_path / "features", *draw_rows(ROWS, WIDTH))
    read = []

    def reading(self, number, columns=None, original=pq.ParquetFile.read_row_group):
        found = original(self, number, columns=columns)
        read.append(found.num_rows)
        return found

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", reading)
    own = own_rows(folder, Part(1, 3))
    assert len(own.table.ids) <= sum(read) <= len(own.table.ids) + 2 * 7


def test_one_parquet_file_without_ids_numbers_its_rows_throughout(tmp_path):
    _, chosen, rejected = draw_rows(10, WIDTH)
    columns = {"chosen": lists_of("list", chosen), "rejected": lists_of("list", rejected)}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet", row_group_size=4)
    assert load_features(tmp_path / "rows.parquet").ids == tuple(map(str, range(10)))
    assert own_rows(tmp_path / "rows.parquet", Part(1, 2)).table.ids == tuple("56789")


def parquet_of(folder, **columns):
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"{len(list(folder.iterdir()))}.parquet")
    return folder


def test_parquet_that_cannot_be_used_is_named(tmp_path):
    fine = lists_of("list", np.ones((2, 3), np.float32))
    cases = {
        "no column named 'rejected'": [{"chosen": fine}],
        "chosen is null in 1 rows": [
            {"chosen": pa.array([[1.0], None]), "rejected": pa.array([[1.0], [1.0]])}
        ],
        "chosen holds lists of 1 to 2 numbers": [
            {"chosen": pa.array([[1.0], [1.0, 2.0]]), "rejected": fine}
        ],
        "its columns are chosen, rejected, weight, those of": [
            {"chosen": fine, "rejected": fine},
            {"chosen": fine, "rejected": fine, "weight": pa.array([1.0, 1.0])},
        ],
        "lists of 2 to 3 numbers": [
            {"chosen": fine, "rejected": fine},
            dict.fromkeys(("chosen", "rejected"), lists_of("list", np.ones((2, 2), np.float32))),
        ],
        "holds no pairs": [{"chosen": fine[:0], "rejected": fine[:0]}],
    }
    for number, (message, files) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        for columns in files:
            parquet_of(folder, **columns)
        with pytest.raises(FeatureError, match=message):
            load_features(folder)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(FeatureError, match=r"broken.parquet: cannot be read as Parquet"):
        load_features(tmp_path / "broken.parquet")
    with pytest.raises(FeatureError, match="no such file"):
        load_features(tmp_path / "missing.parquet")


def test_prompts_of_parquet_are_hashed_as_they_are(tmp_path):
    prompts = ["short", "ends in NUL\0", "x" * 5000, ""]
    features = lists_of("list", np.ones((4, 3), np.float32))
    given = [pa.array(prompts, kind) for kind in (pa.string(), pa.large_string())]
    for texts in (*given, given[0].dictionary_encode()):
        columns = {"chosen": features, "rejected": features, "prompt": texts}
        pq.write_table(pa.table(columns), tmp_path / "rows.parquet", row_group_size=3)
        found = load_features(tmp_path / "rows.parquet").prompt_hashes
        assert found == tuple(map(text_sha256, prompts))
        assert found[1] != text_sha256("ends in NUL")


def test_a_prompt_of_messages_is_refused_by_its_type(tmp_path):
    features = lists_of("list", np.ones((2, 3), np.float32))
    messages = pa.array([[{"role": "user", "content": "Why?"}]] * 2)
    parquet_of(tmp_path / "chat", chosen=features, rejected=features, prompt=messages)
    with pytest.raises(FeatureError, match=r"prompt holds list<.*must hold texts; write a conv"):
        load_features(tmp_path / "chat")


def test_parquet_in_subfolders_is_named(tmp_path):
    fine = lists_of("list", np.ones((2, 3), np.float32))
    (tmp_path / "spark" / "g=1").mkdir(parents=True)
    parquet_of(tmp_path / "spark" / "g=1", chosen=fine, rejected=fine)
    for read in (load_features, lambda path: own_rows(path, Part(0, 2))):
        with pytest.raises(FeatureError, match=r"lies in subfolders such as g=1: write it without"):
            read(tmp_path / "spark")
