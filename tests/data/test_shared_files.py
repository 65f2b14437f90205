"""Real preference files, where they lie beside the project."""

from pathlib import Path

import pytest

from coala_jax.data import read_rows, require_no_leak, split_by_prompt
from coala_jax.data.named import load_named

# Beside the checkout; their rows are of others and never part of it.
SHARED = Path(__file__).parents[3] / "shared" / "data"
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


@pytest.mark.parametrize("name", PAIRS)
def test_a_shared_file_is_read_whole_and_split_without_a_leak(name):
    path = SHARED / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    read = read_rows(path)
    assert len(read.rows) + len(read.refused) == PAIRS[name]
    assert len(read.refused) <= PAIRS[name] // 1000
    require_no_leak(*split_by_prompt(read.rows, 0.1, seed=0))


def test_shared_reviews_make_sentiment_pairs():
    path = SHARED / "imdb_like.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    assert len(load_named("imdb", path).row_set.rows) == 12_000
