"""Folders: which files are of one split, what is missing, how rows are told apart."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from coala_jax.data import (
    DataError,
    RowOptions,
    SourceOptions,
    open_source,
    read_conversations,
    read_rows,
)
from coala_jax.data._prompts import read_prompts
from coala_jax.data._sources._folder import files_of_folder


def row(name):
    return {"prompt": f"Why {name}?", "chosen": f"So {name}.", "rejected": f"No {name}."}


def fill(folder, *names):
    """Files with one row each, which says the file's name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(row(name)) + "\n"
        path.write_bytes(gzip.compress(line.encode()) if name.endswith(".gz") else line.encode())
    return folder


def read_names(folder, **options):
    """Of which files the rows are."""
    opened = open_source(folder, SourceOptions(**options))
    return [each.fields["prompt"][4:-1] for each in opened.rows], opened.notes


PREFERENCES = [
    f"data/{split}-00000-of-00001-{'0' * 16}.jsonl"
    for split in ("train_prefs", "train_sft", "train_gen", "test_prefs", "test_sft")
]


@pytest.mark.parametrize(
    "names",
    [
        PREFERENCES,
        ["train_prefs.jsonl", "train_sft.jsonl"],
        ["train-en.jsonl", "train-de.jsonl"],
        ["Train prefs.jsonl", "Train sft.jsonl", "Test prefs.jsonl"],
        ["prefs_train.jsonl", "sft_train.jsonl", "prefs_test.jsonl"],
    ],
)
def test_splits_that_begin_alike_are_different_ones(tmp_path, names):
    fill(tmp_path, *names)
    splits = sorted({name.split("/")[-1].split("-0")[0].split(".")[0] for name in names})
    trained = [name for name in splits if "train" in name.lower()]
    with pytest.raises(DataError, match=f"several, {', '.join(trained)}; give one") as caught:
        open_source(tmp_path)
    assert f"(--split {trained[0]})" in str(caught.value)
    for split in splits:
        (name,), notes = read_names(tmp_path, split=split)
        assert split in name and notes == ()


@pytest.mark.parametrize(
    "names",
    [
        ["test_prefs-00000-of-00001.jsonl", "test_sft-00000-of-00001.jsonl"],
        ["test.jsonl", "validation.jsonl"],
        ["Training.jsonl", "Testing.jsonl"],
        ["test/part.jsonl", "dev/part.jsonl"],
    ],
)
def test_without_a_train_split_several_are_asked_about(tmp_path, names):
    fill(tmp_path, *names)
    with pytest.raises(DataError, match=r"split: .* holds several, .*; give one \(--split"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["train.jsonl", "test.jsonl"], ["train.jsonl"]),
        (["Train.jsonl", "TEST.jsonl"], ["Train.jsonl"]),
        (["x_train.jsonl", "x_test.jsonl"], ["x_train.jsonl"]),
        (["train_prefs.jsonl", "test_prefs.jsonl"], ["train_prefs.jsonl"]),
        (["train-0.jsonl", "train-1.jsonl"], ["train-0.jsonl", "train-1.jsonl"]),
        (["train-part1.jsonl", "train_part_2.jsonl"], ["train-part1.jsonl", "train_part_2.jsonl"]),
        (["default/train/0000.jsonl", "default/test/0000.jsonl"], ["default/train/0000.jsonl"]),
        (["harmless.jsonl", "helpful.jsonl"], ["harmless.jsonl", "helpful.jsonl"]),
        (["rows.jsonl", "rows.jsonl.rejected_rows.jsonl"], ["rows.jsonl"]),
        (["train.jsonl", "dataset_infos.json", ".cache/train.jsonl"], ["train.jsonl"]),
    ],
)
def test_the_files_of_one_split_are_read(tmp_path, names, read):
    assert read_names(fill(tmp_path, *names)) == (read, ())


def test_a_split_of_nearly_the_same_name_is_said_not_to_be_read(tmp_path):
    fill(tmp_path, "train.jsonl", "train_sft.jsonl")
    assert read_names(tmp_path) == (
        ["train.jsonl"],
        (f"{tmp_path}: split train is read, not train_sft",),
    )


def test_a_folder_is_named_in_any_case(tmp_path):
    fill(tmp_path, "Harmless/rows.jsonl", "Helpful/rows.jsonl")
    assert read_names(tmp_path, split="harmless") == (["Harmless/rows.jsonl"], ())


def test_many_files_are_not_compared_with_one_another(tmp_path):
    class Counted(type(Path())):
        compared = 0
        __hash__ = Path.__hash__

        def __eq__(self, other):
            Counted.compared += 1
            return super().__eq__(other)

    count = 200
    fill(tmp_path, *(f"train-{n}.jsonl" for n in range(count)))
    found = files_of_folder(Counted(tmp_path), (".jsonl",), None, None)
    assert len(found.files) == count
    assert Counted.compared < 10 * count


