"""Small checkpoints of every family and odd setting, with weights that any machine makes alike."""

import json

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from coala_jax.backbones._checkpoint import load_module, read_config
from coala_jax.backbones._registry import FAMILIES

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
