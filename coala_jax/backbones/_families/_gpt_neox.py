"""GPT-NeoX and Pythia: layer norms, parallel branches, queries, keys and values in one matrix."""

from collections.abc import Mapping
from typing import Any

from coala_jax.backbones._config_fields import FLAG, FRACTION, QK_NORMS
from coala_jax.backbones._decoder import decoder_family
from coala_jax.backbones._decoder_config import Variant, attention_biases


def _read(given: Mapping[str, Any]) -> dict[str, Any]:
    return {**attention_biases(given), "parallel": given["use_parallel_residual"]}


FAMILY = decoder_family(
    Variant(
        model_type="gpt_neox",
        stem="GPTNeoX",
        covers="GPT-NeoX, Pythia",
        fields={
            "attention_bias": FLAG,
            "use_parallel_residual": FLAG,
            "rotary_pct": FRACTION,
            **QK_NORMS,
        },
        defaults={
            "vocab_size": 50432,
            "hidden_size": 6144,
            "intermediate_size": 24576,
            "num_hidden_layers": 44,
            "num_attention_heads": 64,
            "hidden_act": "gelu",
            "max_position_embeddings": 2048,
            "layer_norm_eps": 1e-5,
            "rotary_pct": 0.25,
            "rotary_emb_base": 10_000.0,
            "eos_token_id": 2,
            "attention_bias": True,
            "use_parallel_residual": True,
        },
        aliases={
            "rms_norm_eps": "layer_norm_eps",
            "partial_rotary_factor": "rotary_pct",
            "rope_theta": "rotary_emb_base",
        },
        traits={"norm": "layer", "fused": "heads", "gated": False, "mlp_bias": True},
        read=_read,
        written=("attention_bias", "use_parallel_residual"),
        partial_rope=True,
        tensors={
            "embed_tokens": "embed_in",
            "norm": "final_layer_norm",
            "self_attn.qkv_proj": "attention.query_key_value",
            "self_attn.o_proj": "attention.dense",
            "mlp.up_proj": "mlp.dense_h_to_4h",
            "mlp.down_proj": "mlp.dense_4h_to_h",
        },
        prefixes=("gpt_neox.",),
        # Checkpoints of before transformers 5.
        renamed=(("embed_out.weight", "lm_head.weight"),),
        ignored=r"layers\.\d+\.attention\.(masked_)?bias",
    )
)
