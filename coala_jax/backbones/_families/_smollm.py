"""SmolLM3: Llama with layers that do not turn by positions."""

from collections.abc import Mapping
from typing import Any

from coala_jax._errors import CoalaError
from coala_jax.backbones._config_fields import (
    ANY,
    FLAG,
    LIST,
    QK_NORMS,
    SIZE,
    or_null,
    shown,
)
from coala_jax.backbones._decoder import decoder_family
from coala_jax.backbones._decoder_config import BIASES, Variant, attention_biases
from coala_jax.backbones._windows import Windows, layered_windows


def _turning(fields: Mapping[str, Any]) -> tuple[bool, ...]:
    """Which layers turn: ``no_rope_layers`` has a 1 for those that do."""
    given, layers = fields.get("no_rope_layers"), fields["num_hidden_layers"]
    if given is not None:
        if len(given) < layers:
            raise CoalaError(f"{len(given)} no_rope_layers for {layers} layers (num_hidden_layers)")
        if any(one not in (0, 1) for one in given):
            raise CoalaError(
                f"no_rope_layers={shown(given)} must hold a 1 for every layer that turns by "
                "positions and a 0 for every other"
            )
        return tuple(bool(one) for one in given[:layers])
    period = fields["no_rope_layer_interval"]
    return tuple(layer % period != 0 for layer in range(1, layers + 1))


def _windows(fields: Mapping[str, Any]) -> Windows:
    """Layers that do not turn slide, where any do."""
    slide = fields["use_sliding_window"] and fields.get("sliding_window") is not None
    return layered_windows(fields, [slide and not turns for turns in _turning(fields)])


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **attention_biases(given),
        "mlp_bias": given["mlp_bias"],
        "turning": _turning(given),
    }


FAMILY = decoder_family(
    Variant(
        model_type="smollm3",
        stem="SmolLM3",
        covers="SmolLM3",
        fields={
            **BIASES,
            "use_sliding_window": FLAG,
            "sliding_window": or_null(SIZE),
            "no_rope_layers": or_null(LIST),
            "no_rope_layer_interval": SIZE,
            # Of Qwen 2, from which the family comes; the layers that slide are said otherwise.
            "max_window_layers": ANY,
            **QK_NORMS,
        },
        defaults={
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32768,
            "rope_theta": 2e6,
            "tie_word_embeddings": True,
            "eos_token_id": 128001,
            "use_sliding_window": False,
            "no_rope_layer_interval": 4,
            "attention_bias": False,
            "mlp_bias": False,
        },
        read=_read,
        written=("attention_bias", "mlp_bias", "no_rope_layers", "no_rope_layer_interval"),
        windows=_windows,
    )
)
