"""Fields of a ``config.json``: what those that are read may be, and what the others would change.

A field is one of four kinds. It is read, and has a type; it has one value that is computed, and any
other is refused; it changes nothing that is computed here; or it is unknown, and said to be so.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from coala_jax._errors import CoalaError

# Characters of a value that a message shows.
SHOWN = 80
# Sizes and ids are int32, other numbers float32.
LARGEST_WHOLE = int(np.iinfo(np.int32).max)
LARGEST_NUMBER = float(np.finfo(np.float32).max)


class Kind(NamedTuple):
    """What a field may be.

    Attributes:
        fits: whether a value is that.
        expected: what is; of a field with one value that is computed, what to do instead.
        typed: any value of a type is computed.
        keys: of an object, those that are read.
    """

    fits: Callable[[Any], bool]
    expected: str
    typed: bool = True
    keys: frozenset[str] = frozenset()

    def fault(self, name: str, value: Any) -> str:
        """What is wrong with a value that does not fit."""
        if self.typed:
            return f"{name} must be {self.expected}, got {shown(value)}"
        return f"{name}={shown(value)} is not supported; {self.expected}"


def shown(value: Any) -> str:
    """A value as a message shows it."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def is_whole(value: Any, least: int = 0) -> bool:
    """Whether a value is an integer of 32 bits, no boolean, of at least so much."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and least <= value <= LARGEST_WHOLE


def is_number(value: Any) -> bool:
    """Whether a value is a number of at least 0 that float32 can hold, no boolean."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= LARGEST_NUMBER


def _above_0(value: Any) -> bool:
    return is_number(value) and value > 0


def or_null(kind: Kind) -> Kind:
    """The kind, or null."""
    return kind._replace(
        fits=lambda value: value is None or kind.fits(value), expected=f"{kind.expected}, or null"
    )


def only(*values: Any) -> Kind:
    """A field of which these values alone are computed; null means that it is not set."""

    def fits(value: Any) -> bool:
        alike = (
            value == one and isinstance(value, bool) == isinstance(one, bool) for one in values
        )
        return value is None or any(alike)

    return Kind(fits, f"{' or '.join(map(shown, values))} is", typed=False)


SIZE = Kind(lambda value: is_whole(value, 1), "a positive integer")
COUNT = Kind(is_whole, "an integer of at least 0")
NUMBER = Kind(is_number, "a finite number of at least 0")
POSITIVE = Kind(_above_0, "a positive number")
FRACTION = Kind(lambda value: is_number(value) and 0 < value <= 1, "a number above 0 and at most 1")
FACTORS = Kind(
    lambda value: isinstance(value, list | tuple) and bool(value) and all(map(_above_0, value)),
    "a list of positive numbers",
)
FLAG = Kind(lambda value: isinstance(value, bool), "true or false")
TEXT = Kind(lambda value: isinstance(value, str), "a text")
LIST = Kind(lambda value: isinstance(value, list), "a list")
MAPPING = Kind(lambda value: isinstance(value, Mapping), "an object")
TOKENS = Kind(
    lambda value: is_whole(value) or (isinstance(value, list) and all(map(is_whole, value))),
    "a token's id, or a list of them",
)
# Known, and of no account for the family.
ANY = Kind(lambda value: True, "")
# Set to something, other models compute otherwise by it.
UNSET = Kind(lambda value: not value, "null is", typed=False)
ONE = only(1)
# Null, too, lets some versions of transformers see every token.
CAUSAL = Kind(lambda value: value is True, "true is", typed=False)

# Fields by which models of other types, or code of a checkpoint's own, compute otherwise.
OTHERWISE: Mapping[str, Kind] = {
    "auto_map": Kind(
        lambda value: (
            not isinstance(value, Mapping)
            or not any(str(name).startswith("AutoModel") for name in value)
        ),
        "code of a checkpoint is never run; leave it out where the weights are of the plain model",
        typed=False,
    ),
    "quantization_config": Kind(
        lambda value: value is None,
        "use the checkpoint in float32, float16 or bfloat16",
        typed=False,
    ),
    "is_encoder_decoder": only(False),
    "add_cross_attention": only(False),
    "no_rope_layers": Kind(
        lambda value: not value or (isinstance(value, list) and all(one == 1 for one in value)),
        "rotary positions in every layer are",
        typed=False,
    ),
    **dict.fromkeys(
        (
            "alibi",
            "attention_chunk_size",
            "attn_logit_softcapping",
            "attn_temperature_tuning",
            "clip_qkv",
            "cross_attention_hidden_size",
            "emb_layer_norm_before",
            "final_logit_softcapping",
            "moe_num_experts",
            "n_routed_experts",
            "no_rope_layer_interval",
            "num_experts",
            "num_local_experts",
            "parallel_attn",
            "per_layer_config",
            "pruned_heads",
            "query_pre_attn_scalar",
            "relative_attention",
            "rope_interleave",
            "rope_interleaved",
            "scale_embedding",
            "token_dropout",
            "use_alibi",
            "use_parallel_residual",
            "use_post_norm",
            "use_sandwich_norm",
        ),
        UNSET,
    ),
    **dict.fromkeys(
        (
            "attention_in_multiplier",
            "attention_multiplier",
            "attention_out_multiplier",
            "attention_value_scale",
            "embedding_multiplier",
            "embedding_scale",
            "key_multiplier",
            "lm_head_multiplier",
            "logit_scale",
            "logits_scaling",
            "output_multiplier",
            "residual_multiplier",
            "residual_scale",
            "rope_pct",
            "rotary_pct",
            "scale_emb",
        ),
        ONE,
    ),
}
# Norms of queries and keys; a family that has them has their tensors.
QK_NORMS = dict.fromkeys(("qk_layernorm", "qk_norm", "use_qk_layernorm", "use_qk_norm"), UNSET)

