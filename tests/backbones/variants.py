"""Small checkpoints of every family and odd setting, with weights that any machine makes alike."""

import json

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from coala_jax.backbones._checkpoint import load_module, read_config
from coala_jax.backbones._families import FAMILIES

SIZES = {
    "vocab_size": 31,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "eos_token_id": 0,
    "bos_token_id": 0,
    "pad_token_id": 0,
}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
GPT2_SIZES = {
    "vocab_size": 31,
    "n_embd": 16,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "eos_token_id": 0,
    "bos_token_id": 0,
}
ENCODER_SIZES = {
    "vocab_size": 31,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
NEOX_SIZES = {
    "vocab_size": 31,
    "hidden_size": 32,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-3,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
# Name to config.json. Both spellings of the rotary settings occur.
CAUSAL = {
    "gpt2": {"model_type": "gpt2", **GPT2_SIZES},
    "llama": {"model_type": "llama", **SIZES, "rope_theta": 500.0, "num_key_value_heads": None},
    "llama tied, one key head, biases": {
        "model_type": "llama",
        **SIZES,
        "num_key_value_heads": 1,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
        "hidden_act": "gelu_pytorch_tanh",
    },
    "llama wide heads, llama3 rope": {
        "model_type": "llama",
        **SIZES,
        "head_dim": 6,
        "rope_theta": 500.0,
        "rope_scaling": {"rope_type": "llama3", **LLAMA3},
    },
    "llama linear rope": {
        "model_type": "llama",
        **SIZES,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 4.0},
    },
    "llama dynamic rope": {
        "model_type": "llama",
        **SIZES,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
    },
    "qwen2 yarn rope": {
        "model_type": "qwen2",
        **SIZES,
        "head_dim": 8,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "mistral sliding": {"model_type": "mistral", **SIZES, "sliding_window": 5},
    "mistral without window": {"model_type": "mistral", **SIZES, "sliding_window": None},
    "qwen2 tied, upper layers sliding": {
        "model_type": "qwen2",
        **SIZES,
        "tie_word_embeddings": True,
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 1,
    },
    "qwen3": {"model_type": "qwen3", **SIZES, "head_dim": 10},
    "qwen3 layer types": {
        "model_type": "qwen3",
        **SIZES,
        "head_dim": 4,
        "attention_bias": True,
        "use_sliding_window": True,
        "sliding_window": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "gemma2": {
        "model_type": "gemma2",
        **SIZES,
        "head_dim": 6,
        "query_pre_attn_scalar": 9,
        "sliding_window": 5,
        "attn_logit_softcapping": 1.5,
        "final_logit_softcapping": 0.7,
    },
    "gemma2 untied, layer types, no caps": {
        "model_type": "gemma2",
        **SIZES,
        "head_dim": 4,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "hidden_activation": "gelu",
        "sliding_window": 4,
        "layer_types": ["full_attention", "full_attention", "sliding_attention"],
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        **SIZES,
        "head_dim": 6,
        "query_pre_attn_scalar": 9,
        "sliding_window": 5,
        "sliding_window_pattern": 2,
        "rope_theta": 5000.0,
        "rope_local_base_freq": 50.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "final_logit_softcapping": 0.7,
    },
    "gemma3, both bases by layer": {
        "model_type": "gemma3_text",
        **SIZES,
        "head_dim": 4,
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 900.0, "factor": 4.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 40.0},
        },
    },
    "phi3": {"model_type": "phi3", **SIZES, "sliding_window": 9},
    "phi3 longrope, part of a head": {
        "model_type": "phi3",
        **SIZES,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "tie_word_embeddings": True,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 48,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0, 1.25, 2.0],
            "long_factor": [1.5, 3.0, 6.0],
        },
    },
    "olmo2": {"model_type": "olmo2", **SIZES},
    "olmo2 biases, tied": {
        "model_type": "olmo2",
        **SIZES,
        "attention_bias": True,
        "tie_word_embeddings": True,
    },
    "olmo3": {
        "model_type": "olmo3",
        **SIZES,
        "num_hidden_layers": 4,
        "sliding_window": 5,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "attention_factor": 1.2,
        },
    },
    "smollm3": {"model_type": "smollm3", **SIZES, "no_rope_layer_interval": 2},
    "smollm3 sliding, biases": {
        "model_type": "smollm3",
        **SIZES,
        "no_rope_layers": [0, 1, 1],
        "use_sliding_window": True,
        "sliding_window": 6,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": False,
    },
    "granite": {
        "model_type": "granite",
        **SIZES,
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.3,
        "residual_multiplier": 0.5,
        "logits_scaling": 4.0,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
    },
    "gpt_neox": {"model_type": "gpt_neox", **NEOX_SIZES},
    "gpt_neox one after the other, whole heads": {
        "model_type": "gpt_neox",
        **NEOX_SIZES,
        "use_parallel_residual": False,
        "attention_bias": False,
        "rotary_pct": 1.0,
        "rotary_emb_base": 100.0,
        "tie_word_embeddings": True,
        "hidden_act": "gelu_new",
    },
}
ENCODERS = {
    "bert": {"model_type": "bert", **ENCODER_SIZES},
    "bert, one token type, relu": {
        "model_type": "bert",
        **ENCODER_SIZES,
        "type_vocab_size": 1,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-3,
    },
    "roberta": {"model_type": "roberta", **ENCODER_SIZES, "type_vocab_size": 1},
    "xlm-roberta, other padding": {
        "model_type": "xlm-roberta",
        **ENCODER_SIZES,
        "pad_token_id": 4,
    },
}
VARIANTS = CAUSAL | ENCODERS


def filled(name, shape):
    """Weights from the tensor's name alone; norms near 1."""
    n = int(np.prod(shape))
    waves = np.sin(sum(name.encode()) + 1.7 * np.arange(n)).reshape(shape)
    is_norm = "norm" in name.lower() or "ln_" in name
    return (1 + 0.2 * waves if is_norm and "weight" in name else 0.3 * waves).astype(np.float32)


def write_variant(folder, fields):
    """A checkpoint folder of these fields with `filled` weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    family = FAMILIES[fields["model_type"]]
    config = family.read_config(fields)
    save_file(
        {
            family.stored_name(name): filled(name, shape)
            for name, shape in tensor_shapes(family, config).items()
        },
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder


def tensor_shapes(family, config):
    """Shape of every tensor of a checkpoint."""
    from flax import nnx

    module = nnx.eval_shape(lambda: family.make(config, nnx.Rngs(0), jnp.float32))
    shapes = {
        tuple(map(str, path)): leaf.shape
        for path, leaf in nnx.to_flat_state(nnx.state(module, nnx.Param))
    }
    return {
        name: shapes[slot.path] if slot.layer is None else shapes[slot.path][1:]
        for name, slot in family.layout(config).items()
    }


def load_variant(folder, dtype=jnp.float32):
    """The module of a folder that `write_variant` made."""
    fields = read_config(folder)
    family = FAMILIES[fields["model_type"]]
    return load_module(folder, family, family.read_config(fields), dtype)
