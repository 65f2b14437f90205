"""Pairs that a model cannot tell apart are no pairs: set aside and counted wherever they come."""

import json
from dataclasses import replace
from unicodedata import normalize

import numpy as np
import pytest

from coala_jax.backbones import load_backbone
from coala_jax.data import PreferenceRow, ResponseRow, RowSet
from coala_jax.decoding._reward_lines import write_rewards
from coala_jax.features import FeatureError
from coala_jax.features._build import extract_store
from coala_jax.features._distinct import SAME_TOKENS, set_same_aside
from coala_jax.features._settings import ExtractSettings
from coala_jax.features._table import FeatureTable
from coala_jax.features._tokens import TextTemplate
from coala_jax.study._read_pairs import SAME_FEATURES, pairs_of_table
from tests.helpers import random_reward_model

SETTINGS = ExtractSettings(token_budget=256, shard_rows=4)
END = "<|endoftext|>"


@pytest.fixture(scope="module")
def backbone(checkpoint):
    return load_backbone(checkpoint)


def beyond_the_context(backbone):
    return "the tutor " * backbone.config.max_length


def rows_of(backbone):
    long = beyond_the_context(backbone)
    sides = {
        "told": ("the tutor", "the student"),
        "long and told": (f"a {long}", f"b {long}"),
        "cut": (f"{long}a", f"{long}b"),
        "an end of its own": ("the tutor", f"the tutor{END}"),
        "edges": ("the tutor", " the tutor\n"),
        "goes on": ("the tutor", "the tutor asks"),
    }
    return RowSet(tuple(PreferenceRow(name, "ask", *each) for name, each in sides.items()))


TOLD = ["told", "long and told", "goes on"]


def test_pairs_of_the_same_tokens_are_set_aside_and_counted(backbone, tmp_path):
    rows = rows_of(backbone)
    store = extract_store(rows, backbone, tmp_path / "store", settings=SETTINGS)
    assert list(store.table.ids) == TOLD
    assert store.manifest["refused"] == {SAME_TOKENS: 3}
    read = set_same_aside(rows, backbone, TextTemplate())
    assert [row.id for row in read.rows] == TOLD
    assert [line.content["id"] for line in read.set_aside] == ["cut", "an end of its own", "edges"]
    assert [line.number for line in read.set_aside] == [3, 4, 5]
    assert set_same_aside(read, backbone, TextTemplate()) == read
    with pytest.raises(
        FeatureError, match=f"none to extract features of; set aside: {SAME_TOKENS} 1"
    ):
        extract_store(RowSet(rows.rows[2:3]), backbone, tmp_path / "none", settings=SETTINGS)


def test_what_a_tokenizer_does_not_tell_apart_is_found(backbone):
    class Uncased(type(backbone.tokenizer)):
        def encode_batch(self, texts):
            return super().encode_batch([text.lower() for text in texts])

    own = {name: getattr(backbone.tokenizer, name) for name in Uncased.__dataclass_fields__}
    uncased = replace(backbone, tokenizer=Uncased(**own))
    pairs = (PreferenceRow("case", "ask", "Yes", "yes"), PreferenceRow("told", "ask", "Yes", "no"))
    read = set_same_aside(RowSet(pairs), uncased, TextTemplate())
    assert [row.id for row in read.rows] == ["told"]
    assert set_same_aside(RowSet(pairs), backbone, TextTemplate()).rows == pairs


def test_a_tokenizer_that_composes_letters_is_not_trusted(backbone):
    class Composing(type(backbone.tokenizer)):
        def encode_batch(self, texts):
            return super().encode_batch([normalize("NFC", text) for text in texts])

    own = {name: getattr(backbone.tokenizer, name) for name in Composing.__dataclass_fields__}
    composing = replace(backbone, tokenizer=Composing(**own))
    pair = PreferenceRow("forms", "ask", "caf\u00e9", "cafe\u0301")
    assert set_same_aside(RowSet((pair,)), composing, TextTemplate()).rows == ()


def test_scores_of_such_pairs_count_neither_as_right_nor_as_wrong(backbone, tmp_path):
    model = random_reward_model(backbone, SETTINGS)
    rows = [
        tuple(
            ResponseRow(row.id, side, row.prompt, getattr(row, side))
            for side in ("chosen", "rejected")
        )
        for row in rows_of(backbone).rows
    ]
    tally, _ = write_rewards(model, rows, tmp_path / "rewards.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "rewards.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines if "set_aside" not in line] == TOLD
    margins = [line["reward_margin"] for line in lines if line["id"] in TOLD]
    assert (tally.rows, tally.pairs, tally.same, tally.ties) == (6, 3, 3, 0)
    assert tally.correct == sum(margin > 0 for margin in margins)
    assert tally.metrics()["rewards/margins"] == pytest.approx(np.mean(margins))


def test_pairs_of_the_same_features_are_set_aside_and_counted():
    chosen, rejected = np.eye(4, 3, dtype=np.float32), np.ones((4, 3), np.float32)
    chosen[1] = rejected[1]
    table = FeatureTable(chosen, rejected, tuple("abcd"), prompt_hashes=tuple("pqrs"))
    pairs = pairs_of_table("t", table)
    assert pairs.keys == ("p", "r", "s") and pairs.set_aside_counts == {SAME_FEATURES: 1}
    np.testing.assert_array_equal(pairs.chosen, chosen[[0, 2, 3]])
    untold = pairs_of_table("t", table._replace(rejected=chosen))
    assert len(untold.chosen) == 4 and untold.set_aside_counts is None
