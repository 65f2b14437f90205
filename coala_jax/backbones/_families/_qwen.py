"""Qwen 2, 2.5 and 3: Llama with biases of queries, keys and values, or with norms of them."""

from collections.abc import Mapping
from typing import Any

from coala_jax.backbones._config_fields import ANY, COUNT, FLAG, QK_NORMS, SIZE, or_null
from coala_jax.backbones._decoder import decoder_family
from coala_jax.backbones._decoder_config import NO_BIASES, Variant, attention_biases
from coala_jax.backbones._windows import Windows, layered_windows

WINDOW_FIELDS = {
    "use_sliding_window": FLAG,
    "sliding_window": or_null(SIZE),
    "max_window_layers": COUNT,
}
DEFAULTS = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "attention_bias": False,
}


def _windows(fields: Mapping[str, Any]) -> Windows:
    """Layers from ``max_window_layers`` on slide, where any do."""
    slide = fields["use_sliding_window"] and fields["sliding_window"] is not None
    first = fields["max_window_layers"]
    layers = range(fields["num_hidden_layers"])
    return layered_windows(fields, [slide and layer >= first for layer in layers])


QWEN2 = decoder_family(
    Variant(
        model_type="qwen2",
        stem="Qwen2",
        covers="Qwen 2, Qwen 2.5",
        # It has biases of queries, keys and values, whatever this says.
        fields={**NO_BIASES, "attention_bias": ANY, **WINDOW_FIELDS, **QK_NORMS},
        defaults=DEFAULTS,
        traits={"qkv_bias": True},
        windows=_windows,
    )
)
QWEN3 = decoder_family(
    Variant(
        model_type="qwen3",
        stem="Qwen3",
        covers="Qwen 3 without experts",
        fields={
            **NO_BIASES,
            "attention_bias": FLAG,
            **WINDOW_FIELDS,
            **dict.fromkeys(QK_NORMS, ANY),
        },
        defaults={**DEFAULTS, "head_dim": 128},
        traits={"qk_norm": "head"},
        read=attention_biases,
        written=("attention_bias",),
        windows=_windows,
    )
)
