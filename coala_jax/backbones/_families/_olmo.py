"""OLMo 2 and 3: norms after attention and feed-forward, and of whole queries and keys."""

from collections.abc import Mapping
from typing import Any

from coala_jax.backbones._config_fields import ANY, FLAG, QK_NORMS, SIZE, or_null
from coala_jax.backbones._decoder import decoder_family
from coala_jax.backbones._decoder_config import LAYERED_ROPE, NO_BIASES, Variant, attention_biases
from coala_jax.backbones._windows import Windows, layered_windows

FIELDS = {**NO_BIASES, "attention_bias": FLAG, **dict.fromkeys(QK_NORMS, ANY)}
DEFAULTS = {
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 2048,
    "eos_token_id": 50279,
    "attention_bias": False,
}
TRAITS = {"norms": "after", "qk_norm": "whole"}
THETA_OF_OLMO3 = 5e5


def _windows(fields: Mapping[str, Any]) -> Windows:
    """All layers slide but every fourth."""
    layers = range(1, 1 + fields["num_hidden_layers"])
    return layered_windows(fields, [layer % 4 != 0 for layer in layers])


OLMO2 = decoder_family(
    Variant(
        model_type="olmo2",
        stem="Olmo2",
        covers="OLMo 2",
        fields=FIELDS,
        defaults=DEFAULTS,
        traits=TRAITS,
        read=attention_biases,
        written=("attention_bias",),
    )
)
OLMO3 = decoder_family(
    Variant(
        model_type="olmo3",
        stem="Olmo3",
        covers="OLMo 3",
        fields={**FIELDS, **LAYERED_ROPE, "sliding_window": or_null(SIZE)},
        defaults={**DEFAULTS, "sliding_window": 4096, "rope_theta": THETA_OF_OLMO3},
        traits=TRAITS,
        read=attention_biases,
        written=("attention_bias",),
        windows=_windows,
        local_theta=THETA_OF_OLMO3,
    )
)
