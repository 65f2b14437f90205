"""The tokenizer of a GGUF file, built from its metadata for transformers; torch is not needed.

llama.cpp keeps a vocabulary with the kinds of its tokens, merges or scores, and the name of how
text is split before them. Normalizers and decoders are those of the models' own ``tokenizer.json``,
but for Qwen's, which composes letters first: as in transformers' reading, that is left out.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coala_jax.backbones._config_fields import shown
from coala_jax.backbones._errors import CheckpointError
from coala_jax.backbones._gguf import gguf_metadata

PREFIX = "tokenizer.ggml."
# Kinds of tokens, as llama.cpp numbers them.
CONTROL, USER_DEFINED = 3, 4
# Tokens that end a response besides the end of text: of a turn, of a message.
END_KEYS = ("eot_token_id", "eom_token_id")
SPECIAL_TOKENS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
TEMPLATE = "tokenizer.chat_template"
SPACE = "\u2581"  # in vocabularies of sentencepiece
SCORES, MERGES = PREFIX + "scores", PREFIX + "merges"

# How byte-level vocabularies split text, by the names of llama.cpp.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2, DIGITS = "GPT-2", "GPT-2, digits apart"
SPLITS: Mapping[str, str] = {
    **dict.fromkeys(("default", "gpt-2", "phi-2"), GPT2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r"), DIGITS),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "smaug-bpe", "dbrx"), LLAMA3),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez"), QWEN2),
    **dict.fromkeys(("gpt-4o", "llama4"), GPT4O),
    "tekken": TEKKEN,
}
# Whose texts begin with a start token unless the file says otherwise.
STARTED = ("llama3", "llama-v3", "llama-bpe", "falcon3")
# Vocabularies whose words are whole where they are in them, whatever the merges give.
WHOLE_WORDS = (LLAMA3, TEKKEN)


def gguf_tokenizer(path: Path) -> tuple[Any, set[int]]:
    """The transformers tokenizer of a GGUF file, and what more ends a response.

    Args:
        path: the file, or the first of several.

    Returns:
        The tokenizer, and ids of ends of turns and messages.

    Raises:
        CheckpointError: no tokenizer in the file, a kind or a split that is not supported, or one
            that cannot be built from its metadata.
    """
    metadata = gguf_metadata(path)
    if f"{PREFIX}tokens" not in metadata:
        raise CheckpointError(
            f"{path}: no tokenizer in it ({PREFIX}tokens); take a file with the model's tokenizer, "
            "or its Hugging Face folder"
        )
    kind = str(metadata.get(f"{PREFIX}model"))
    if kind not in BUILDERS:
        raise CheckpointError(
            f"{path}: {PREFIX}model={kind!r} is not supported; supported: {', '.join(BUILDERS)}; "
            "use the model's Hugging Face folder"
        )
    try:
        return _wrapped(BUILDERS[kind](metadata), metadata), _more_ends(metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # tokenizers raises plain Exception for merges that do not fit
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: the tokenizer cannot be read ({reason})") from error


def gguf_tokenizer_sha256(path: Path) -> str:
    """SHA-256 over the metadata that decide how text becomes ids, sorted; of no chat template.

    Files of one model in several quantisations have the same.
    """
    digest = hashlib.sha256()
    for key, value in sorted(gguf_metadata(path).items()):
        if key.startswith(PREFIX) or key == "general.architecture":
            digest.update(f"{key} {_value_sha256(value)}\n".encode())
    return digest.hexdigest()


def _value_sha256(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    digest = hashlib.sha256()
    for item in value if isinstance(value, list) else [value]:
        text = str(item).encode()
        digest.update(b"%d %s" % (len(text), text))
    return digest.hexdigest()


def _wrapped(backend: Any, metadata: Mapping[str, Any]) -> Any:
    """A fast tokenizer for transformers, with the special tokens and templates of the file."""
    from transformers import PreTrainedTokenizerFast

    ids = {name: metadata.get(PREFIX + key) for name, key in SPECIAL_TOKENS.items()}
    tokens = {name: _token(metadata, i) for name, i in ids.items() if i is not None}
    _add_ends(backend, metadata)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=_chat_templates(metadata), **tokens
    )


def _token(metadata: Mapping[str, Any], number: int) -> str:
    tokens = metadata[f"{PREFIX}tokens"]
    if not 0 <= number < len(tokens):
        raise CheckpointError(
            f"a special token has id {number}, the vocabulary {len(tokens)} tokens"
        )
    return str(tokens[number])


def _add_ends(backend: Any, metadata: Mapping[str, Any]) -> None:
    """What the tokenizer itself puts around a text."""
    from tokenizers import processors

    # Old files do not say it, and llama.cpp takes it for meant.
    meant = metadata[f"{PREFIX}model"] == "llama" or metadata.get(f"{PREFIX}pre") in STARTED
    starts = metadata.get(f"{PREFIX}add_bos_token", meant)
    parts = [
        _token(metadata, metadata[key]) if text is None else text
        for asked, key, text in (
            (starts, f"{PREFIX}bos_token_id", None),
            (True, "", "$A"),
            (metadata.get(f"{PREFIX}add_eos_token", False), f"{PREFIX}eos_token_id", None),
        )
        if asked and (text or key in metadata)
    ]
    if len(parts) > 1:
        named = [(part, backend.token_to_id(part)) for part in dict.fromkeys(parts) if part != "$A"]
        backend.post_processor = processors.TemplateProcessing(single=parts, special_tokens=named)


def _more_ends(metadata: Mapping[str, Any]) -> set[int]:
    """Ends of turns and messages, which must be tokens."""
    ids = [metadata[PREFIX + key] for key in END_KEYS if PREFIX + key in metadata]
    return {number for number in ids if _token(metadata, number)}


def _chat_templates(metadata: Mapping[str, Any]) -> str | dict[str, str] | None:
    """The chat template, or several by their names."""
    found = {
        key.removeprefix(TEMPLATE).removeprefix("."): value
        for key, value in metadata.items()
        if key == TEMPLATE or key.startswith(f"{TEMPLATE}.")
    }
    for name, value in found.items():
        if not isinstance(value, str):
            key = f"{TEMPLATE}.{name}" if name else TEMPLATE
            raise CheckpointError(f"{key} must be a text, got {shown(value)}")
    own = found.pop("", None)
    if not found:
        return own
    return found if own is None else {"default": own, **found}


def _sentencepiece(metadata: Mapping[str, Any]) -> Any:
    """A vocabulary of sentencepiece, merged by scores, or in the order that Gemma's stands in."""
    from tokenizers import Tokenizer, models

    tokens = metadata[f"{PREFIX}tokens"]
    architecture = str(metadata.get("general.architecture"))
    gemma = architecture.startswith("gemma")
    if gemma:  # files have plain spaces there
        tokens = [SPACE * len(one) if " " in one and not one.strip() else one for one in tokens]
    merges = _given_merges(metadata)
    if merges is None:
        ranks = -np.arange(len(tokens)) if gemma else metadata[SCORES]
        merges = _derived_merges(tokens, ranks.tolist())
    vocabulary = {token: number for number, token in enumerate(tokens)}
    unknown = metadata.get(f"{PREFIX}unknown_token_id")
    model = models.BPE(
        vocabulary,
        merges,
        unk_token=None if unknown is None else tokens[unknown],
        fuse_unk=True,
        byte_fallback=True,
    )
    backend = Tokenizer(model)
    prefixed = metadata.get(f"{PREFIX}add_space_prefix", True) and not gemma
    _split_by_spaces(backend, architecture, prefixed)
    _add_marked_tokens(backend, vocabulary, metadata)
    return backend


