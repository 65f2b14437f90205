"""Gemma 2 and 3, and the text part of Gemma 3 that also reads pictures.

What sets them apart from Llama: embeddings times the root of the width, norms around attention and
feed-forward with weights 1 + w, a scale of the scores of its own, layers that see a window between
those that see all. Gemma 2 bends scores and logits; Gemma 3 has norms of queries and keys, and
layers with a window turn by positions of another base.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from coala_jax._errors import CoalaError
from coala_jax.backbones._config_fields import (
    ANY,
    FLAG,
    MAPPING,
    POSITIVE,
    SIZE,
    Kind,
    check_fields,
    or_null,
)
from coala_jax.backbones._decoder import decoder_family
from coala_jax.backbones._decoder_config import (
    LAYERED_ROPE,
    NO_BIASES,
    DecoderConfig,
    Variant,
    attention_biases,
    read_decoder_config,
)
from coala_jax.backbones._windows import Windows, layered_windows

FIELDS: Mapping[str, Kind] = {
    **NO_BIASES,
    "attention_bias": FLAG,
    "query_pre_attn_scalar": POSITIVE,
    "sliding_window": or_null(SIZE),
    "final_logit_softcapping": or_null(POSITIVE),
}
DEFAULTS = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "eos_token_id": 1,
    "attention_bias": False,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}
WRITTEN = ("attention_bias", "query_pre_attn_scalar", "final_logit_softcapping")
# Where a model that reads pictures keeps its text part.
TEXT_CONFIG = "text_config"


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **attention_biases(given),
        "attention_scale": given["query_pre_attn_scalar"] ** -0.5,
        "attention_cap": given.get("attn_logit_softcapping") or None,
        "logit_cap": given.get("final_logit_softcapping"),
        "embedding_scale": math.sqrt(given["hidden_size"]),
    }


def _windows_of_gemma2(fields: Mapping[str, Any]) -> Windows:
    """Every other layer slides, the first among them."""
    layers = range(fields["num_hidden_layers"])
    return layered_windows(fields, [layer % 2 == 0 for layer in layers])


def _windows_of_gemma3(fields: Mapping[str, Any]) -> Windows:
    """All layers slide but every sixth."""
    period = fields["sliding_window_pattern"]
    layers = range(1, 1 + fields["num_hidden_layers"])
    return layered_windows(fields, [layer % period != 0 for layer in layers])


GEMMA2 = decoder_family(
    Variant(
        model_type="gemma2",
        stem="Gemma2",
        covers="Gemma 2",
        fields={
            **FIELDS,
            "attn_logit_softcapping": or_null(POSITIVE),
            # Another name of the window in the first checkpoints, beside its own.
            "sliding_window_size": ANY,
        },
        defaults={
            **DEFAULTS,
            "vocab_size": 256000,
            "max_position_embeddings": 8192,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        aliases={"hidden_act": "hidden_activation"},
        traits={"norm": "rms_offset", "norms": "around"},
        read=_read,
        written=(*WRITTEN, "attn_logit_softcapping"),
        windows=_windows_of_gemma2,
    )
)
_GEMMA3 = Variant(
    model_type="gemma3_text",
    stem="Gemma3",
    covers="Gemma 3 270M and 1B, and text parts of the larger ones",
    fields={
        **FIELDS,
        **LAYERED_ROPE,
        "sliding_window_pattern": SIZE,
        "_sliding_window_pattern": ANY,
    },
    defaults={
        **DEFAULTS,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "rope_theta": 1e6,
        "sliding_window_pattern": 6,
    },
    aliases={"hidden_act": "hidden_activation"},
    traits={"norm": "rms_offset", "norms": "around", "qk_norm": "head"},
    read=_read,
    written=WRITTEN,
    windows=_windows_of_gemma3,
    local_theta=1e4,
    # The last three are of models that read pictures too, as versions of transformers write them.
    prefixes=("model.", "model.language_model.", "language_model.model.", "language_model."),
)
GEMMA3_TEXT = decoder_family(_GEMMA3)


PICTURES_FIELDS: Mapping[str, Kind] = {
    TEXT_CONFIG: MAPPING._replace(keys=frozenset(_GEMMA3.known_fields)),
    "tie_word_embeddings": FLAG,
    **dict.fromkeys(("vision_config", "mm_tokens_per_image"), ANY),
}


def _read_text_part(fields: Mapping[str, Any]) -> DecoderConfig:
    """The configuration of the text part of a model that reads pictures.

    Raises:
        ValueError: there is none of Gemma 3, or a value in it that cannot be honoured.
    """
    check_fields("gemma3", fields, PICTURES_FIELDS)
    part = fields.get(TEXT_CONFIG)
    if not isinstance(part, Mapping) or part.get("model_type", "gemma3_text") != "gemma3_text":
        raise CoalaError(
            f"gemma3 config: {TEXT_CONFIG} must be an object of model_type gemma3_text, got "
            f"{part!r:.80}"
        )
    tied = {"tie_word_embeddings": fields.get("tie_word_embeddings", True)}
    return read_decoder_config(_GEMMA3, {**tied, **part})


GEMMA3 = replace(
    GEMMA3_TEXT,
    read_config=_read_text_part,
    fields=PICTURES_FIELDS,
    ignored=rf"{GEMMA3_TEXT.ignored}|(model\.)?(vision_tower|multi_modal_projector)\..*",
    covers="Gemma 3 4B, 12B and 27B, their text part",
)
