"""Causal decoders in Flax NNX: one stack of layers, scanned, for all families of Llama's kind.

Computes what Hugging Face's ``LlamaModel`` computes, and what the models compute that differ from
it in what a `DecoderConfig` says: norms, rotary positions, windows, fused matrices, factors. The
weights of all layers lie in one array a kind, the layer leading, each as the checkpoint has it:
(out, in).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from coala_jax.backbones._attention import (
    KeyValueCache,
    Sight,
    States,
    TokenBatch,
    attend,
    causal_sight,
)
from coala_jax.backbones._decoder_config import DecoderConfig, Variant, read_decoder_config
from coala_jax.backbones._family import CausalModule, Family, Slot, Split
from coala_jax.backbones._ops import (
    ACTIVATIONS,
    bent,
    layer_norm,
    linear,
    offset_rms_norm,
    random_normal,
    rms_norm,
)
from coala_jax.backbones._rope import Rope, Turn, make_rope, rotate, turn_of
from coala_jax.backbones._stack import (
    LAST,
    LayerTensors,
    StackedLayers,
    layer_slots,
    layer_splits,
    run_layers,
)

# Hugging Face's ``initializer_range`` of all of them.
INIT_STD = 0.02
# A window that reaches every token.
NO_WINDOW = np.iinfo(np.int32).max
HEAD_TENSOR = "lm_head.weight"
Weights = Mapping[str, jax.Array]
Cached = tuple[jax.Array, jax.Array] | None


def layer_tensors(config: DecoderConfig) -> LayerTensors:
    """The tensors of a layer, behind ``layers.<n>.``, by Llama's names; weights are (out, in)."""
    width, inner = config.hidden_size, config.intermediate_size
    queries, keys = config.attention_width, config.key_width
    matrices = {
        "q": ("self_attn.q_proj", (queries, width), config.qkv_bias),
        "k": ("self_attn.k_proj", (keys, width), config.qkv_bias),
        "v": ("self_attn.v_proj", (keys, width), config.qkv_bias),
        "o": ("self_attn.o_proj", (width, queries), config.output_bias),
        "gate": ("mlp.gate_proj", (inner, width), config.mlp_bias),
        "up": ("mlp.up_proj", (inner, width), config.mlp_bias),
        "down": ("mlp.down_proj", (width, inner), config.mlp_bias),
    }
    if config.fused:
        for name in "qkv":
            del matrices[name]
        joint = (queries + 2 * keys, width)
        matrices["qkv"] = ("self_attn.qkv_proj", joint, config.qkv_bias)
    if config.fused == "blocks":
        del matrices["gate"], matrices["up"]
        matrices["gate_up"] = ("mlp.gate_up_proj", (2 * inner, width), config.mlp_bias)
    if not config.gated:
        del matrices["gate"]
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, (module, shape, biased) in matrices.items():
        tensors[f"{name}_weight"] = (f"{module}.weight", shape)
        if biased:
            tensors[f"{name}_bias"] = (f"{module}.bias", shape[:1])
    norms = {name: (module, width) for name, module in NORMS[config.norms].items()}
    if config.qk_norm:
        whole = config.qk_norm == "whole"
        norms["q_norm"] = ("self_attn.q_norm", queries if whole else config.head_dim)
        norms["k_norm"] = ("self_attn.k_norm", keys if whole else config.head_dim)
    for name, (module, size) in norms.items():
        tensors[name] = (f"{module}.weight", (size,))
        if config.norm == "layer":
            tensors[f"{name}_bias"] = (f"{module}.bias", (size,))
    return tensors


# Norms before and after attention (input, attended) and feed-forward (attention, output).
NORMS: Mapping[str, Mapping[str, str]] = {
    "before": {
        "input_norm": "input_layernorm",
        "attention_norm": "post_attention_layernorm",
    },
    "after": {
        "attended_norm": "post_attention_layernorm",
        "output_norm": "post_feedforward_layernorm",
    },
    "around": {
        "input_norm": "input_layernorm",
        "attended_norm": "post_attention_layernorm",
        "attention_norm": "pre_feedforward_layernorm",
        "output_norm": "post_feedforward_layernorm",
    },
}


