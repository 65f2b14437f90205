"""Mistral 7B and others of its layout: Llama without biases, every layer with one window."""

from coala_jax.backbones._config_fields import QK_NORMS, SIZE, or_null
from coala_jax.backbones._decoder import decoder_family
from coala_jax.backbones._decoder_config import NO_BIASES, Variant
from coala_jax.backbones._windows import same_window

FAMILY = decoder_family(
    Variant(
        model_type="mistral",
        stem="Mistral",
        covers="Mistral 7B, Dolphin 2.6",
        fields={**NO_BIASES, "sliding_window": or_null(SIZE), **QK_NORMS},
        defaults={
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
        windows=same_window,
    )
)