# What concerns training, generation, heads behind the hidden states, other programs or the file.
CHANGES_NOTHING = frozenset(
    (
        *("architectures", "model_type", "task_specific_params", "tokenizer_class", "torchscript"),
        *("dtype", "torch_dtype", "use_bfloat16", "transformers_version", "transformers_weights"),
        *("name_or_path", "_name_or_path", "_model_name_or_path", "_commit_hash", "prefix"),
        *("sentence_transformers",),
        *("attn_implementation", "experts_implementation", "use_flash_attention", "use_cache"),
        *("transformers.js_config", "gradient_checkpointing", "chunk_size_feed_forward"),
        *("pretraining_tp", "return_dict", "return_dict_in_generate", "tf_legacy_loss"),
        *("output_attentions", "output_hidden_states", "output_past", "output_scores"),
        *("id2label", "label2id", "num_labels", "_num_labels", "problem_type", "finetuning_task"),
        *("tie_encoder_decoder", "predict_special_tokens", "n_special", "directionality"),
        *("is_llama_config", "sbert_ce_default_activation_function"),
        *("cache_implementation", "keys_to_ignore_at_inference", "model_max_length"),
        *("tokenizer_model_max_length", "tokenizer_padding_side", "max_sequence_length"),
        # For generation by transformers.
        *("max_length", "min_length", "max_new_tokens", "min_new_tokens", "do_sample"),
        *("early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature"),
        *("top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "length_penalty"),
        *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "num_return_sequences"),
        *("bad_words_ids", "remove_invalid_values", "exponential_decay_length_penalty"),
        *("suppress_tokens", "begin_suppress_tokens", "is_decoder"),
    )
)
CHANGE_NOTHING = re.compile(
    r".*dropout.*|.*_pdrop|.*_token_ids?|.*_token_index|_(attn|experts|flash)_.*"
    r"|(initializer|pooler|summary|unsloth)_.*|.*_loss(_.*)?"
)
# How classes of transformers go on after the name of their model.
CLASS_ENDS = r"(PreTrained|LMHead|DoubleHeads)?Model|For\w+"


def check_fields(owner: str, fields: Mapping[str, Any], known: Mapping[str, Kind]) -> None:
    """Raise for a value that is no value of its field, or one that is not what is computed.

    Args:
        owner: the family, for the message.
        fields: the parsed ``config.json``.
        known: of the family's fields, those that are read or have one value.

    Raises:
        ValueError: names the first field, its value and what it may be.
    """
    for name, kind in {**OTHERWISE, **known}.items():
        if name in fields and not kind.fits(fields[name]):
            raise CoalaError(f"{owner} config: {kind.fault(name, fields[name])}")


def _changes_nothing(name: str) -> bool:
    return name in CHANGES_NOTHING or CHANGE_NOTHING.fullmatch(name) is not None


def unknown_fields(
    stem: str, fields: Mapping[str, Any], known: Mapping[str, Kind]
) -> dict[str, Any]:
    """Fields that are set and of which nothing is known; classes that are not the family's.

    Args:
        stem: how transformers' classes of the family begin.
        fields: the parsed ``config.json``.
        known: of the family's fields, those that are read or have one value.

    Returns:
        Their values by name; a key of an object has the object's name before it.
    """
    found = {
        name: value
        for name, value in fields.items()
        if value and name not in {*known, *OTHERWISE} and not _changes_nothing(name)
    }
    for name, kind in known.items():
        held = fields.get(name)
        if kind.keys and isinstance(held, Mapping):
            found |= {
                f"{name}.{key}": value
                for key, value in held.items()
                if value and key not in kind.keys and not _changes_nothing(key)
            }
    classes = fields.get("architectures")
    named = classes if isinstance(classes, list) else []
    pattern = re.compile(rf"(TF|Flax)?{stem}({CLASS_ENDS})", re.IGNORECASE)
    if other := [one for one in named if not pattern.fullmatch(str(one))]:
        found["architectures"] = other
    return found
