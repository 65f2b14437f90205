"""A GGUF model as a Hugging Face checkpoint: what llama.cpp's converter changed of it, undone.

Metadata become the fields of a ``config.json``, names of tensors Hugging Face's. What a file does
not say is what transformers' reading takes for it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from coala_jax.backbones._config_fields import SIZE
from coala_jax.backbones._errors import CheckpointError
from coala_jax.backbones._gguf import (
    GgufFile,
    read_gguf,
    require_readable,
    stored_gguf_tensor,
)
from coala_jax.backbones._rope import FULL, SLIDING
from coala_jax.backbones._stored_tensor import StoredTensor

# Names before `.weight` or `.bias`: of the model, and of a layer.
MODEL_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GEMMA_NAMES = {
    **LAYER_NAMES,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
PHI3_NAMES = {**LAYER_NAMES, "attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"}
LAYER = re.compile(r"blk\.(\d+)\.(.+)\.(weight|bias)")
EMBEDDING, HEAD = "token_embd.weight", "output.weight"
# Rotary frequencies, which go into the configuration: what divides each of them.
FREQUENCY_FACTORS = "rope_freqs.weight"
SHORT_FACTORS, LONG_FACTORS = "rope_factors_short.weight", "rope_factors_long.weight"
# The same for all models, and computed.
ROTARY = re.compile(r"rope_freqs\.weight|rope_factors_(short|long)\.weight|.*\.attn_rot_embd\..*")

# Which layers see a window: of each, or one in so many sees all.
PATTERN = "attention.sliding_window_pattern"
# Keys behind the architecture's name, and what a config.json calls them.
REQUIRED = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
# Of these, what must be positive integers before anything is worked out with them.
SIZES = (
    *("context_length", "embedding_length", "block_count", "feed_forward_length"),
    *("attention.head_count", "attention.head_count_kv", "attention.key_length"),
    *("rope.dimension_count", PATTERN),
)
OPTIONAL = {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.causal": "is_causal",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "expert_count": "num_local_experts",
    "rope.freq_base": "rope_theta",
}
# Of scores and logits; 0 is none.
CAPS = ("attn_logit_softcapping", "final_logit_softcapping")
TOKENS = {
    "tokenizer.ggml.bos_token_id": "bos_token_id",
    "tokenizer.ggml.eos_token_id": "eos_token_id",
    "tokenizer.ggml.padding_token_id": "pad_token_id",
}
# Said by the tensors too, or of what is behind the hidden states.
SAID_ELSEWHERE = ("vocab_size", "pooling_type", "rope.scaling.finetuned", "tensor_data_layout")
YARN_BOUNDS = ("beta_fast", "beta_slow")
# What Gemma divides attention scores by the root of is not in a file. It is the width of a head but
# for these models, known by their layers, where it is the width of the model by its heads.
GEMMA_SCALE = 256
WIDE_GEMMAS = {"gemma2": 46, "gemma3": 62}
# One layer in so many sees all, unless the file says it.
GEMMA3_PATTERN = 6
GEMMA3_LOCAL_BASE = 10_000.0

Fields = dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """What llama.cpp's converter does to models of a type.

    Attributes:
        model_type: Hugging Face's.
        names: of a layer's tensors there, by the names here.
        more: adds fields of the type: ``more(fields, given, file)``, taking what it reads out of
            the metadata ``given``.
        paired: rows of queries and keys lie in pairs that turn together.
        shifted: norms are stored as 1 + w.
    """

    model_type: str
    names: Mapping[str, str]
    more: Callable[[Fields, Fields, GgufFile], None]
    paired: bool = False
    shifted: bool = False


def gguf_config(path: Path) -> Fields:
    """The ``config.json`` that a GGUF model would have.

    Args:
        path: the file, or the first of several.

    Returns:
        Fields in Hugging Face's spelling. Metadata of which nothing is known keep their key,
        without the architecture's name.

    Raises:
        CheckpointError: as `read_gguf`; another architecture; sizes that are missing or differ from
            layer to layer.
    """
    file = read_gguf(path)
    try:
        return _fields(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def gguf_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a GGUF model under Hugging Face's names and as it has them.

    Raises:
        CheckpointError: as `read_gguf`; another architecture; types that cannot be read.
    """
    file = read_gguf(path)
    require_readable(path, file.tensors)
    try:
        architecture = _architecture(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    found = {}
    for name, tensor in file.tensors.items():
        if not ROTARY.fullmatch(name):
            stored = stored_gguf_tensor(tensor)
            found[_name(architecture, name)] = _undone(architecture, name, stored, file)
    return found


def _architecture(file: GgufFile) -> Architecture:
    name = str(file.metadata.get("general.architecture"))
    if name not in ARCHITECTURES:
        raise CheckpointError(
            f"general.architecture={name!r} is not supported; supported: "
            f"{', '.join(ARCHITECTURES)}; use the model's Hugging Face folder"
        )
    return ARCHITECTURES[name]


def _fields(file: GgufFile) -> Fields:
    architecture = _architecture(file)
    prefix = f"{file.metadata['general.architecture']}."
    given = {
        key.removeprefix(prefix): _one(key, value)
        for key, value in file.metadata.items()
        if key.startswith(prefix)
    }
    if lost := [prefix + key for key in REQUIRED if key not in given]:
        raise CheckpointError(f"metadata lack {', '.join(lost)}; convert the model again")
    if faults := [SIZE.fault(prefix + key, given[key]) for key in SIZES if _no_size(given, key)]:
        raise CheckpointError("; ".join(faults))
    fields: Fields = {"model_type": architecture.model_type}
    fields |= _renamed(given, {**REQUIRED, **OPTIONAL})
    tokens = {key: _plain(file.metadata[key]) for key in TOKENS if key in file.metadata}
    fields |= _renamed(tokens, TOKENS)
    fields |= {name: fields[name] or None for name in CAPS if name in fields}
    fields["tie_word_embeddings"] = HEAD not in file.tensors
    if EMBEDDING in file.tensors:
        fields["vocab_size"] = file.tensors[EMBEDDING].shape[0]
    _add_head_widths(fields, given)
    architecture.more(fields, given, file)
    _add_rope_scaling(fields, given, file)
    return fields | {key: value for key, value in given.items() if key not in SAID_ELSEWHERE}


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def _no_size(given: Fields, key: str) -> bool:
    """Whether something is said that is no size; windows may be said of each layer."""
    by_layer = key == PATTERN and isinstance(given.get(key), list)
    return key in given and not (by_layer or SIZE.fits(given[key]))


def _one(key: str, value: Any) -> Any:
    """A number that is the same for all layers; the pattern of windows may be of each."""
    if not isinstance(value, np.ndarray):
        return value
    if key.endswith(PATTERN):
        return value.tolist()
    if len(set(value.tolist())) != 1:
        raise CheckpointError(f"{key}={value.tolist()} differs by layer, which is not supported")
    return value.tolist()[0]


def _add_head_widths(fields: Fields, given: Fields) -> None:
    """Widths of values, which are those of keys, and of what turns of a head."""
    values, turned = given.pop("attention.value_length", None), given.pop("rope.dimension_count", 0)
    width = fields.get("head_dim")
    if width is None:  # as Hugging Face has it where nothing is said
        width = fields["hidden_size"] // fields["num_attention_heads"]
        if fields["model_type"] in ("llama", "mistral") and turned:
            width = fields["head_dim"] = turned
    if width == 0:
        raise CheckpointError(
            f"embedding_length={fields['hidden_size']} is less than one for each of the "
            f"{fields['num_attention_heads']} heads (attention.head_count); convert the model again"
        )
    if values not in (None, width):
        raise CheckpointError(
            f"attention.value_length={values} is not supported; that of keys, {width}, is"
        )
    if turned not in (0, width):
        fields["partial_rotary_factor"] = turned / width


def _add_rope_scaling(fields: Fields, given: Fields, file: GgufFile) -> None:
    """How rotary frequencies are stretched: by factors of each, or of all."""
    positions = fields["max_position_embeddings"]
    kind = given.pop("rope.scaling.type", "")
    trained = given.pop("rope.scaling.original_context_length", 0) or positions
    factor = given.pop("rope.scaling.factor", 0.0)
    older = given.pop("rope.scale_linear", 1.0)  # as files said it first
    if FREQUENCY_FACTORS in file.tensors:  # of Llama 3.1: LongRoPE whatever the length
        factors = _numbers(file, FREQUENCY_FACTORS)
        scaling = {
            "rope_type": "longrope",
            "short_factor": factors,
            "long_factor": factors,
            "attention_factor": 1.0,
            "original_max_position_embeddings": positions,
        }
    elif SHORT_FACTORS in file.tensors:
        fields["original_max_position_embeddings"] = trained
        scaling = {
            "rope_type": "longrope",
            "short_factor": _numbers(file, SHORT_FACTORS),
            "long_factor": _numbers(file, LONG_FACTORS),
        } | _renamed(given, {"rope.scaling.attn_factor": "attention_factor"})
    elif kind == "yarn":
        scaling = {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": trained,
        } | _renamed(given, {f"rope.scaling.yarn_{name}": name for name in YARN_BOUNDS})
    elif kind == "linear" or (not kind and (factor or older) != 1):
        # llama.cpp, too, takes a factor without a type for this one.
        scaling = {"rope_type": "linear", "factor": factor or older}
    elif kind in ("none", ""):
        return
    else:
        raise CheckpointError(
            f"rope.scaling.type={kind!r} is not supported without a factor of each frequency; "
            "linear, yarn and none are"
        )
    fields["rope_scaling"] = scaling


def _renamed(given: Fields, names: Mapping[str, str]) -> Fields:
    """What of the metadata is there, by other names, taken out of them."""
    return {name: given.pop(key) for key, name in names.items() if key in given}


def _numbers(file: GgufFile, name: str) -> list[float]:
    """The numbers of a small tensor."""
    if name not in file.tensors:
        raise CheckpointError(f"tensor {name} is missing")
    require_readable(file.tensors[name].file, {name: file.tensors[name]})
    values: list[float] = stored_gguf_tensor(file.tensors[name]).read().ravel().tolist()
    return values


def _add_llama(fields: Fields, given: Fields, file: GgufFile) -> None:
    """Biases by the tensors that are there; windows, which make it a Mistral."""
    if window := given.pop("attention.sliding_window", 0):
        fields |= {"model_type": "mistral", "sliding_window": window}
    fields["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
    fields["mlp_bias"] = "blk.0.ffn_gate.bias" in file.tensors


def _add_qwen(fields: Fields, given: Fields, file: GgufFile) -> None:
    if fields["model_type"] == "qwen3":
        fields["attention_bias"] = "blk.0.attn_q.bias" in file.tensors


def _add_phi3(fields: Fields, given: Fields, file: GgufFile) -> None:
    fields["sliding_window"] = given.pop("attention.sliding_window", 0) or None


def _add_gemma(name: str, fields: Fields, given: Fields, file: GgufFile) -> None:
    """Windows, activation and the scale of scores, none of which is in every file."""
    layers = fields["num_hidden_layers"]
    fields["hidden_activation"] = "gelu_pytorch_tanh"
    wide = layers == WIDE_GEMMAS[name]
    scale = fields["hidden_size"] // fields["num_attention_heads"] if wide else GEMMA_SCALE
    fields["query_pre_attn_scalar"] = scale
    if window := given.pop("attention.sliding_window", 0):
        fields["sliding_window"] = window
    pattern = given.pop(PATTERN, GEMMA3_PATTERN if "3" in name else 2)
    if not isinstance(pattern, list):
        pattern = [(layer + 1) % pattern != 0 for layer in range(layers)]
    fields["layer_types"] = [SLIDING if one else FULL for one in pattern]
    if name == "gemma3":
        local = given.pop("rope.freq_base_swa", GEMMA3_LOCAL_BASE)
        fields["rope_local_base_freq"] = local


def _name(architecture: Architecture, name: str) -> str:
    """Hugging Face's name of a tensor; one that is not known keeps its own, and fits nowhere."""
    if match := LAYER.fullmatch(name):
        number, inner, end = match.groups()
        if inner in architecture.names:
            return f"model.layers.{number}.{architecture.names[inner]}.{end}"
        return name
    stem, _, end = name.rpartition(".")
    return f"{MODEL_NAMES[stem]}.{end}" if stem in MODEL_NAMES else name


def _undone(
    architecture: Architecture, name: str, stored: StoredTensor, file: GgufFile
) -> StoredTensor:
    """A tensor as Hugging Face has it."""
    if architecture.shifted and name.endswith("norm.weight"):
        return stored._replace(read=lambda: stored.read() - 1)
    match = LAYER.fullmatch(name)
    if architecture.paired and match and match[2] in ("attn_q", "attn_k"):
        heads = _heads(file, "" if match[2] == "attn_q" else "_kv")
        return stored._replace(read=partial(_halved, stored, heads))
    return stored


def _heads(file: GgufFile, suffix: str) -> int:
    prefix = f"{file.metadata['general.architecture']}.attention.head_count"
    key = prefix + suffix if prefix + suffix in file.metadata else prefix
    return int(_one(key, file.metadata[key]))


def _halved(stored: StoredTensor, heads: int) -> np.ndarray:
    """Rows of each head from pairs, (0, 1), (2, 3), ..., to halves: row k turns with k + half."""
    values = stored.read()
    pairs = values.reshape(heads, -1, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", LAYER_NAMES, _add_llama, paired=True),
    "qwen2": Architecture("qwen2", LAYER_NAMES, _add_qwen),
    "qwen3": Architecture("qwen3", LAYER_NAMES, _add_qwen),
    "gemma2": Architecture("gemma2", GEMMA_NAMES, partial(_add_gemma, "gemma2"), shifted=True),
    "gemma3": Architecture("gemma3_text", GEMMA_NAMES, partial(_add_gemma, "gemma3"), shifted=True),
    "phi3": Architecture("phi3", PHI3_NAMES, _add_phi3),
}
