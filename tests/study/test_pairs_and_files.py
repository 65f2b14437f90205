"""What belongs together, what leaks, and files that are whole or not there."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from coala_jax._files import require_writable, write_folder
from coala_jax._json import json_text
from coala_jax.data import PreferenceRow, RowOptions
from coala_jax.data._split import text_sha256
from coala_jax.features import FeatureError, FeatureIdentity, FeatureTable
from coala_jax.study._hold_out import hold_out, require_two_parts
from coala_jax.study._read_pairs import pairs_of_table, read_pairs

ARRAYS = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
TABLE = FeatureTable(*ARRAYS, ids=tuple("abcd"))
ROWS = [PreferenceRow(name, f"prompt {name}", "longer", "short") for name in "abcd"]


def test_keys_are_groups_joined_by_prompts_or_prompts_or_rows():
    assert pairs_of_table("t", TABLE).split_by == "row"
    prompts = pairs_of_table("t", TABLE._replace(prompt_hashes=("p", "p", "q", "r")))
    assert prompts.split_by == "prompt"
    assert prompts.keys == ("p", "p", "q", "r")
    groups = pairs_of_table(
        "t", TABLE._replace(groups=tuple("xyzz"), prompt_hashes=("p", "p", "q", "r"))
    )
    assert groups.split_by == "group"
    assert groups.keys == ("x", "x", "z", "z")


def test_rows_give_lengths_and_prompts_which_must_be_those_of_the_table():
    pairs = pairs_of_table("t", TABLE, ROWS)
    assert pairs.lengths.tolist() == [[6, 5]] * 4
    assert pairs.split_by == "prompt"
    same = tuple(text_sha256(row.prompt) for row in ROWS)
    assert pairs_of_table("t", TABLE._replace(prompt_hashes=same), ROWS).keys == same
    with pytest.raises(FeatureError, match="its prompts are not those"):
        pairs_of_table("t", TABLE._replace(prompt_hashes=("p",) * 4), ROWS)


def test_pairs_know_the_prompts_of_those_that_were_taken_where_there_are_hashes():
    pairs = pairs_of_table("t", TABLE, ROWS)
    train = pairs.take(np.array([True, False, True, True])).prompts
    assert [row.prompt in train for row in ROWS] == [True, False, True, True]
    assert pairs_of_table("t", TABLE).prompts is None
    assert pairs_of_table("t", TABLE._replace(prompt_hashes=("p", "p", "q", "r"))).prompts is None


def test_features_may_bring_lengths_and_rows_have_the_word():
    lengths = np.array([[9, 1]] * 4)
    table = TABLE._replace(lengths=lengths)
    assert pairs_of_table("t", TABLE).lengths is None
    assert pairs_of_table("t", table).lengths is lengths
    assert pairs_of_table("t", table, ROWS).lengths.tolist() == [[6, 5]] * 4


def test_rows_are_matched_by_ids_that_name_one_row(tmp_path):
    features, groups, data = (tmp_path / name for name in ("f.npz", "g.json", "rows.jsonl"))
    groups.write_text(json.dumps(dict.fromkeys("abcd", "g")))
    texts = [json.dumps({**row._asdict(), "extra": None}) for row in ROWS]
    data.write_text("\n".join(texts))
    np.savez(features, chosen=ARRAYS[0], rejected=ARRAYS[1], id=np.array(list("abcb")))
    for files in ((str(groups), None), (None, str(data))):
        with pytest.raises(FeatureError, match="f.npz: 1 ids name more than one row, .* 'b'"):
            read_pairs(str(features), *files)
    assert read_pairs(str(features)).split_by == "row"
    np.savez(features, chosen=ARRAYS[0], rejected=ARRAYS[1], id=np.array(list("abcd")))
    longer = json.dumps({**ROWS[2]._asdict(), "extra": None, "chosen": "longer " * 9})
    data.write_text("\n".join([*texts, longer]))
    pairs = read_pairs(str(features), None, str(data))
    assert pairs.lengths[2, 0] == len(ROWS[2].chosen)  # a later row of the same id is set aside


def test_a_split_keeps_keys_together_and_columns_in_step():
    pairs = pairs_of_table("t", TABLE._replace(groups=tuple("xxyy"), weight=np.arange(4.0)))
    held_out = hold_out(pairs, 0.5, seed=0)
    part = pairs.take(held_out)
    assert len(set(part.keys)) == 1
    assert part.weight.shape == (2,)
    np.testing.assert_array_equal(part.as_pairs().chosen, ARRAYS[0][held_out])
    with pytest.raises(FeatureError, match="on both sides of the split"):
        require_two_parts(pairs, np.array([True, False, True, False]))


def test_json_has_no_nan():
    text = json_text({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (None, "x")}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": [None, "x"]}}


def test_a_folder_of_a_killed_run_is_no_obstacle(tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "a").write_text("half")
    files = write_folder(tmp_path / "out", ("a", "b"), lambda d: (d / "b").write_text("whole"))
    assert files == [tmp_path / "out" / "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_current_folder_can_be_filled(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (file,) = write_folder(Path("."), ("a",), lambda d: (d / "a").write_text("whole"))
    assert file.read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_an_output_without_permission_is_refused_early(tmp_path, monkeypatch):
    def refuse(*, dir):
        refused.append(dir)
        raise PermissionError(errno.EACCES, "Permission denied")

    refused = []
    monkeypatch.setattr("coala_jax._files.tempfile.TemporaryFile", refuse)
    out = tmp_path / "new" / "out"
    with pytest.raises(PermissionError, match=f"{out}: no file can be made in {tmp_path} "):
        require_writable(out, folder=True)
    with pytest.raises(PermissionError, match="Permission denied"):
        require_writable(tmp_path, folder=True)
    assert refused == [tmp_path, tmp_path.parent]


def test_an_output_that_can_be_made_leaves_nothing_of_the_check(tmp_path):
    (tmp_path / "file").write_text("old")
    require_writable(tmp_path / "file", folder=False)
    require_writable(tmp_path / "new" / "out", folder=True)
    require_writable(tmp_path, folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_rows_are_read_by_the_options_that_are_given(tmp_path):
    features, data = tmp_path / "f.npz", tmp_path / "rows.csv"
    np.savez(features, chosen=ARRAYS[0], rejected=ARRAYS[1], id=np.array(list("abcd")))
    data.write_text("id,q,best,rejected\n" + "".join(f"{i},p {i},p {i} yes,no\n" for i in "abcd"))
    options = {"columns": {"prompt": "q", "chosen": "best"}, "strip_prompt": True}
    pairs = read_pairs(str(features), None, str(data), RowOptions(**options))
    assert pairs.lengths.tolist() == [[3, 2]] * 4
    assert pairs.split_by == "prompt"


def test_prompts_of_a_chat_template_are_the_stores_own():
    """Another template writes other prompts: they cannot be compared, and are not."""
    known = tuple(f"hash {name}" for name in "abcd")
    identity = FeatureIdentity(*"abcdefghij", chat_template="sha256:1")
    table = TABLE._replace(prompt_hashes=known, identity=identity)
    assert pairs_of_table("t", table, ROWS, "flatten").keys == known
    for chat_template in ("", "sha256:1"):
        with pytest.raises(FeatureError, match="its prompts are not those"):
            pairs_of_table("t", table, ROWS, chat_template)
