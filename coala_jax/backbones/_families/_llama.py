"""Llama 2, 3, 3.1, 3.2, 3.3 and others of their layout, from which the other decoders differ."""

from collections.abc import Mapping
from typing import Any

from coala_jax.backbones._config_fields import QK_NORMS
from coala_jax.backbones._decoder import decoder_family
from coala_jax.backbones._decoder_config import BIASES, Variant, attention_biases


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    return {**attention_biases(given), "mlp_bias": given["mlp_bias"]}


FAMILY = decoder_family(
    Variant(
        model_type="llama",
        stem="Llama",
        covers="Llama 2, 3, 3.1, 3.2, 3.3 and others of their layout",
        fields={**BIASES, **QK_NORMS},
        defaults={
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
            "attention_bias": False,
            "mlp_bias": False,
        },
        read=_read,
        written=("attention_bias", "mlp_bias"),
    )
)
