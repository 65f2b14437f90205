"""Streaming rewards: bounded memory, and a killed run ends with the bytes of one that was not."""

import gzip
import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from coala_jax._lock import only_writer
from coala_jax.data import DataError, ResponseRow, stream_responses
from coala_jax.decoding import _resumed_lines as resumed_lines
from coala_jax.decoding import score
from coala_jax.decoding._reward_lines import write_rewards
from coala_jax.decoding._usable_rows import UsableRows
from coala_jax.features import FeatureError
from coala_jax.features._distinct import SAME_TOKENS

CHUNK = 4
ROWS = [
    {"id": f"r{n}", "prompt": "the student asks", "response": f"answer {n % 7}"} for n in range(10)
]
PAIRS = [
    {"id": "a", "prompt": "the student asks", "chosen": "the tutor answers", "rejected": "no"},
    {"id": "b", "prompt": "the student", "chosen": "same", "rejected": "same"},
]


class Killed(BaseException):
    """A process that ends: nothing catches it."""


@pytest.fixture
def score_file(model):
    """Score rows in memory to a file: ``score_file(rows, out, **options)``."""

    def run(rows, out, other=None, set_aside=None, **options):
        scoring, options = other or model, {"chunk_responses": CHUNK, **options}
        with UsableRows(scoring, stream_responses(rows), set_aside) as usable:
            tally, resumed = write_rewards(scoring, usable, out, **options)
        return SimpleNamespace(tally=tally, resumed=resumed, set_aside=usable.set_aside)

    return run


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_row_gives_its_line(score_file, model, tmp_path):
    rows = [
        *PAIRS,
        {"id": "c", "prompt": "the student", "response": "a short answer"},
        {"id": "d", "prompt": "the student", "responses": ["a short answer", "no"]},
    ]
    scored = score_file(rows, tmp_path / "out.jsonl")
    pair, same, single, several = lines_of(tmp_path / "out.jsonl")
    assert list(pair) == ["id", "chosen_reward", "rejected_reward", "reward_margin"]
    assert pair["reward_margin"] == pair["chosen_reward"] - pair["rejected_reward"]
    assert same["reward_margin"] == 0 and same["set_aside"] == SAME_TOKENS
    alone = [
        ResponseRow("c", "response", "the student", "a short answer"),
        ResponseRow("d", "response", "the student", "no"),
    ]
    expected = score(model, alone).rewards
    assert [single["id"], several["id"]] == ["c", "d"]
    np.testing.assert_allclose([single["reward"]], expected[:1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(several["rewards"], expected, rtol=1e-4, atol=1e-6)
    right = 1.0 if pair["reward_margin"] > 0 else 0.0
    assert scored.tally.metrics()["rewards/accuracies"] == right
    assert scored.tally.metrics()["rewards/margins"] == pair["reward_margin"]
    assert (scored.tally.rows, scored.tally.responses) == (4, 7)
    assert (scored.tally.pairs, scored.tally.same) == (1, 1) and scored.resumed == 0


def test_rows_are_scored_as_they_come_and_what_is_finished_is_on_the_disk(score_file, tmp_path):
    seen = []

    def rows():
        # The first hundred rows tell the columns; after them a chunk is on the disk before the
        # next one is read.
        for number in range(112):
            partial = tmp_path / "out.jsonl.partial"
            seen.append(len(lines_of(partial)) if partial.exists() else 0)
            yield {"id": str(number), "prompt": "p", "response": "r"}

    score_file(rows(), tmp_path / "out.jsonl")
    assert seen[:100] == [0] * 100
    assert seen[100:] == [100] * 4 + [104] * 4 + [108] * 4
    assert sorted(os.listdir(tmp_path)) == ["out.jsonl"]


@pytest.mark.parametrize("within", ["lines", "state"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    score_file, tmp_path, monkeypatch, within, at
):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    expected = score_file(ROWS + PAIRS, whole).tally
    calls = 0

    def kill_in_time(write):
        def killed(*arguments):
            nonlocal calls
            calls += 1
            if calls == at + 1:
                if within == "lines":  # amid a line
                    partial = cut.with_name("cut.jsonl.partial")
                    partial.write_bytes(partial.read_bytes() + b'{"id": ')
                raise Killed
            return write(*arguments)

        return killed

    with monkeypatch.context() as patch:
        patch.setattr(resumed_lines, "write_files", kill_in_time(resumed_lines.write_files))
        with pytest.raises(Killed):
            score_file(ROWS + PAIRS, cut)
    assert not cut.exists()
    told = []
    scored = score_file(ROWS + PAIRS, cut, report=told.append)
    assert scored.resumed == at * CHUNK
    assert told == (
        [f"{scored.resumed} lines are finished by an earlier run; going on from there"]
        if at
        else []
    )
    assert cut.read_bytes() == whole.read_bytes()
    assert scored.tally == expected
    assert sorted(os.listdir(tmp_path)) == ["cut.jsonl", "whole.jsonl"]


@pytest.fixture
def interrupted(score_file, tmp_path, monkeypatch):
    """An output of which two chunks are finished."""
    write, left = resumed_lines.write_files, [2]

    def killed(files):
        if not left[0]:
            raise Killed
        left[0] -= 1
        write(files)

    with monkeypatch.context() as patch:
        patch.setattr(resumed_lines, "write_files", killed)
        with pytest.raises(Killed):
            score_file(ROWS, tmp_path / "out.jsonl")
    return tmp_path / "out.jsonl"


@pytest.mark.parametrize(
    "rows",
    [
        [{**ROWS[0], "response": "changed"}, *ROWS[1:]],
        [*ROWS[:7], {**ROWS[7], "id": "changed"}, *ROWS[8:]],
        ROWS[1:],
        ROWS[:5],
        ROWS[:8][::-1],
        [{"prompt": "p", "responses": ["a", "b", "c"]}] * 5,
    ],
    ids=["first", "last finished", "one less", "too few", "order", "other chunks"],
)
def test_going_on_with_another_input_is_refused(score_file, interrupted, rows):
    with pytest.raises(FeatureError, match="of another input; give that input again, or remove"):
        score_file(rows, interrupted)
    assert not interrupted.exists()


def test_rows_after_what_is_finished_may_change(score_file, interrupted, tmp_path):
    rows = [*ROWS[:8], *PAIRS]
    score_file(rows, interrupted)
    score_file(rows, tmp_path / "whole.jsonl")
    assert interrupted.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_going_on_with_another_head_or_chunk_is_refused(score_file, model, interrupted):
    head = model.head._replace(bias=model.head.bias + 1)
    with pytest.raises(FeatureError, match=r"an earlier run began it otherwise: head was "):
        score_file(ROWS, interrupted, other=replace(model, head=head))
    with pytest.raises(FeatureError, match="chunk_responses was 4, is 5; run it as before, or"):
        score_file(ROWS, interrupted, chunk_responses=5)


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"bytes": 3}', b'{"bytes": 1e9}'])
def test_a_run_whose_state_is_lost_begins_anew(score_file, interrupted, damage):
    interrupted.with_name("out.jsonl.partial.json").write_bytes(damage)
    assert score_file(ROWS, interrupted).resumed == 0
    assert len(lines_of(interrupted)) == len(ROWS)


def test_rows_set_aside_are_kept_and_counted(score_file, tmp_path):
    kept = tmp_path / "set_aside.jsonl"
    rows = [{"prompt": "p", "response": ""}, *ROWS, {"prompt": "p"}]
    scored = score_file(rows, tmp_path / "out.jsonl", set_aside=kept)
    assert scored.set_aside.counts == {"empty response": 1, "no response": 1}
    assert scored.set_aside.path == kept
    assert [(line["line"], line["row"]) for line in lines_of(kept)] == [
        (1, rows[0]),
        (12, rows[-1]),
    ]
    score_file(ROWS, tmp_path / "out.jsonl", set_aside=kept)
    assert kept.read_bytes() == b""  # of this run there are none


def test_rows_set_aside_are_packed_where_the_name_says_so(score_file, tmp_path):
    kept = tmp_path / "set_aside.jsonl.gz"
    score_file([{"prompt": "p"}, *ROWS], tmp_path / "out.jsonl", set_aside=kept)
    (line,) = gzip.decompress(kept.read_bytes()).splitlines()
    assert json.loads(line)["row"] == {"prompt": "p"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows in memory: holds no rows"),
        ([{"prompt": "p", "response": " "}] * 2, r"empty response: 2 \(first in line 1\)"),
    ],
)
def test_no_usable_row_is_an_error_and_leaves_nothing(score_file, tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        score_file(rows, tmp_path / "out.jsonl", set_aside=tmp_path / "set_aside.jsonl")
    assert os.listdir(tmp_path) == []


def test_a_reward_that_is_not_finite_ends_the_run_with_what_is_finished(
    score_file, model, overflowing, tmp_path
):
    head = overflowing(model.head)
    with pytest.raises(FeatureError, match="4 of 4 are not finite, the first is of r0"):
        score_file(ROWS, tmp_path / "out.jsonl", other=replace(model, head=head))
    assert not (tmp_path / "out.jsonl").exists()


def test_a_full_disk_names_it_and_keeps_what_is_finished(score_file, tmp_path, monkeypatch):
    def full(files):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(resumed_lines, "write_files", full)
        with pytest.raises(FeatureError, match="No space left on device .*free some space"):
            score_file(ROWS, tmp_path / "out.jsonl")
    assert score_file(ROWS, tmp_path / "out.jsonl").tally.rows == len(ROWS)


def test_two_writers_of_one_output_are_told_apart(score_file, tmp_path):
    out = tmp_path / "out.jsonl"
    with (
        only_writer(out, print, FeatureError),
        pytest.raises(FeatureError, match="is writing it; wait until"),
    ):
        score_file(ROWS, out)


def test_conversations_of_another_template_are_refused(score_file, tmp_path):
    rows = [{"prompt": [{"role": "user", "content": "p"}], "response": "r"}]
    with pytest.raises(FeatureError, match="trained on plain texts"):
        score_file(rows, tmp_path / "out.jsonl")