def test_files_of_several_kinds_are_to_be_told_by_their_path(tmp_path):
    (fill(tmp_path, "train.jsonl") / "train.csv").write_text("prompt,chosen,rejected\np,c,r\n")
    with pytest.raises(DataError, match=r"several kinds \(\.csv, \.jsonl\); give the path of one$"):
        open_source(tmp_path)


HH = [f"{kind}/{split}.jsonl.gz" for kind in ("harmless", "helpful") for split in ("train", "test")]


def test_equal_file_names_in_folders_are_different_rows(tmp_path):
    fill(tmp_path, *HH)
    read = read_rows(tmp_path, RowOptions(strict=True))
    assert [each.id for each in read.rows] == ["harmless/train.jsonl-1", "helpful/train.jsonl-1"]
    (only,) = read_rows(tmp_path, RowOptions(config="helpful")).rows
    assert only.id == "line-1"


def test_conversations_and_prompts_of_several_files_are_told_apart(tmp_path):
    talk = {"messages": [{"role": "user", "content": "Why?"}]}
    for name in ("a/train.jsonl", "b/train.jsonl"):
        fill(tmp_path, name)
        (tmp_path / name).write_text(json.dumps(talk | row(name)))
    names = ["a/train-1", "b/train-1"]
    assert [each.id for each in read_conversations(tmp_path).conversations] == names
    assert [each.id for each in read_prompts(tmp_path)] == names


@pytest.mark.parametrize("folder", ["", "data/"])
def test_a_missing_shard_is_said_and_the_others_are_read(tmp_path, folder):
    names = [f"{folder}train-0000{shard}-of-00004.jsonl" for shard in (0, 2)]
    fill(tmp_path, *names, "test-00000-of-00002.jsonl")
    read = read_rows(tmp_path)
    assert len(read.rows) == 2
    assert read.notes == (
        f"{tmp_path / folder}: of the 4 shards of train 2 are missing "
        "(00001-of-00004, 00003-of-00004): not all rows are read",
    )


def test_all_shards_are_nothing_to_speak_of(tmp_path):
    fill(tmp_path, *(f"{kind}/train-0000{n}-of-00002.jsonl" for kind in "ab" for n in range(2)))
    assert read_rows(tmp_path).notes == ()


@pytest.fixture
def saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_list([row(n) for n in range(4)])
    whole.save_to_disk(str(tmp_path / "one"), num_shards=2)
    datasets.DatasetDict({"train_prefs": whole, "test_prefs": whole}).save_to_disk(
        str(tmp_path / "dict")
    )
    return tmp_path


def test_a_saved_file_that_is_not_there_is_named(saved):
    (saved / "one" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"00001-of-00002.arrow: listed in state.json and not ther"):
        open_source(saved / "one")


def test_splits_that_were_saved_are_named(saved):
    with pytest.raises(DataError, match=r"there are test_prefs, train_prefs, give one .*--split"):
        open_source(saved / "dict")
    assert len(read_names(saved / "dict", split="test_prefs")[0]) == 4


@pytest.fixture
def cache(tmp_path):
    """The cache that ``datasets`` makes, with a result of ``map`` in it."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    fill(tmp_path / "own_set", "train.jsonl", "test.jsonl")
    made = datasets.load_dataset(str(tmp_path / "own_set"), cache_dir=str(tmp_path / "cache"))
    made["train"].map(lambda _: {"extra": 1})
    return next(tmp_path.glob("cache/*/default"))


def test_the_cache_of_datasets_is_read_by_its_splits(cache):
    assert read_names(cache) == (["train.jsonl"], ())
    assert read_names(cache.parent, split="test") == (["test.jsonl"], ())


def test_several_sets_in_the_cache_of_datasets_are_named(cache):
    shutil.copytree(cache, cache.with_name("other"))
    with pytest.raises(DataError, match=r"a cache of several data sets \(default/.*, other/.*\);"):
        open_source(cache.parent)
    assert read_names(cache) == (["train.jsonl"], ())


def test_a_cache_of_the_hub_gives_its_main_revision(tmp_path):
    for revision in ("aaa", "bbb"):
        fill(tmp_path / "snapshots" / revision, f"{revision}/train.jsonl")
    (tmp_path / "blobs").mkdir()
    with pytest.raises(DataError, match="a cache of the hub; give one of the folders in its snaps"):
        open_source(tmp_path)
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "main").write_text("bbb")
    assert read_names(tmp_path) == (["bbb/train.jsonl"], ())