class Decoder(CausalModule):
    """A causal decoder without dropout: token ids to hidden states."""

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
        unit = 0.0 if config.norm == "rms_offset" else 1.0
        self.layers = StackedLayers(
            layer_tensors(config), config.depth, INIT_STD, rngs=rngs, dtype=dtype, unit=unit
        )
        self.norm = nnx.Param(jnp.full((config.hidden_size,), unit, dtype))
        if config.norm == "layer":
            self.norm_bias = nnx.Param(jnp.zeros((config.hidden_size,), dtype))
        if config.has_head and not config.tie_word_embeddings:
            self.lm_head = nnx.Param(INIT_STD * random_normal(rngs.params(), embedding, dtype))

    @property
    def output_embedding(self) -> nnx.Param[jax.Array]:
        """The token embedding, or a matrix of its own."""
        return self.embedding if self.config.tie_word_embeddings else self.lm_head

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
        windows = jnp.array([NO_WINDOW if w is None else w for w in config.windows], jnp.int32)
        hidden = self.embedding[...][batch.tokens]
        if config.embedding_scale != 1:
            hidden = hidden * jnp.asarray(config.embedding_scale, hidden.dtype)
        turns = _turns(config, batch.positions, hidden.dtype)

        def layer(number: jax.Array, hidden: jax.Array, cached: Cached) -> Any:
            weights = self.layers.of(number)
            visible = sight.within(windows[number]) if config.windows else sight
            normed = _norm(config, weights, "input_norm", hidden)
            mixed, own = _attention(config, weights, normed, turns(number), visible, cached)
            attended = hidden + _added(config, weights, "attended_norm", mixed)
            normed = _norm(
                config, weights, "attention_norm", hidden if config.parallel else attended
            )
            inner = _feed_forward(config, weights, normed)
            return attended + _added(config, weights, "output_norm", inner), own

        def finish(hidden: jax.Array) -> jax.Array:
            weights = {"norm": self.norm[...]}
            if config.norm == "layer":
                weights["norm_bias"] = self.norm_bias[...]
            return _norm(config, weights, "norm", hidden)

        return run_layers(layer, finish, hidden, config.depth, layers, cache, keep=keep)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """As `CausalModule.logits`, divided and capped as the family does."""
        divisor, logits = self.config.logit_divisor, super().logits(hidden)
        return bent(logits if divisor == 1 else logits / divisor, self.config.logit_cap)


def _turns(config: DecoderConfig, positions: jax.Array, dtype: DTypeLike) -> Any:
    """The angles of a layer, by its number."""
    ropes = [make_rope(dict(config.rope), config.head_dim)]
    kinds = np.zeros(config.depth, np.int32)
    if config.local_rope is not None and config.windows:
        ropes.append(make_rope(dict(config.local_rope), config.head_dim))
        kinds[[window is not None for window in config.windows]] = 1
    if not all(config.turning):
        kinds[[not turns for turns in config.turning]] = len(ropes)
        ropes.append(Rope(np.zeros_like(ropes[0].frequencies)))
    turns = [turn_of(rope, positions, dtype) for rope in ropes]
    if len(turns) == 1:
        return lambda number: turns[0]
    together = jax.tree.map(lambda *parts: jnp.stack(parts), *turns)
    places = jnp.asarray(kinds)
    return lambda number: jax.tree.map(lambda part: part[places[number]], together)


