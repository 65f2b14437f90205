"""Tokenizers of GGUF files: as transformers reads the same file, with its ends and templates."""

import numpy as np
import pytest

from coala_jax.backbones import CheckpointError
from coala_jax.backbones._tokenizer import load_tokenizer
from coala_jax.features._chat import checkpoint_chat, checkpoint_tokenizer

from .gguf_files import byte_level_metadata, sentencepiece_metadata, write_file

WORDS = ["\u2581the", "\u2581t", "he", "th", "in", "\u2581\u2581", "\u2581in", "\u2581\u2581\u2581"]
TEXTS = (
    *("the thin hint", "  two spaces", "\n\n\tin", "a1b22c333 4444", "it's IT'S we'LL", ""),
    *("héllo 日本 😀", "<s>the</s>", "the<|turn|>\nin", "<b>the", "<|end|><|endoftext|>x"),
    *("trailing ", "\u2581the", "Don't!! ...\r\n\r\nx", "e\u0301\u0301", "\x00\x7f"),
)
BYTE_LEVEL = ("default", "gpt-2", "llama-bpe", "qwen2", "gpt-4o", "tekken", "smaug-bpe")
SENTENCEPIECE = ("llama", "phi3", "gemma2", "gemma3")


def write_tokenizer(folder, metadata, arch="llama"):
    """A GGUF file with a tokenizer and one small tensor."""
    return write_file(folder / "a.gguf", arch, metadata, {"a": np.ones((2, 2))})


def transformers_tokenizer(path):
    """What transformers makes of the metadata, with its ends as `AutoTokenizer` puts them."""
    pytest.importorskip("torch")  # which its reader of headers imports
    reading = pytest.importorskip("transformers.integrations.gguf")
    from transformers import PreTrainedTokenizerFast

    architecture, vocabulary, config = reading.get_gguf_tokenizer(str(path))
    backend, _ = reading.convert_gguf_tokenizer(architecture, vocabulary)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **config)
    tokenizer.update_post_processor()
    return tokenizer


@pytest.mark.parametrize(
    ("arch", "metadata"),
    [
        *(("llama", byte_level_metadata(300, pre)) for pre in BYTE_LEVEL),
        *((arch, sentencepiece_metadata(WORDS)) for arch in SENTENCEPIECE),
    ],
    ids=[*BYTE_LEVEL, *SENTENCEPIECE],
)
def test_texts_are_encoded_and_decoded_as_by_transformers(arch, metadata, tmp_path):
    path = write_tokenizer(tmp_path, metadata, arch)
    ours, theirs = load_tokenizer(path), transformers_tokenizer(path)
    for text in TEXTS:
        ids = ours.encode(text)
        assert ids == theirs(text, add_special_tokens=False)["input_ids"], text
        assert ours.raw(text)["input_ids"] == theirs(text)["input_ids"], text
        assert ours.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False)
    assert (ours.end_token, ours.end_id) == (theirs.eos_token, theirs.eos_token_id)
    assert ours.size == len(metadata["tokenizer.ggml.tokens"])


def test_digits_stand_apart_where_the_file_says_so(tmp_path):
    metadata = byte_level_metadata(300)
    metadata |= {
        "tokenizer.ggml.tokens": [*metadata["tokenizer.ggml.tokens"][:-1], "12"],
        "tokenizer.ggml.merges": ["1 2"],
    }
    joint = load_tokenizer(write_tokenizer(tmp_path, metadata))
    apart = load_tokenizer(write_tokenizer(tmp_path, metadata | {"tokenizer.ggml.pre": "smollm"}))
    assert joint.encode("a12") == [*joint.encode("a"), 299]
    assert apart.encode("a12") == [apart.encode(one)[0] for one in "a12"]


def test_words_of_llama_3_are_whole_whatever_the_merges(tmp_path):
    """As `ignore_merges` of its tokenizer.json; transformers' reading has it not."""
    metadata = byte_level_metadata(300, "llama-bpe") | {"tokenizer.ggml.merges": ["t h"]}
    tokenizer = load_tokenizer(write_tokenizer(tmp_path, metadata))
    assert tokenizer.encode("the") == [metadata["tokenizer.ggml.tokens"].index("the")]


@pytest.mark.parametrize(
    ("more", "start", "whole"),
    [
        ({}, 1, ["<s>", "\u2581the"]),
        ({"add_bos_token": True, "add_eos_token": True}, 1, ["<s>", "\u2581the", "</s>"]),
        ({"add_bos_token": False}, None, ["\u2581the"]),
        ({"add_bos_token": False, "add_eos_token": True}, None, ["\u2581the", "</s>"]),
    ],
)
def test_a_start_and_an_end_are_put_where_the_file_says_so(more, start, whole, tmp_path):
    metadata = sentencepiece_metadata(WORDS, **more)
    tokenizer = load_tokenizer(write_tokenizer(tmp_path, metadata))
    assert tokenizer.start_id == start
    assert tokenizer.raw.convert_ids_to_tokens(tokenizer.raw("the")["input_ids"]) == whole


