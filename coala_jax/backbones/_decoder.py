"""Llama, Mistral and Qwen in Flax NNX: one pre-norm decoder, its layers stacked and scanned.

Computes what Hugging Face's ``LlamaModel``, ``MistralModel``, ``Qwen2Model`` and ``Qwen3Model``
compute: root-mean-square norms, rotary positions, grouped queries, gated feed-forward. The weights
of all layers lie in one array a kind, the layer leading, each as the checkpoint has it: (out, in).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from coala_jax._errors import CoalaError
from coala_jax.backbones._attention import (
    KeyValueCache,
    States,
    TokenBatch,
    attend,
    causal_sight,
    plain_batch,
)
from coala_jax.backbones._config_fields import (
    ANY,
    CAUSAL,
    COUNT,
    FLAG,
    LIST,
    NUMBER,
    QK_NORMS,
    SIZE,
    TEXT,
    TOKENS,
    Kind,
    check_fields,
    only,
    or_null,
    shown,
)
from coala_jax.backbones._family import (
    BackboneModule,
    Family,
    Slot,
    Split,
    require_head,
    require_sizes,
)
from coala_jax.backbones._ops import (
    ACTIVATIONS,
    linear,
    random_normal,
    require_activation,
    rms_norm,
)
from coala_jax.backbones._rope import ROPE_FIELDS, make_rope, rope_parameters, rotate
from coala_jax.backbones._stack import (
    LAST,
    LayerTensors,
    StackedLayers,
    count_matrix_weights,
    layer_slots,
    layer_splits,
    run_layers,
)

# Hugging Face's ``initializer_range`` of all four.
INIT_STD = 0.02
# A window that reaches every token.
NO_WINDOW = np.iinfo(np.int32).max
SLIDING, FULL = "sliding_attention", "full_attention"
# Fields of `DecoderConfig` that a config.json says by other names, or not at all.
NOT_WRITTEN = ("windows", "qkv_bias", "output_bias", "qk_norm", "mlp_bias", "has_head", "rope")
HEAD_TENSOR = "lm_head.weight"
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
OPTIONAL_SIZES = ("num_key_value_heads", "head_dim")
# Of a config.json of any of the four: what is read, and what has one value that is computed.
FIELDS: Mapping[str, Kind] = {
    **dict.fromkeys(SIZES, SIZE),
    **dict.fromkeys(OPTIONAL_SIZES, or_null(SIZE)),
    "rms_norm_eps": NUMBER,
    "hidden_act": TEXT,
    "tie_word_embeddings": FLAG,
    "eos_token_id": or_null(TOKENS),
    "layer_types": or_null(LIST),
    "is_causal": CAUSAL,
    "use_bidirectional_attention": only(False),
    "position_embedding_type": only("rope", "rotary"),
    **ROPE_FIELDS,
}


@dataclass(frozen=True)
class DecoderConfig:
    """The fields of a Hugging Face ``config.json`` that decide what the decoder computes.

    Attributes:
        model_type: ``llama``, ``mistral``, ``qwen2`` or ``qwen3``.
        vocab_size: rows of the token embedding.
        hidden_size: width of the hidden states.
        intermediate_size: width inside the feed-forward block.
        num_hidden_layers: number of layers.
        num_attention_heads: query heads.
        num_key_value_heads: key and value heads; must divide the query heads.
        head_dim: width of a head; heads times it may differ from the hidden size.
        max_position_embeddings: longest sequence.
        rms_norm_eps: added to the mean square in every norm.
        hidden_act: a key of ``ACTIVATIONS``.
        windows: sliding window of every layer in tokens, None where it sees all.
        qkv_bias: queries, keys and values have biases.
        output_bias: the projection after attention has one.
        mlp_bias: the feed-forward block has them.
        qk_norm: queries and keys of every head pass a norm.
        tie_word_embeddings: the token embedding scores next tokens as well.
        has_head: something scores them; False where it is not tied and the checkpoint has no
            ``lm_head.weight``.
        rope: settings of the rotary embedding, from `rope_parameters`, as sorted pairs.
        eos_token_id: end-of-text token or tokens; None where unknown.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    hidden_act: str = "silu"
    windows: tuple[int | None, ...] = ()
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tie_word_embeddings: bool = False
    has_head: bool = True
    rope: tuple[tuple[str, Any], ...] = (("rope_theta", 10_000.0), ("rope_type", "default"))
    eos_token_id: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check sizes and names.

        Raises:
            ValueError: names the field and its value.
        """
        owner = self.model_type
        require_sizes(owner, self, (*SIZES, *OPTIONAL_SIZES))
        require_activation(owner, "hidden_act", self.hidden_act)
        if self.num_attention_heads % self.num_key_value_heads:
            raise CoalaError(
                f"{owner} config: num_key_value_heads={self.num_key_value_heads} must divide "
                f"num_attention_heads={self.num_attention_heads}"
            )
        if self.head_dim % 2:
            raise CoalaError(f"{owner} config: head_dim={self.head_dim} must be even")
        if self.windows and len(self.windows) != self.num_hidden_layers:
            raise CoalaError(
                f"{owner} config: {len(self.windows)} layer_types for "
                f"{self.num_hidden_layers} layers (num_hidden_layers)"
            )

    @property
    def max_length(self) -> int:
        """Longest sequence."""
        return self.max_position_embeddings

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self.num_hidden_layers

    @property
    def matrix_weights(self) -> int:
        """Weights in a layer's matrices."""
        return count_matrix_weights(layer_tensors(self))

    @property
    def attention_width(self) -> int:
        """Query heads times the width of a head."""
        return self.num_attention_heads * self.head_dim

    def to_dict(self) -> dict[str, Any]:
        """Write the ``config.json`` that Hugging Face's ``AutoModelForCausalLM`` reads."""
        fields = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in NOT_WRITTEN
        }
        ending = "ForCausalLM" if self.has_head else "Model"
        fields["architectures"] = [VARIANTS[self.model_type].stem + ending]
        fields["rope_parameters"] = dict(self.rope)
        fields["attention_dropout"] = 0.0
        if self.model_type == "llama":
            fields |= {"attention_bias": self.output_bias, "mlp_bias": self.mlp_bias}
        if self.model_type == "qwen3":
            fields |= {"attention_bias": self.output_bias}
        widths = {window for window in self.windows if window is not None}
        if self.model_type == "mistral":
            fields["sliding_window"] = next(iter(widths), None)
        elif VARIANTS[self.model_type].layered_windows:
            fields["use_sliding_window"] = bool(widths)
            fields["sliding_window"] = next(iter(widths), None)
            fields["layer_types"] = [FULL if w is None else SLIDING for w in self.windows] or [
                FULL
            ] * self.num_hidden_layers
        return fields


