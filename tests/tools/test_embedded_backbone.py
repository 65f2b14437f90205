"""The embedded backbone: small, complete, and as its record says."""

import json
from importlib import resources
from pathlib import Path

import pytest

from coala_jax.backbones import Backbone, load_backbone
from tools.pretrain_backbone.answers import answer_shares
from tools.pretrain_backbone.training import (
    DIRECT_BETWEEN,
    FOLDER_BYTES,
    NAMES_AT_LEAST,
    RECORD_FILE,
    check_record,
)

FOLDER = Path(str(resources.files("coala_jax.quickstart"))) / "backbone"
FILES = {
    "README.md",  # its licence
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    RECORD_FILE,
}
# Prime to the number of aspects, so that all of them are asked about.
STRIDE = 13


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(FOLDER)


def test_the_folder_is_complete_and_small() -> None:
    assert {file.name for file in FOLDER.iterdir()} == FILES
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= FOLDER_BYTES


def test_the_record_is_within_bounds_and_tells_where_it_comes_from() -> None:
    record = json.loads((FOLDER / RECORD_FILE).read_text())
    check_record(record)
    assert record["sampled_answers"]["samples"] >= 300
    assert "pretrain" in record["command"] and "--seed 0" in record["command"]
    assert {"seed", "versions", "machine", "steps", "tokens"} <= record.keys()
    losses = [loss for _, loss in record["loss_curve"]]
    assert losses[-1] < losses[0] / 2


def test_the_backbone_has_the_context_it_was_trained_for(backbone: Backbone) -> None:
    assert backbone.config.max_length == 512
    assert backbone.tokenizer.end_token == "<|endoftext|>"
    text = "na\u00efve \u6f22\u5b57 \U0001f642"
    assert backbone.tokenizer.decode(backbone.tokenizer.encode(text)) == text


@pytest.mark.slow
def test_sampling_again_finds_the_recorded_shares(backbone: Backbone) -> None:
    recorded = json.loads((FOLDER / RECORD_FILE).read_text())["sampled_answers"]
    again = answer_shares(backbone, seed=1, stride=STRIDE)
    # Three standard errors of a share of one half among some fifty answers.
    tolerance = 3 * 0.5 / again["samples"] ** 0.5
    assert again["names_concept"] == pytest.approx(recorded["names_concept"], abs=tolerance)
    assert again["direct"] == pytest.approx(recorded["direct"], abs=tolerance)
    assert NAMES_AT_LEAST - tolerance <= again["names_concept"]
    assert DIRECT_BETWEEN[0] - tolerance <= again["direct"] <= DIRECT_BETWEEN[1] + tolerance
