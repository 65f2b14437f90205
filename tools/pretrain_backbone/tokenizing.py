"""The embedded backbone's tokenizer: byte-level BPE trained on the generator's text."""

import json
from collections.abc import Iterable
from pathlib import Path

# Covers the concept base in about 1.3 tokens a word and leaves room for the layers in 4 MB.
VOCAB_SIZE = 2048
END_TOKEN = "<|endoftext|>"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"


def write_tokenizer(folder: Path, texts: Iterable[str], max_length: int) -> None:
    """Train a tokenizer and write ``tokenizer.json`` and ``tokenizer_config.json``.

    All 256 bytes are in its alphabet, so any UTF-8 text has ids and comes back unchanged.

    Args:
        folder: where to write; made where it does not exist.
        texts: what to train on.
        max_length: context of the model it belongs to.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[END_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER_FILE).write_text(tokenizer.to_str(pretty=False), encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_TOKEN,
        "bos_token": END_TOKEN,
        "unk_token": END_TOKEN,
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
    }
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