@pytest.mark.parametrize(("pre", "start"), [("llama-bpe", 0), ("qwen2", None)])
def test_old_files_of_llama_3_mean_a_start_they_do_not_name(pre, start, tmp_path):
    metadata = byte_level_metadata(300, pre) | {"tokenizer.ggml.add_bos_token": None}
    assert load_tokenizer(write_tokenizer(tmp_path, metadata)).start_id == start


def test_no_space_is_put_before_a_text_where_the_file_says_so(tmp_path):
    words = ["\u2581the", "the", "th"]
    with_space = load_tokenizer(write_tokenizer(tmp_path, sentencepiece_metadata(words)))
    metadata = sentencepiece_metadata(words, add_space_prefix=False)
    without = load_tokenizer(write_tokenizer(tmp_path, metadata))
    assert with_space.raw.convert_ids_to_tokens(with_space.encode("the")) == ["\u2581the"]
    assert without.raw.convert_ids_to_tokens(without.encode("the")) == ["the"]
    assert without.decode(without.encode("the")) == with_space.decode(with_space.encode("the"))


def test_ends_of_turns_and_messages_end_a_response(tmp_path):
    turn, message = 1, 7
    metadata = byte_level_metadata(300)
    ends = {"tokenizer.ggml.eot_token_id": turn, "tokenizer.ggml.eom_token_id": message}
    tokenizer = load_tokenizer(write_tokenizer(tmp_path, metadata | ends))
    assert tokenizer.end_ids == (0, turn, message)
    assert tokenizer.end_tokens[:2] == ("<|endoftext|>", "<|end|>")
    assert tokenizer.pad_id == 0


def test_control_tokens_of_other_letters_stay_whole(tmp_path):
    metadata = byte_level_metadata(300)
    tokens = [*metadata["tokenizer.ggml.tokens"][:-2], "<\uff5cUser\uff5c>", "<tool call>"]
    kinds = [*metadata["tokenizer.ggml.token_type"][:-2], 3, 4]
    metadata |= {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}
    tokenizer = load_tokenizer(write_tokenizer(tmp_path, metadata))
    assert tokenizer.encode("<\uff5cUser\uff5c><tool call>") == [298, 299]
    assert tokenizer.control_names_in("a <\uff5cUser\uff5c> <tool call>") == ["<\uff5cUser\uff5c>"]


def test_chat_templates_are_read_by_their_names(tmp_path):
    metadata = byte_level_metadata(300) | {
        "tokenizer.chat_template": "{% for m in messages %}{{ m['content'] }}|{% endfor %}",
        "tokenizer.chat_template.tools": "tools: {{ messages[0]['content'] }}",
    }
    path = write_tokenizer(tmp_path, metadata)
    assert sorted(load_tokenizer(path).chat_templates) == ["default", "tools"]
    said = [{"role": "user", "content": "hi"}]
    plain, tools = (
        checkpoint_tokenizer(path, chat_template=name).raw.apply_chat_template(
            said, tokenize=False, chat_template=load_tokenizer(path, name).own_chat_template()
        )
        for name in (None, "tools")
    )
    assert (plain, tools) == ("hi|", "tools: hi")
    with pytest.raises(CheckpointError, match="default, tools, and none called 'odd'"):
        load_tokenizer(path, "odd")
    metadata |= {"tokenizer.chat_templates": ["tools"]}  # their names, as the package writes them
    assert sorted(load_tokenizer(write_tokenizer(tmp_path, metadata)).chat_templates) == [
        *("default", "tools")
    ]
    one = metadata | {"tokenizer.chat_template.tools": None}
    assert checkpoint_chat(write_tokenizer(tmp_path, one)) is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": None}, "no tokenizer in it (tokenizer.ggml.tokens); take a file with the"),
        ({"model": "bert"}, "tokenizer.ggml.model='bert' is not supported; supported: llama, gpt2"),
        ({"model": None}, "tokenizer.ggml.model='None' is not supported"),
        ({"pre": "odd"}, "tokenizer.ggml.pre='odd' is not supported; supported: default, gpt-2"),
        ({"merges": None}, "no merges in it (tokenizer.ggml.merges)"),
        ({"merges": ["t zz"]}, "the tokenizer cannot be read (Error while initializing BPE"),
        ({"eos_token_id": None}, "names no end-of-text token; set tokenizer.ggml.eos_token_id"),
        ({"eot_token_id": 300}, "a special token has id 300, the vocabulary 300 tokens"),
        ({"eos_token_id": 300}, "a special token has id 300, the vocabulary 300 tokens"),
        ({"model": "llama", "merges": None}, "the tokenizer cannot be read"),
    ],
)
def test_what_no_tokenizer_can_be_made_of_is_said(change, message, tmp_path):
    changed = {f"tokenizer.ggml.{key}": value for key, value in change.items()}
    path = write_tokenizer(tmp_path, byte_level_metadata(300) | changed)
    with pytest.raises(CheckpointError, match=r"a\.gguf: ") as caught:
        load_tokenizer(path)
    assert message in str(caught.value)
