"""The tokenizer of a folder: text to ids and back, and what it must name."""

import json
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coala_jax.backbones.checkpoint import CheckpointError
from coala_jax.backbones.registry import load_backbone
from coala_jax.backbones.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(checkpoint):
    return load_tokenizer(checkpoint)


@pytest.fixture
def folder(checkpoint, tmp_path):
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def test_end_token_is_named_and_stands_in_for_a_missing_pad_token(tokenizer):
    assert tokenizer.end_token == "<|endoftext|>"
    assert tokenizer.pad_id == tokenizer.end_id


def test_a_pad_token_that_is_named_is_used(folder):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": "a"}))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.pad_id == tokenizer.encode("a")[0] != tokenizer.end_id


def test_no_special_token_is_added(tokenizer):
    ids = tokenizer.encode("the tutor")
    assert tokenizer.end_id not in ids
    assert tokenizer.encode("") == []
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.encode_batch(["the tutor", ""]) == [ids, []]


@settings(max_examples=50)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives_encoding_and_decoding(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_loading_opens_no_connection(checkpoint, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_backbone(checkpoint)


def test_a_tokenizer_without_an_end_token_is_refused(folder):
    path = folder / "tokenizer_config.json"
    fields = json.loads(path.read_text())
    del fields["eos_token"]
    path.write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match="names no end-of-text token"):
        load_tokenizer(folder)


def test_a_missing_and_a_broken_tokenizer_are_refused(folder):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="the tokenizer cannot be read"):
        load_tokenizer(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match="no tokenizer in it"):
        load_tokenizer(folder)


def test_a_tokenizer_larger_than_the_embedding_is_refused(folder):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 100}))
    with pytest.raises(CheckpointError, match="only 100 rows"):
        load_backbone(folder)
