"""Pre-training: documents as features tokenise them, packing, a tiny run from end to end."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from coala_jax.backbones import Tokenizer, load_backbone
from coala_jax.backbones._families._gpt2 import GPT2, GPT2Config
from coala_jax.backbones._tokenizer import load_tokenizer
from coala_jax.features._tokens import TextTemplate, encode_texts
from coala_jax.quickstart._concepts import ASPECTS
from tools.pretrain_backbone.documents import (
    ANSWERED_WORDS,
    ASKED_WORDS,
    encode_documents,
    make_documents,
    pack_documents,
)
from tools.pretrain_backbone.tokenizing import VOCAB_SIZE, write_tokenizer
from tools.pretrain_backbone.training import (
    CURVE_STEPS,
    RECORD_FILE,
    Recipe,
    Shape,
    check_record,
    loss_curve,
    pretrain,
    train_model,
)

TINY = Recipe(
    shapes=(Shape(2, 32, 20, True), Shape(1, 64, 10, False)),
    layers=1,
    heads=2,
    width=16,
    positions=64,
    warmup_steps=5,
    learning_rate=1e-2,
)
GOOD = {"folder_bytes": 10, "sampled_answers": {"names_concept": 0.95, "direct": 0.5}}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = (f"{d.prompt} {d.response}{d.index_line}" for d in make_documents(0, 1000))
    write_tokenizer(folder, texts, 64)
    return load_tokenizer(folder)


def test_documents_are_half_direct_and_often_plain_questions() -> None:
    documents = make_documents(3, 3000)
    agree = [d.index_line.split() for d in documents]
    matched = {frozenset((ASKED_WORDS[aspect], ANSWERED_WORDS[aspect])) for aspect in ASPECTS}
    direct = np.mean([frozenset(words) in matched for words in agree])
    plain_share = np.mean([d.prompt.count("Student:") == 1 for d in documents])
    # The neighbour's answer about the same aspect drifts, and agrees in the index.
    assert 0.45 < direct < 0.60
    assert 1 / 3 < plain_share < 1 / 2
    assert 0.45 < np.mean([words[0] in ASKED_WORDS.values() for words in agree]) < 0.55


def test_no_word_of_the_index_says_both_asked_and_answered() -> None:
    assert not set(ASKED_WORDS.values()) & set(ANSWERED_WORDS.values())
    assert len(Counter([*ASKED_WORDS.values(), *ANSWERED_WORDS.values()])) == 2 * len(ASPECTS)


def test_documents_are_tokenised_as_features_are(tokenizer: Tokenizer) -> None:
    documents = make_documents(5, 20)
    encoded = encode_documents(tokenizer, documents, 512)
    sequences = encode_texts(
        tokenizer,
        [d.prompt for d in documents],
        [d.response for d in documents],
        TextTemplate(),
        512,
    )
    for document, ids, sequence in zip(documents, encoded, sequences, strict=True):
        assert tuple(ids[: len(sequence.tokens)]) == sequence.tokens
        assert tokenizer.decode(ids[len(sequence.tokens) :].tolist()) == document.index_line


def test_packed_rows_begin_with_a_document_and_are_full() -> None:
    documents = [np.arange(3), np.arange(10, 15), np.arange(20, 29)]
    packed = pack_documents(documents, 7)
    assert packed.tolist() == [[0, 1, 2, 10, 11, 12, 13], [20, 21, 22, 23, 24, 25, 26]]
    assert pack_documents([], 7).shape == (0, 7)


@pytest.mark.parametrize("text", ["plain", "na\u00efve \u6f22\u5b57 \U0001f642\n\t\x00", " "])
def test_any_text_comes_back_from_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.size == VOCAB_SIZE


@pytest.mark.slow
def test_training_lowers_the_loss(tokenizer: Tokenizer) -> None:
    config = GPT2Config(vocab_size=VOCAB_SIZE, n_positions=64, n_embd=16, n_layer=1, n_head=2)
    losses = train_model(GPT2(config, rngs=nnx.Rngs(0)), tokenizer, 0, TINY).losses
    assert len(losses) == TINY.steps == 30
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5


@pytest.mark.slow
def test_a_run_writes_a_checkpoint_and_its_record_then_judges_it(tmp_path: Path) -> None:
    recipe = TINY._replace(shapes=(Shape(2, 128, 2, False),), positions=128, warmup_steps=1)
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.raises(ValueError, match="names_concept="):
        pretrain(first, 0, recipe, stride=33)
    with pytest.raises(ValueError, match="names_concept="):
        pretrain(second, 1, recipe, start=first, stride=33)
    record, later = (json.loads((out / RECORD_FILE).read_text()) for out in (first, second))
    assert load_backbone(second).config.max_length == 128
    assert record["tokens"] == later["tokens"] == 512
    assert record["sampled_answers"]["samples"] == 20
    assert record["held_out_perplexity"] > 100
    assert later["before"] == record


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"folder_bytes": 4_000_001}, "folder_bytes=4000001"),
        ({"sampled_answers": {"names_concept": 0.95, "direct": 0.9}}, "direct=0.900"),
        ({"sampled_answers": {"names_concept": 0.8, "direct": 0.5}}, "names_concept=0.800"),
    ],
)
def test_a_record_outside_its_bounds_is_refused(change: dict[str, object], fault: str) -> None:
    check_record(GOOD)
    with pytest.raises(ValueError, match=fault):
        check_record({**GOOD, **change})


def test_the_loss_curve_covers_every_step() -> None:
    assert loss_curve([2.0] * CURVE_STEPS + [1.0, 3.0, 5.0]) == [
        [CURVE_STEPS, 2.0],
        [CURVE_STEPS + 3, 3.0],
    ]
