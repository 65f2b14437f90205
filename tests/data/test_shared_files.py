"""Real preference files, where they lie beside the project: each loads, is inspected and splits."""

from pathlib import Path

import pytest

from coala_jax.data import (
    alternating_population,
    read_conversations,
    read_rows,
    require_no_leak,
)
from coala_jax.data._named import load_named, split_named
from coala_jax.study._inspection import inspect_pairs
from coala_jax.study._inspection_words import inspection_report

# Beside the checkout; their rows are of others and never part of it.
SHARED = Path(__file__).parents[3] / "shared" / "data"
# Rows of a file, usable or not.
PAIRS = {
    "hh_helpful": 4509,
    "qa_feedback": 1997,
    "expert_small": 1474,
    "autoj_pairwise": 717,
    "webgpt": 477,
    "ukp_convarg": 5083,
    "bridge_tutoring": 550,
    "alpaca_eval_v1": 8200,
    "alpaca_eval_v2": 4363,
}
# Pairs that reviews and conversations become.
REVIEWS, REVIEW_PAIRS = "imdb_like", 12_000
CONVERSATIONS, CONVERSATION_PAIRS = "conversations", 5402
# The files that every run of the tests inspects; the others take a minute.
SMALL = ("webgpt", "bridge_tutoring")
# Drawn evenly from a file: the probe of words takes most of the time.
INSPECTED_ROWS = 400


def shared(name):
    path = SHARED / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return path


def pairs_of(name):
    path = shared(name)
    if name == REVIEWS:
        return load_named("imdb", path).row_set.rows
    if name == CONVERSATIONS:
        return alternating_population(read_conversations(path).conversations).rows
    return read_rows(path).rows


def test_no_shared_file_is_left_out():
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here")
    names = {path.name.removesuffix(".jsonl.gz") for path in SHARED.glob("*.jsonl.gz")}
    assert names <= {*PAIRS, REVIEWS, CONVERSATIONS}


@pytest.mark.parametrize("name", PAIRS)
def test_a_shared_file_is_read_whole(name):
    read = read_rows(shared(name))
    assert len(read.rows) + len(read.set_aside) == PAIRS[name]
    assert len(read.set_aside) <= PAIRS[name] // 1000


def test_shared_reviews_and_conversations_make_pairs():
    assert len(pairs_of(REVIEWS)) == REVIEW_PAIRS
    assert len(pairs_of(CONVERSATIONS)) == CONVERSATION_PAIRS


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in SMALL else [pytest.mark.slow])
        for name in (*PAIRS, REVIEWS, CONVERSATIONS)
    ],
)
def test_a_shared_file_is_inspected_and_split_without_a_leak(name):
    rows = pairs_of(name)
    parts = split_named(rows)
    assert parts.train and parts.eval
    assert len(parts.train) + len(parts.eval) == len(rows)
    require_no_leak(*parts)
    some = rows[:: max(1, len(rows) // INSPECTED_ROWS)]
    report = inspection_report(inspect_pairs(some))
    assert report["rows"] == len(some)
    assert 0 < report["chosen_longer"]["mean"] < 1
    assert report["length_rule"]["accuracy"] is not None