def _norm(config: DecoderConfig, weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """The norm of a name; ``x`` where the family has none there."""
    if name not in weights:
        return x
    if config.norm == "layer":
        return layer_norm(x, weights[name], weights[f"{name}_bias"], config.rms_norm_eps)
    norm = offset_rms_norm if config.norm == "rms_offset" else rms_norm
    return norm(x, weights[name], config.rms_norm_eps)


def _added(config: DecoderConfig, weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """What attention or feed-forward adds to the hidden states."""
    normed = _norm(config, weights, name, x)
    return normed if config.residual_scale == 1 else normed * config.residual_scale


def _attention(
    config: DecoderConfig,
    weights: Weights,
    hidden: jax.Array,
    turn: Turn,
    sight: Sight,
    cached: Cached,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Self-attention, and its keys and values."""
    query, key, value = _project(config, weights, hidden)
    query, key = rotate(query, turn), rotate(key, turn)
    scale = config.attention_scale
    scale = config.head_dim**-0.5 if scale is None else scale
    mixed = attend(query, key, value, sight, scale, cached, config.attention_cap)
    return linear(mixed, weights["o_weight"], weights.get("o_bias")), (key, value)


def _project(
    config: DecoderConfig, weights: Weights, hidden: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values by heads: (batch, length, heads, head_dim) each."""
    dense = functools.partial(_dense, weights, x=hidden)
    if config.fused == "heads":  # the three of a head lie together
        joint = dense("qkv").reshape(*hidden.shape[:2], -1, 3 * config.head_dim)
        query, key, value = jnp.split(joint, 3, axis=-1)
        return query, key, value
    if config.fused:
        cuts = (config.attention_width, config.attention_width + config.key_width)
        query, key, value = jnp.split(dense("qkv"), cuts, axis=-1)
    else:
        query, key, value = (dense(name) for name in "qkv")
    if config.qk_norm == "whole":
        query, key = (_norm(config, weights, f"{n}_norm", x) for n, x in (("q", query), ("k", key)))
    query, key, value = (
        part.reshape(*hidden.shape[:2], -1, config.head_dim) for part in (query, key, value)
    )
    if config.qk_norm == "head":
        query, key = (_norm(config, weights, f"{n}_norm", x) for n, x in (("q", query), ("k", key)))
    return query, key, value


def _feed_forward(config: DecoderConfig, weights: Weights, hidden: jax.Array) -> jax.Array:
    activate = ACTIVATIONS[config.hidden_act]
    dense = functools.partial(_dense, weights, x=hidden)
    if not config.gated:
        return _dense(weights, "down", activate(dense("up")))
    if config.fused == "blocks":
        gate, up = jnp.split(dense("gate_up"), 2, axis=-1)
    else:
        gate, up = dense("gate"), dense("up")
    return _dense(weights, "down", activate(gate) * up)


def _dense(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    return linear(x, weights[f"{name}_weight"], weights.get(f"{name}_bias"))


def _layout(variant: Variant, config: DecoderConfig) -> dict[str, Slot]:
    """Name of every tensor of a checkpoint, and its place in the module."""
    layout = {
        "embed_tokens.weight": Slot(("embedding",)),
        "norm.weight": Slot(("norm",)),
    }
    if config.norm == "layer":
        layout["norm.bias"] = Slot(("norm_bias",))
    layout |= layer_slots("layers", "layers", layer_tensors(config), config.depth)
    if variant.tensors:
        layout = {_named(variant, name): slot for name, slot in layout.items()}
    if config.has_head and not config.tie_word_embeddings:
        layout[HEAD_TENSOR] = Slot(("lm_head",))
    return layout


def _named(variant: Variant, name: str) -> str:
    """A tensor's name as the family has it."""
    module, kind = name.rsplit(".", 1)
    for llama, own in variant.tensors.items():
        if module == llama or module.endswith(f".{llama}"):
            return f"{module.removesuffix(llama)}{own}.{kind}"
    return name


def _splits(config: DecoderConfig) -> dict[tuple[str, ...], Split]:
    """Embeddings by vocabulary, the layers by heads and inner width.

    Where queries, keys and values are blocks of one matrix, a part of it is not the three of the
    same heads, and XLA moves them to where they meet.
    """
    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    inner = config.intermediate_size
    splits = layer_splits("layers", heads, key_heads, inner)
    joint = heads if config.fused == "heads" else heads + 2 * key_heads
    for name, parts in (("qkv", joint), ("gate_up", inner)):
        splits[("layers", f"{name}_weight")] = Split(-2, parts)
        splits[("layers", f"{name}_bias")] = Split(-1, parts)
    return {
        ("embedding",): Split(-2, config.vocab_size),
        ("lm_head",): Split(-2, config.vocab_size),
        **splits,
    }


def _make(config: DecoderConfig, rngs: nnx.Rngs, dtype: DTypeLike) -> Decoder:
    return Decoder(config, rngs=rngs, dtype=dtype)


def decoder_family(variant: Variant) -> Family:
    """The family of a variant."""
    # Frequencies that old exports stored, and what classifies.
    ignored = [
        r"(layers\.\d+\.(self_attn|attention)\.)?rotary_emb\.inv_freq",
        r"(score|classifier|qa_outputs)\..*",
    ]
    return Family(
        read_config=functools.partial(read_decoder_config, variant),
        fields=variant.known_fields,
        stem=variant.stem,
        make=_make,
        layout=functools.partial(_layout, variant),
        prefix=variant.prefixes[0],
        unprefixed=(HEAD_TENSOR,),
        ignored="|".join([*ignored, variant.ignored] if variant.ignored else ignored),
        covers=variant.covers,
        splits=_splits,
        # The other one is of models that answer questions.
        more_prefixes=(*variant.prefixes[1:], "transformer."),
        renamed=variant.renamed,
        embedding=_named(variant, "embed_tokens.weight"),
        head=HEAD_TENSOR,
    )
