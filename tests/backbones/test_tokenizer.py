"""The tokenizer of a folder: text to ids and back, and what it must name."""

import json
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coala_jax.backbones._backbone import load_backbone
from coala_jax.backbones._checkpoint import CheckpointError
from coala_jax.backbones._support import check_support
from coala_jax.backbones._tokenizer import (
    SENTENCEPIECE_PACKAGES,
    load_tokenizer,
    tokenizer_sha256,
)
from tests.helpers import in_threads

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "<s>": 4, "</s>": 5, "a": 6, "b": 7}


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


def test_threads_may_share_a_tokenizer(tokenizer):
    """transformers writes into its tokenizer whether a control token's name is text."""
    meant = f"the tutor{tokenizer.end_token}"
    texts = [meant, tokenizer.literal(meant)] * 400
    expected = [tokenizer.encode(text) for text in texts[:2]] * 400
    assert expected[0] != expected[1]
    assert in_threads(tokenizer.encode, texts) == expected


@settings(max_examples=50)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives_encoding_and_decoding(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def _wordpiece(folder, post_processor, **special):
    """A tokenizer of four special tokens of each kind and two letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if post_processor is not None:
        raw.post_processor = post_processor
    PreTrainedTokenizerFast(tokenizer_object=raw, **special).save_pretrained(folder)
    return load_tokenizer(folder)


def _template(single):
    from tokenizers import processors

    special = [(name, VOCABULARY[name]) for name in single.split() if name != "$A"]
    return processors.TemplateProcessing(single=single, special_tokens=special)


def test_an_encoder_starts_at_its_cls_token_and_ends_at_its_separator(tmp_path):
    from tokenizers import processors

    bert = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = _wordpiece(
        tmp_path, bert, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    )
    assert (tokenizer.start_id, tokenizer.end_id, tokenizer.end_token) == (2, 3, "[SEP]")
    assert (tokenizer.pad_id, tokenizer.size) == (0, 8)
    assert tokenizer.encode("a b") == [6, 7]


def test_the_size_counts_a_gap_before_an_added_token(tmp_path, monkeypatch):
    monkeypatch.setitem(VOCABULARY, "far", 99)
    tokenizer = _wordpiece(tmp_path, None, eos_token="</s>")
    assert len(tokenizer.raw) == 9 and tokenizer.size == 100


@pytest.mark.parametrize(
    ("template", "start"),
    [
        (None, None),
        ("<s> $A", 4),
        ("<s> $A </s>", 4),
        ("$A </s>", None),  # what the empty text gives here is the end
        ("</s> $A", 5),  # one token for both, as GPT-2 has it
    ],
)
def test_the_start_token_is_what_the_template_puts_first(tmp_path, template, start):
    template = None if template is None else _template(template)
    tokenizer = _wordpiece(tmp_path, template, bos_token="<s>", eos_token="</s>", sep_token="[SEP]")
    assert tokenizer.start_id == start
    assert tokenizer.end_id == tokenizer.pad_id == 5
    assert tokenizer.encode("a b") == [6, 7]


def test_byte_pair_encoding_starts_where_its_template_says(checkpoint, folder):
    assert load_tokenizer(checkpoint).start_id is None
    path = folder / "tokenizer.json"
    fields = json.loads(path.read_text())
    end = {"id": "<|endoftext|>", "type_id": 0}
    fields["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": end}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {end["id"]: {"id": end["id"], "ids": [0], "tokens": [end["id"]]}},
    }
    path.write_text(json.dumps(fields))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.start_id == tokenizer.end_id == 0
    assert tokenizer.encode("the tutor") == load_tokenizer(checkpoint).encode("the tutor")


def test_every_file_that_decides_the_ids_is_hashed(folder):
    first = tokenizer_sha256(folder)
    (folder / "vocab.txt").write_text("a\nb\n")
    assert tokenizer_sha256(folder) != first


def test_loading_opens_no_connection(checkpoint, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_backbone(checkpoint)


def _write_ends(folder, config, generation):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": config}))
    (folder / "generation_config.json").write_text(json.dumps(generation))


@pytest.mark.parametrize(
    ("config", "generation", "ends"),
    [
        (0, {}, (0,)),
        (7, {"eos_token_id": None}, (0, 7)),
        (None, {"eos_token_id": 9}, (0, 9)),
        ([0, 7], {"eos_token_id": [9, 7, 0]}, (0, 7, 9)),
        ([], {"eos_token_id": [], "temperature": 0.6}, (0,)),
    ],
)
def test_end_tokens_are_those_of_tokenizer_config_and_generation(folder, config, generation, ends):
    _write_ends(folder, config, generation)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.end_ids == ends and tokenizer.end_id == 0
    loaded = load_backbone(folder)
    assert loaded.tokenizer.end_ids == ends


@pytest.mark.parametrize("named", ["2", True, 2.0, -1, [1, "2"], {"a": 1}, 10**400])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_an_end_token_that_is_no_id_is_named(folder, file, named):
    ends = {"config.json": None, "generation_config.json": None, file: named}
    _write_ends(folder, ends["config.json"], {"eos_token_id": ends["generation_config.json"]})
    with pytest.raises(
        CheckpointError, match=r"eos_token_id must be a token's id, or a list"
    ) as caught:
        load_tokenizer(folder)
    assert file in str(caught.value)


def test_a_generation_config_that_cannot_be_read_is_named(folder):
    (folder / "generation_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"generation_config\.json: cannot be read as JSON"):
        load_tokenizer(folder)


def test_what_ends_a_response_changes_no_identity(folder, checkpoint):
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 7]}')
    first, second = load_backbone(checkpoint).identity, load_backbone(folder).identity
    assert second._replace(name=first.name) == first


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
    with pytest.raises(CheckpointError, match=r"only 100 rows.*none for .* \(100\), .* more;"):
        load_backbone(folder)


def _add_tokens(folder, *tokens, **named):
    """Tokens behind those that the embedding of a folder has rows for."""
    from transformers import AutoTokenizer

    raw = AutoTokenizer.from_pretrained(folder)
    raw.add_special_tokens(named)
    raw.add_tokens(list(tokens), special_tokens=True)
    raw.save_pretrained(folder)
    return len(raw)


@pytest.mark.parametrize(
    "named", [{"pad_token": "<pad>"}, {"pad_token": "<pad>", "mask_token": "<m>"}]
)
def test_padding_beyond_the_embedding_is_taken_and_never_run(checkpoint, folder, named):
    rows = load_backbone(checkpoint).config.vocab_size
    assert _add_tokens(folder, **named) == rows + len(named)
    tokenizer = load_backbone(folder).tokenizer
    assert (tokenizer.pad_id, tokenizer.size) == (tokenizer.end_id, rows)
    assert tokenizer.encode("the tutor") == load_tokenizer(checkpoint).encode("the tutor")
    assert check_support(folder).faults == ()
    with pytest.raises(CheckpointError, match=r"a text holds <pad>.*has no row in the embedding"):
        tokenizer.encode_batch(["a", "the <pad> tutor"])


def test_what_texts_may_hold_beyond_the_embedding_is_named(folder):
    _add_tokens(folder, "<turn>", pad_token="<pad>")
    with pytest.raises(CheckpointError, match=r"none for <turn> \(\d+\); they belong") as caught:
        load_backbone(folder)
    assert str(folder) in str(caught.value)


def test_padding_within_the_embedding_stays(folder):
    fields = json.loads((folder / "config.json").read_text())
    size = _add_tokens(folder, pad_token="<pad>")
    tokenizer = load_tokenizer(folder)
    assert tokenizer.within(size) is tokenizer and tokenizer.pad_id == fields["vocab_size"]


@pytest.mark.parametrize("lacking", [("sentencepiece",), ("sentencepiece", "google.protobuf")])
def test_a_sentencepiece_file_alone_names_the_packages_that_read_it(folder, monkeypatch, lacking):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    monkeypatch.setattr(
        "coala_jax.backbones._tokenizer.find_spec", lambda name: None if name in lacking else name
    )
    packages = " ".join(SENTENCEPIECE_PACKAGES[name] for name in lacking)
    with pytest.raises(CheckpointError, match=rf"tokenizer\.model .*pip install {packages},"):
        load_tokenizer(folder)


def test_a_tokenizer_model_of_another_kind_is_left_to_transformers(folder, monkeypatch):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_text("IQ== 0\nIg== 1\n")
    monkeypatch.setattr("coala_jax.backbones._tokenizer.find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match="the tokenizer cannot be read") as caught:
        load_tokenizer(folder)
    assert "\n" not in str(caught.value)
