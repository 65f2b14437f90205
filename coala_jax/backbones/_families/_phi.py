"""Phi-3, 3.5 and 4: Llama with fused matrices, LongRoPE, and heads of which a part may turn."""

from coala_jax.backbones._config_fields import ANY, FRACTION, ONE, QK_NORMS, SIZE, only, or_null
from coala_jax.backbones._decoder import decoder_family
from coala_jax.backbones._decoder_config import NO_BIASES, Variant
from coala_jax.backbones._windows import same_window

FAMILY = decoder_family(
    Variant(
        model_type="phi3",
        stem="Phi3",
        covers="Phi-3 mini and medium, Phi-3.5 mini, Phi-4, Phi-4 mini",
        fields={
            **NO_BIASES,
            "sliding_window": or_null(SIZE),
            "partial_rotary_factor": FRACTION,
            # The code that it names is that of transformers' own class, which is not run.
            "auto_map": ANY,
            # Of Phi-4 mini: no layer is left out, no position stretched, and the head has no bias.
            **dict.fromkeys(("full_attn_mod", "interpolate_factor"), ONE),
            "lm_head_bias": only(False),
            **QK_NORMS,
        },
        defaults={
            "vocab_size": 32064,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "rms_norm_eps": 1e-5,
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "eos_token_id": 32000,
        },
        traits={"fused": "blocks"},
        written=("original_max_position_embeddings",),
        windows=same_window,
        partial_rope=True,
    )
)