@dataclass(frozen=True)
class _Variant:
    """What sets a model type apart from the others.

    Attributes:
        stem: how Hugging Face's classes begin.
        fields: that the others do not have, or of which one value is computed.
        defaults: of fields that a ``config.json`` may leave out.
        qkv_bias: biases of queries, keys and values; None means ``attention_bias`` says.
        mlp_bias: whether a ``mlp_bias`` field counts.
        qk_norm: norms of queries and keys.
        window: whether ``sliding_window`` alone makes every layer slide.
        layered_windows: whether layers slide as ``use_sliding_window``, ``max_window_layers`` and
            ``layer_types`` say.
    """

    stem: str
    fields: Mapping[str, Kind]
    defaults: Mapping[str, Any]
    qkv_bias: bool | None = None
    mlp_bias: bool = False
    qk_norm: bool = False
    window: bool = False
    layered_windows: bool = False


NO_BIASES = {"attention_bias": only(False), "mlp_bias": only(False)}
LAYERED_WINDOWS = {
    "use_sliding_window": FLAG,
    "sliding_window": or_null(SIZE),
    "max_window_layers": COUNT,
}
VARIANTS: Mapping[str, _Variant] = {
    "llama": _Variant(
        "Llama",
        {"attention_bias": FLAG, "mlp_bias": FLAG, **QK_NORMS},
        {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
        },
        mlp_bias=True,
    ),
    "mistral": _Variant(
        "Mistral",
        {**NO_BIASES, "sliding_window": or_null(SIZE), **QK_NORMS},
        {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "sliding_window": 4096,
        },
        qkv_bias=False,
        window=True,
    ),
    "qwen2": _Variant(
        "Qwen2",
        # It has biases of queries, keys and values, whatever this says.
        {**NO_BIASES, "attention_bias": ANY, **LAYERED_WINDOWS, **QK_NORMS},
        {
            "vocab_size": 151936,
            "hidden_size": 4096,
            "intermediate_size": 22016,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "max_position_embeddings": 32768,
            "sliding_window": 4096,
            "max_window_layers": 28,
        },
        qkv_bias=True,
        layered_windows=True,
    ),
    "qwen3": _Variant(
        "Qwen3",
        {**NO_BIASES, "attention_bias": FLAG, **LAYERED_WINDOWS, **dict.fromkeys(QK_NORMS, ANY)},
        {
            "vocab_size": 151936,
            "hidden_size": 4096,
            "intermediate_size": 22016,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "head_dim": 128,
            "max_position_embeddings": 32768,
            "sliding_window": 4096,
            "max_window_layers": 28,
        },
        qk_norm=True,
        layered_windows=True,
    ),
}


