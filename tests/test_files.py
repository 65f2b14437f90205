"""Files that are whole or not there, whoever writes them."""

import errno
import hashlib

import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import ConvexHead, load_head, save_head
from coala_jax._files import file_sha256, write_files, write_text
from coala_jax._hub_ids import DATA_SET_ID, MODEL_ID
from coala_jax._model_card import CARD
from coala_jax.data import DataError
from coala_jax.data._writing import write_json_lines


def full(*arguments):
    raise OSError(errno.ENOSPC, "full")


def test_a_text_that_cannot_be_renamed_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    monkeypatch.setattr("coala_jax._files.Path.replace", full)
    with pytest.raises(OSError, match="full"):
        write_text(path, "new")
    assert [file.read_text() for file in path.parent.iterdir()] == ["old"]


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_of_several_files_none_is_renamed_before_the_last_one_is_whole(tmp_path, error):
    def fail(file):
        file.write(b"half")
        raise error

    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"old")
    with pytest.raises(error):
        write_files({first: b"new", second: fail})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"first": b"old"}


def test_the_temporary_file_of_a_killed_run_is_written_over(tmp_path):
    (tmp_path / "file.partial").write_text("of another run, and longer")
    write_text(tmp_path / "file", "é")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ["é".encode()]


def test_a_head_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    head = ConvexHead(*(jnp.ones(shape) for shape in ((2, 1), (1,), (1,), (2,))))
    save_head(tmp_path, head, {"run": 1})
    monkeypatch.setattr("coala_jax._files.os.fsync", full)
    with pytest.raises(OSError, match="full"):
        save_head(tmp_path, head._replace(bias=2 * head.bias), {"run": 2})
    kept, metadata = load_head(tmp_path)
    assert (metadata.document["run"], np.asarray(kept.bias).tolist()) == (1, [1.0])
    assert {path.name for path in tmp_path.iterdir()} == {CARD, "head.json", "head.safetensors"}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_lines_that_break_off_leave_no_file(tmp_path, name):
    def lines():
        yield {"id": 1}
        raise DataError("the source breaks off")

    with pytest.raises(DataError, match="breaks off"):
        write_json_lines(tmp_path / name, lines())
    assert not list(tmp_path.iterdir())


def test_a_hash_is_of_the_bytes(tmp_path):
    content = b"\x00\xff" * 100_000
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "is_model", "is_data_set"),
    [
        ("org/name-1.5_b", True, True),
        ("gpt2", True, False),
        ("org/name/more", False, False),
        ("./name", False, False),
        ("/name", False, False),
        ("org/", False, False),
        ("", False, False),
    ],
)
def test_hub_ids_are_told_from_paths(name, is_model, is_data_set):
    assert bool(MODEL_ID.fullmatch(name)) == is_model
    assert bool(DATA_SET_ID.fullmatch(name)) == is_data_set
