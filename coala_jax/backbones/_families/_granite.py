"""Granite 3: Llama with factors of embeddings, scores, residual branches and logits."""

from collections.abc import Mapping
from typing import Any

from coala_jax.backbones._config_fields import POSITIVE, QK_NORMS
from coala_jax.backbones._decoder import decoder_family
from coala_jax.backbones._decoder_config import BIASES, Variant, attention_biases

# Fields, and the attributes that they are.
FACTORS = {
    "attention_multiplier": "attention_scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_divisor",
}


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    factors = {attribute: float(given[name]) for name, attribute in FACTORS.items()}
    return {**attention_biases(given), "mlp_bias": given["mlp_bias"], **factors}


FAMILY = decoder_family(
    Variant(
        model_type="granite",
        stem="Granite",
        covers="Granite 3 without experts",
        fields={**BIASES, **dict.fromkeys(FACTORS, POSITIVE), **QK_NORMS},
        defaults={
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
            "eos_token_id": 2,
            "attention_bias": False,
            "mlp_bias": False,
            **dict.fromkeys(FACTORS, 1.0),
        },
        read=_read,
        written=("attention_bias", "mlp_bias", *FACTORS),
    )
)