def read_decoder_config(model_type: str, fields: Mapping[str, Any]) -> DecoderConfig:
    """Read a Hugging Face ``config.json``, already parsed.

    Fields that do not change an evaluation pass (dropout, cache, versions) are ignored.

    Args:
        model_type: a key of ``VARIANTS``.
        fields: the parsed JSON object, in the spelling of any version of transformers.

    Returns:
        The configuration; absent fields take Hugging Face's defaults.

    Raises:
        ValueError: a value that this module cannot honour, named with its key.
    """
    variant = VARIANTS[model_type]
    check_fields(model_type, fields, {**FIELDS, **variant.fields})
    given = {**variant.defaults, **fields}
    heads = given["num_attention_heads"]
    bias = bool(given.get("attention_bias", False))
    layers = given["num_hidden_layers"]
    try:
        rope = rope_parameters(fields, given["max_position_embeddings"])
        windows = _windows(variant, given, layers)
    except ValueError as error:
        raise CoalaError(f"{model_type} config: {error}") from error
    eos = given.get("eos_token_id")
    return DecoderConfig(
        model_type=model_type,
        vocab_size=given["vocab_size"],
        hidden_size=given["hidden_size"],
        intermediate_size=given["intermediate_size"],
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=_either(given.get("num_key_value_heads"), heads),
        head_dim=_either(given.get("head_dim"), given["hidden_size"] // heads),
        max_position_embeddings=given["max_position_embeddings"],
        rms_norm_eps=given.get("rms_norm_eps", 1e-6),
        hidden_act=given.get("hidden_act", "silu"),
        windows=windows,
        qkv_bias=bias if variant.qkv_bias is None else variant.qkv_bias,
        output_bias=bias and variant.qkv_bias is None,
        mlp_bias=variant.mlp_bias and bool(given.get("mlp_bias", False)),
        qk_norm=variant.qk_norm,
        tie_word_embeddings=bool(given.get("tie_word_embeddings", False)),
        rope=tuple(sorted(rope.items())),
        eos_token_id=tuple(eos) if isinstance(eos, list) else eos,
    )


def _either(value: Any, default: Any) -> Any:
    return default if value is None else value


def _windows(variant: _Variant, fields: Mapping[str, Any], layers: int) -> tuple[int | None, ...]:
    """Sliding window of every layer; empty where none slides.

    Raises:
        ValueError: ``layer_types`` that are not known, or that the other fields do not allow.
    """
    window = fields.get("sliding_window")
    kinds = fields.get("layer_types")
    if unknown := sorted({str(kind) for kind in kinds or ()} - {SLIDING, FULL}):
        raise CoalaError(f"layer_types: {', '.join(unknown)} not supported; {SLIDING}, {FULL} are")
    slides = fields.get("use_sliding_window") if variant.layered_windows else variant.window
    if not slides or window is None:
        if SLIDING in (kinds or ()):
            mend = "set them" if variant.layered_windows or variant.window else f"{FULL} alone is"
            raise CoalaError(
                f"layer_types: {SLIDING} needs a window and layers that slide by "
                f"use_sliding_window and sliding_window; {mend}"
            )
        return ()
    if variant.window:
        if FULL in (kinds or ()):
            raise CoalaError(
                f"layer_types={shown(kinds)} is not supported; with sliding_window={window} "
                f"{SLIDING} in every layer is"
            )
        return (window,) * layers
    if kinds is None:
        first = fields["max_window_layers"]
        kinds = [SLIDING if layer >= first else FULL for layer in range(layers)]
    return tuple(window if kind == SLIDING else None for kind in kinds)


def layer_tensors(config: DecoderConfig) -> LayerTensors:
    """The tensors of a layer, behind ``layers.<n>.``; weights are (out, in)."""
    width, inner = config.hidden_size, config.intermediate_size
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    tensors = {
        "input_norm": ("input_layernorm.weight", (width,)),
        "q_weight": ("self_attn.q_proj.weight", (queries, width)),
        "k_weight": ("self_attn.k_proj.weight", (keys, width)),
        "v_weight": ("self_attn.v_proj.weight", (keys, width)),
        "o_weight": ("self_attn.o_proj.weight", (width, queries)),
        "attention_norm": ("post_attention_layernorm.weight", (width,)),
        "gate_weight": ("mlp.gate_proj.weight", (inner, width)),
        "up_weight": ("mlp.up_proj.weight", (inner, width)),
        "down_weight": ("mlp.down_proj.weight", (width, inner)),
    }
    if config.qkv_bias:
        tensors |= {
            "q_bias": ("self_attn.q_proj.bias", (queries,)),
            "k_bias": ("self_attn.k_proj.bias", (keys,)),
            "v_bias": ("self_attn.v_proj.bias", (keys,)),
        }
    if config.output_bias:
        tensors["o_bias"] = ("self_attn.o_proj.bias", (width,))
    if config.mlp_bias:
        tensors |= {
            "gate_bias": ("mlp.gate_proj.bias", (inner,)),
            "up_bias": ("mlp.up_proj.bias", (inner,)),
            "down_bias": ("mlp.down_proj.bias", (width,)),
        }
    if config.qk_norm:
        tensors |= {
            "q_norm": ("self_attn.q_norm.weight", (config.head_dim,)),
            "k_norm": ("self_attn.k_norm.weight", (config.head_dim,)),
        }
    return tensors


class Decoder(BackboneModule):
    """A causal decoder without dropout: token ids to hidden states."""

    causal = True

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        """Make a module with random weights.

        Args:
            config: sizes and variants.
            rngs: the stream ``params`` (or ``default``) gives the initial weights.
            dtype: floating type of the weights and of the computation.
        """
        self.config = config
        embedding = (config.vocab_size, config.hidden_size)
        self.embedding = nnx.Param(INIT_STD * random_normal(rngs.params(), embedding, dtype))
        self.layers = StackedLayers(
            layer_tensors(config), config.depth, INIT_STD, rngs=rngs, dtype=dtype
        )
        self.norm = nnx.Param(jnp.ones((config.hidden_size,), dtype))
        if config.has_head and not config.tie_word_embeddings:
            self.lm_head = nnx.Param(INIT_STD * random_normal(rngs.params(), embedding, dtype))

    @property
    def generates(self) -> bool:
        """Whether anything scores next tokens."""
        return bool(self.config.has_head)

    def __call__(self, tokens: jax.Array, attention_mask: jax.Array | None = None) -> jax.Array:
        """Hidden states after the final norm.

        Args:
            tokens: (batch, length) integers below ``vocab_size``.
            attention_mask: (batch, length), true or 1 at real tokens, padding on either side. None
                means that every token is real. Hidden states at padding mean nothing.

        Returns:
            (batch, length, hidden_size) in the dtype of the weights.

        Raises:
            ValueError: a length beyond ``max_position_embeddings``, or a mask of another shape.
        """
        batch = plain_batch(tokens, attention_mask, self.config.max_length)
        return self.states(batch).hidden[0]

    def states(
        self,
        batch: TokenBatch,
        cache: KeyValueCache | None = None,
        layers: Sequence[int] = LAST,
        *,
        keep: bool = False,
    ) -> States:
        """Hidden states of token trees, behind a cache where there is one.

        Args:
            batch: the tokens, each with its position and who sees it.
            cache: of the tokens before.
            layers: which hidden states, as in `run_layers`.
            keep: give keys and values for `append` too.

        Returns:
            The states.
        """
        config = self.config
        sight = causal_sight(batch, cache)
        rope = make_rope(dict(config.rope), config.head_dim)
        windows = jnp.array([_either(w, NO_WINDOW) for w in config.windows], jnp.int32)

        def layer(number: jax.Array, hidden: jax.Array, cached: Any) -> Any:
            weights = self.layers.of(number)
            visible = sight.within(windows[number]) if config.windows else sight
            normed = rms_norm(hidden, weights["input_norm"], config.rms_norm_eps)
            query, key, value = _project(config, weights, normed)
            query, key = (rotate(x, rope, batch.positions) for x in (query, key))
            mixed = attend(query, key, value, visible, config.head_dim**-0.5, cached)
            hidden = hidden + linear(mixed, weights["o_weight"], weights.get("o_bias"))
            normed = rms_norm(hidden, weights["attention_norm"], config.rms_norm_eps)
            return hidden + _feed_forward(config, weights, normed), (key, value)

        def finish(hidden: jax.Array) -> jax.Array:
            return rms_norm(hidden, self.norm[...], config.rms_norm_eps)

        hidden = self.embedding[...][batch.tokens]
        return run_layers(layer, finish, hidden, config.depth, layers, cache, keep=keep)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Scores of the next token.

        Args:
            hidden: (..., hidden_size), as ``__call__`` gives them.

        Returns:
            (..., vocab_size) in the dtype of ``hidden``.

        Raises:
            ValueError: nothing scores them.
        """
        require_head(self.config.has_head)
        head = self.embedding if self.config.tie_word_embeddings else self.lm_head
        return linear(hidden, head[...])


def _project(
    config: DecoderConfig, weights: Mapping[str, jax.Array], hidden: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values by heads: (batch, length, heads, head_dim) each."""

    def heads(name: str) -> jax.Array:
        joint = linear(hidden, weights[f"{name}_weight"], weights.get(f"{name}_bias"))
        split = joint.reshape(*joint.shape[:2], -1, config.head_dim)
        norm = weights.get(f"{name}_norm")
        return split if norm is None else rms_norm(split, norm, config.rms_norm_eps)

    return heads("q"), heads("k"), heads("v")


def _feed_forward(
    config: DecoderConfig, weights: Mapping[str, jax.Array], hidden: jax.Array
) -> jax.Array:
    gate = linear(hidden, weights["gate_weight"], weights.get("gate_bias"))
    up = linear(hidden, weights["up_weight"], weights.get("up_bias"))
    inner = ACTIVATIONS[config.hidden_act](gate) * up
    return linear(inner, weights["down_weight"], weights.get("down_bias"))


def _layout(config: DecoderConfig) -> dict[str, Slot]:
    """Name of every tensor of a checkpoint, and its place in the module."""
    layout = {
        "embed_tokens.weight": Slot(("embedding",)),
        "norm.weight": Slot(("norm",)),
    }
    if config.has_head and not config.tie_word_embeddings:
        layout[HEAD_TENSOR] = Slot(("lm_head",))
    return layout | layer_slots("layers", "layers", layer_tensors(config), config.depth)


def _splits(config: DecoderConfig) -> dict[tuple[str, ...], Split]:
    """Embeddings by vocabulary, the layers by heads and inner width."""
    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    return {
        ("embedding",): Split(-2, config.vocab_size),
        ("lm_head",): Split(-2, config.vocab_size),
        **layer_splits("layers", heads, key_heads, config.intermediate_size),
    }


def _family(model_type: str, covers: str) -> Family:
    def read(fields: Mapping[str, Any]) -> DecoderConfig:
        return read_decoder_config(model_type, fields)

    def make(config: DecoderConfig, rngs: nnx.Rngs, dtype: DTypeLike) -> Decoder:
        return Decoder(config, rngs=rngs, dtype=dtype)

    return Family(
        read_config=read,
        fields={**FIELDS, **VARIANTS[model_type].fields},
        stem=VARIANTS[model_type].stem,
        make=make,
        layout=_layout,
        prefix="model.",
        unprefixed=(HEAD_TENSOR,),
        # Frequencies that old exports stored, and what classifies.
        ignored=r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq|(score|classifier|qa_outputs)\..*",
        covers=covers,
        splits=_splits,
        more_prefixes=("transformer.",),  # of models that answer questions
        embedding="embed_tokens.weight",
        head=HEAD_TENSOR,
    )


LLAMA = _family("llama", "Llama 2, 3, 3.1, 3.2, 3.3 and others of their layout")
MISTRAL = _family("mistral", "Mistral 7B, Dolphin 2.6")
QWEN2 = _family("qwen2", "Qwen 2, Qwen 2.5")
QWEN3 = _family("qwen3", "Qwen 3 without experts")