def _split_by_spaces(backend: Any, architecture: str, prefixed: bool) -> None:
    """What comes before and behind the merges of sentencepiece, which differs by model."""
    from tokenizers import decoders, normalizers, pre_tokenizers

    spaces = normalizers.Replace(" ", SPACE)
    if architecture == "phi3":
        start = [normalizers.Prepend(SPACE)] if prefixed else []
        backend.normalizer = normalizers.Sequence([*start, spaces])
    elif architecture.startswith("gemma"):
        backend.normalizer = spaces
        backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        scheme = "first" if prefixed else "never"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, scheme, split=False)
    last = [decoders.Strip(" ", 1, 0)] if prefixed else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *last]
    )


def _byte_level(metadata: Mapping[str, Any]) -> Any:
    """A byte-level vocabulary, as GPT-2's, split as the file says."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    name = metadata.get(f"{PREFIX}pre", "default")
    if name not in SPLITS:
        raise CheckpointError(
            f"{PREFIX}pre={name!r} is not supported; supported: {', '.join(SPLITS)}; use the "
            "model's Hugging Face folder"
        )
    split, tokens = SPLITS[name], metadata[f"{PREFIX}tokens"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = _given_merges(metadata)
    if merges is None:
        raise CheckpointError(f"no merges in it ({MERGES}); use the model's Hugging Face folder")
    model = models.BPE(vocabulary, merges, ignore_merges=split in WHOLE_WORDS)
    backend = Tokenizer(model)
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split in (GPT2, DIGITS))
    if split == GPT2:
        backend.pre_tokenizer = plain
    else:
        digits = pre_tokenizers.Digits(individual_digits=True)
        first = digits if split == DIGITS else pre_tokenizers.Split(Regex(split), "isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence([first, plain])
    backend.decoder = decoders.ByteLevel()
    _add_marked_tokens(backend, vocabulary, metadata)
    return backend


BUILDERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "llama": _sentencepiece,
    "gpt2": _byte_level,
}


def _add_marked_tokens(
    backend: Any, vocabulary: Mapping[str, int], metadata: Mapping[str, Any]
) -> None:
    """Tokens that text is never cut within: control tokens, and what the model's makers added."""
    from tokenizers import AddedToken

    tokens, kinds = metadata[f"{PREFIX}tokens"], metadata.get(f"{PREFIX}token_type", ())
    for kind, special, add in (
        (CONTROL, True, backend.add_special_tokens),
        (USER_DEFINED, False, backend.add_tokens),
    ):
        add(
            [
                AddedToken(token, normalized=False, special=special)
                for token, own in zip(tokens, kinds, strict=False)
                if own == kind and token in vocabulary
            ]
        )


def _given_merges(metadata: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    given = metadata.get(MERGES)
    if given is None:
        return None
    merges = []
    for line in given:
        left, _, right = line.partition(" ")
        merges.append((left, right))
    return merges


def _derived_merges(tokens: Sequence[str], ranks: Sequence[float]) -> list[tuple[str, str]]:
    """The pairs that make up each token, those of the best first; of one token the longest left."""
    there = set(tokens)
    found = [
        (rank, cut, len(token) - cut, token)
        for token, rank in dict(zip(tokens, ranks, strict=True)).items()
        for cut in range(1, len(token))
        if token[:cut] in there and token[cut:] in there
    ]
    found.sort(key=lambda one: one[:3], reverse=True)
    return [(token[:cut], token[cut:]) for _, cut, _, token in found]
