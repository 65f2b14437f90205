"""GGUF files as llama.cpp's converter writes them, of Hugging Face folders of random weights.

Names come from the package's own map, permutations and factors from ``convert_hf_to_gguf.py``.
"""

import json
import math

import gguf
import numpy as np
from safetensors.numpy import load_file

TYPES = gguf.GGMLQuantizationType
ARCHITECTURES = {"gemma3_text": "gemma3", "mistral": "llama"}
# Byte-level, as GPT-2's: the alphabet, two merged words, an end of text and of a turn.
CONTROL = ("<|endoftext|>", "<|end|>")


def write_gguf(folder, path, *, kind=TYPES.F32, metadata=None, without=(), changed=None, **options):
    """A GGUF file of a folder's model.

    Args:
        folder: with config.json and model.safetensors.
        path: of the file.
        kind: of matrices whose rows are whole blocks; the rest are F32.
        metadata: more of them, or others; None leaves one out.
        without: names of tensors to leave out.
        changed: tensors by llama.cpp's names, in place of others or besides.
        options: of the package's writer.
    """
    fields = json.loads((folder / "config.json").read_text())
    arch = ARCHITECTURES.get(fields["model_type"], fields["model_type"])
    tensors = dict(_converted(fields, arch, load_file(folder / "model.safetensors")))
    tensors |= _rope_tensors(fields)
    tensors |= changed or {}
    sizes = {
        **_sizes(fields, arch),
        **byte_level_metadata(fields["vocab_size"]),
        **(metadata or {}),
    }
    kinds = {
        name: kind
        if array.ndim > 1 and array.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
        else TYPES.F32
        for name, array in tensors.items()
    }
    tensors = {name: array for name, array in tensors.items() if name not in without}
    return write_file(path, arch, sizes, tensors, kinds, **options)


def write_file(path, arch, metadata, tensors, kinds=None, **options):
    """A GGUF file of these metadata and tensors; F32 where no kind is given."""
    writer = gguf.GGUFWriter(path, arch, **options)
    for key, value in metadata.items():
        add_field(writer, key, value)
    for name, array in tensors.items():
        kind = (kinds or {}).get(name, TYPES.F32)
        raw = gguf.quantize(np.ascontiguousarray(array, np.float32), kind)
        writer.add_tensor(name, raw, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_field(writer, key, value):
    """A value under a key, by its Python type; None leaves it out."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def byte_level_metadata(count, pre="gpt-2"):
    """A byte-level vocabulary of so many tokens, two of them control tokens."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    merges = ["t h", "th e", "Ġ the", "i n"]
    words = [*CONTROL, *bytes_to_unicode().values(), *(one.replace(" ", "") for one in merges)]
    tokens = [words[i] if i < len(words) else f"[PAD{i}]" for i in range(count)]
    kinds = [3 if token in CONTROL else 5 if token.startswith("[PAD") else 1 for token in tokens]
    there = set(tokens)
    kept = [one for one in merges if {*one.split(" "), one.replace(" ", "")} <= there]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": kept or ["t h"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.padding_token_id": 0,
    }


def sentencepiece_metadata(words, **more):
    """A vocabulary of sentencepiece: controls, bytes, letters, and these words, the best first."""
    letters = sorted({letter for word in words for letter in word})
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *letters, *words, "<|turn|>", "<b>"]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(letters) + len(words)) + [3, 4]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(i) for i in range(len(tokens))],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        **{f"tokenizer.ggml.{key}": value for key, value in more.items()},
    }


def _sizes(fields, arch):
    heads = fields["num_attention_heads"]
    rope = fields.get("rope_parameters") or {}
    scaling = rope.get("full_attention", rope) | (fields.get("rope_scaling") or {})
    plain = 1e6 if arch == "gemma3" else 1e4
    theta = fields.get("rope_theta", rope.get("full_attention", rope).get("rope_theta", plain))
    own = {
        "context_length": fields["max_position_embeddings"],
        "embedding_length": fields["hidden_size"],
        "block_count": fields["num_hidden_layers"],
        "feed_forward_length": fields["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": fields.get("num_key_value_heads") or heads,
        "attention.layer_norm_rms_epsilon": fields["rms_norm_eps"],
        "rope.freq_base": float(theta),
        "attention.sliding_window": fields.get("sliding_window"),
        "attn_logit_softcapping": fields.get("attn_logit_softcapping"),
        "final_logit_softcapping": fields.get("final_logit_softcapping"),
    }
    width = fields.get("head_dim") or fields["hidden_size"] // heads
    if arch == "llama":
        own["rope.dimension_count"] = width
    if "head_dim" in fields:
        own |= {"attention.key_length": width, "attention.value_length": width}
    if "partial_rotary_factor" in fields:
        own["rope.dimension_count"] = int(fields["partial_rotary_factor"] * width)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind in ("linear", "yarn"):
        own |= {"rope.scaling.type": kind, "rope.scaling.factor": scaling["factor"]}
    trained = scaling.get(
        "original_max_position_embeddings", fields.get("original_max_position_embeddings")
    )
    if kind in ("yarn", "longrope"):
        own["rope.scaling.original_context_length"] = trained
    if kind == "longrope":
        scale = fields["max_position_embeddings"] / trained
        own["rope.scaling.attn_factor"] = math.sqrt(1 + math.log(scale) / math.log(trained))
    return {f"{arch}.{key}": value for key, value in own.items()}


def _converted(fields, arch, tensors):
    number = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == arch)
    names = gguf.get_tensor_name_map(number, fields["num_hidden_layers"])
    heads = fields["num_attention_heads"]
    key_heads = fields.get("num_key_value_heads") or heads
    for name, array in tensors.items():
        stem, _, end = name.rpartition(".")
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            array = _permuted(array, heads if "q_proj" in name else key_heads)
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            array = array + 1
        yield f"{names.get_name(stem)}.{end}", array


def _permuted(weights, heads):
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def _rope_tensors(fields):
    scaling = fields.get("rope_scaling") or fields.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "longrope":
        return {
            f"rope_factors_{name}.weight": np.array(scaling[f"{name}_factor"], np.float32)
            for name in ("long", "short")
        }
    if kind != "llama3":
        return {}
    width = fields.get("head_dim") or fields["hidden_size"] // fields["num_attention_heads"]
    base = fields.get("rope_theta", 10000.0)
    factor, low, high = (scaling[key] for key in ("factor", "low_freq_factor", "high_freq_factor"))
    trained = scaling["original_max_position_embeddings"]
    factors = []
    for i in range(0, width, 2):
        length = 2 * math.pi * base ** (i / width)
        smooth = min(max((trained / length - low) / (high - low), 0), 1)
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return {"rope_freqs.weight": np.array(factors, np.float32)}
