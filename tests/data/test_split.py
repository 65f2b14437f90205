"""Splits: no prompt on both sides, the same on every machine, stable when rows are added."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax.data import (
    DataError,
    PreferenceRow,
    read_groups,
    require_no_leak,
    split_by_group,
    split_by_prompt,
)
from coala_jax.data._split import eval_mask, joint_keys, text_sha256

ROWS = [PreferenceRow(str(i), f"prompt {i // 3}", "c", "r") for i in range(300)]
# Of keys "prompt 0" to "prompt 19" with seed 0 and a fraction of 0.25.
RECORDED = [4, 8]


def test_no_prompt_is_on_both_sides_and_every_row_on_one():
    train, held_out = split_by_prompt(ROWS, 0.2, seed=0)
    assert not {row.prompt for row in train} & {row.prompt for row in held_out}
    assert sorted(train + held_out) == sorted(ROWS)
    assert 0.1 < len(held_out) / len(ROWS) < 0.3


def test_the_split_is_the_recorded_one():
    keys = [f"prompt {i}" for i in range(20)]
    assert np.flatnonzero(eval_mask(keys, 0.25, seed=0)).tolist() == RECORDED


def test_another_seed_gives_another_split():
    assert split_by_prompt(ROWS, 0.5, 0) != split_by_prompt(ROWS, 0.5, 1)


@given(st.lists(st.text(max_size=4), min_size=1), st.floats(0.01, 0.99), st.integers(0, 9))
def test_equal_keys_stay_together_and_no_side_is_empty(keys, fraction, seed):
    mask = eval_mask(keys, fraction, seed)
    held_out = {key for key, out in zip(keys, mask, strict=True) if out}
    kept = {key for key, out in zip(keys, mask, strict=True) if not out}
    assert not held_out & kept
    assert (bool(held_out) and bool(kept)) or len(set(keys)) == 1


def test_rows_added_later_move_nobody():
    before = split_by_prompt(ROWS[:150], 0.3, 0)
    after = split_by_prompt(ROWS, 0.3, 0)
    assert set(row.id for row in before.eval) <= set(row.id for row in after.eval)
    assert set(row.id for row in before.train) <= set(row.id for row in after.train)


def test_spacing_case_and_unicode_form_do_not_make_another_prompt():
    assert text_sha256("  What\nIS  caf\u00e9? ") == text_sha256("what is cafe\u0301?")
    assert text_sha256("what is tea?") != text_sha256("what is cafe?")


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(DataError, match="eval_fraction must lie between 0 and 1"):
        split_by_prompt(ROWS, fraction, 0)


def test_neither_group_nor_prompt_is_on_both_sides():
    groups = {row.id: f"group {int(row.id) // 4}" for row in ROWS}
    train, held_out = split_by_group(ROWS, groups, 0.3, seed=0)
    for key in (lambda row: groups[row.id], lambda row: row.prompt):
        assert not set(map(key, train)) & set(map(key, held_out))


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), max_size=12))
def test_joint_keys_are_the_connected_parts(pairs):
    keys = joint_keys([group for group, _ in pairs], [prompt for _, prompt in pairs])
    parts: list[set[str]] = []
    for pair in pairs:
        touching = [part for part in parts if part & set(pair)]
        parts = [part for part in parts if part not in touching]
        parts.append(set(pair).union(*touching))
    for (group, _), key in zip(pairs, keys, strict=True):
        part = next(part for part in parts if group in part)
        assert key == min(part & set("abcdef"))


def test_a_row_without_a_group_is_named():
    with pytest.raises(DataError, match="299 of 300 rows have no group, the first is '1'"):
        split_by_group(ROWS, {"0": "g"}, 0.3, 0)


def test_a_leak_between_train_and_eval_is_an_error():
    train, held_out = split_by_prompt(ROWS, 0.2, seed=0)
    require_no_leak(train, held_out)
    repeated = train[0]._replace(id="copy", prompt=f" {train[0].prompt.upper()}\n")
    with pytest.raises(DataError, match="share 1 prompts, such as 'prompt 0'; split by prompt"):
        require_no_leak(train, (*held_out, repeated))
    grouped = [row._replace(group="g") for row in ROWS[:4:3]]
    with pytest.raises(DataError, match="share 1 groups, such as 'g'"):
        require_no_leak(grouped[:1], grouped[1:])


def test_groups_are_read_from_an_object_and_from_lines(tmp_path):
    """An id may be said twice, as long as its group is one."""
    (tmp_path / "groups.json").write_text(json.dumps({"a": 1, "b": "x"}))
    (tmp_path / "groups.jsonl").write_text(
        '{"id": "a", "group": 1}\n{"id": "b", "group": "x"}\n' * 2
    )
    expected = {"a": "1", "b": "x"}
    assert read_groups(tmp_path / "groups.json") == expected
    assert read_groups(tmp_path / "groups.jsonl") == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("groups.json", None, "no such file; give a .json with {id: group}"),
        ("groups.json", "{", "cannot be read as JSON"),
        ("groups.json", '{"a": 1' + "0" * 5000 + "}", "cannot be read as JSON"),
        ("groups.json", "[]", "one JSON object"),
        ("groups.json", "{}", "holds no groups"),
        ("groups.json", '{"a": "g", "b": null}', "b: group is missing"),
        ("groups.jsonl", '{"id": "a"}', "line 1: id or group is missing"),
        ("groups.jsonl", "{", "line 1: broken JSON"),
        ("groups.json", '{"a": "g", "a": "h"}', "key 'a' stands twice in an object"),
        ("groups.json", '{"a": "g\\ud83d"}', "group of 'a' is not valid Unicode"),
        ("groups.jsonl", '{"id": "a", "group": "\\ud83d"}', "line 1: group is not valid Unicode"),
        (
            "groups.jsonl",
            '{"id": "a", "group": 1}\n{"id": "a", "group": 2}',
            "line 2: a has two groups",
        ),
    ],
)
def test_groups_that_cannot_be_read_are_refused(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_groups(tmp_path / name)
