"""GPT-2 (Radford et al. 2019) in Flax NNX, with its layers stacked and scanned.

The module computes what Hugging Face's ``GPT2Model`` computes, without dropout. The weights of all
layers lie in one array a kind, with the layer as leading axis, and ``lax.scan`` runs over them:
compile time does not grow with depth.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from coala_jax.backbones.family import Family, Slot

# Hugging Face's ``initializer_range`` of GPT-2; Radford et al. 2019, section 2.3.
INIT_STD = 0.02
# The residual branches a layer: attention and feed-forward. Their last projections start smaller
# by the square root of how many there are in all, so that the residual stream keeps its scale.
RESIDUAL_BRANCHES = 2


def _gelu_tanh(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=True)


def _gelu_exact(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "gelu": _gelu_exact,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "tanh": jnp.tanh,
}


@dataclass(frozen=True)
class GPT2Config:
    """The fields of a Hugging Face ``config.json`` that decide what GPT-2 computes.

    Attributes:
        vocab_size: rows of the token embedding.
        n_positions: longest sequence, rows of the position embedding.
        n_embd: width of the hidden states.
        n_layer: number of layers.
        n_head: attention heads; must divide ``n_embd``.
        n_inner: width inside the feed-forward block; None means ``4 * n_embd``.
        activation_function: a key of ``ACTIVATIONS``.
        layer_norm_epsilon: added to the variance in every layer norm.
        scale_attn_weights: divide attention scores by the root of the head's width.
        scale_attn_by_inverse_layer_idx: divide them by the layer's number, from 1, as well.
        eos_token_id: the end-of-text token, also used as the first one; None where unknown.
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        """Check sizes and names.

        Raises:
            ValueError: a size below one, heads that do not divide the width, an activation that
                is not in ``ACTIVATIONS``.
        """
        sizes = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "inner_width")
        for name in sizes:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"GPT-2 config: {name} must be a positive integer, got {value!r}")
        if self.n_embd % self.n_head:
            raise ValueError(f"GPT-2 config: n_head={self.n_head} must divide n_embd={self.n_embd}")
        if self.activation_function not in ACTIVATIONS:
            raise ValueError(
                f"GPT-2 config: activation_function={self.activation_function!r} is not supported; "
                f"choose one of {', '.join(ACTIVATIONS)}"
            )

    @property
    def inner_width(self) -> int:
        """Width inside the feed-forward block."""
        return 4 * self.n_embd if self.n_inner is None else self.n_inner

    @property
    def max_length(self) -> int:
        """Longest sequence that the position embedding covers."""
        return self.n_positions

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return self.n_embd

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "GPT2Config":
        """Read a Hugging Face ``config.json``, already parsed.

        Fields that do not change an evaluation pass (dropout, summary heads, versions) are ignored.

        Args:
            fields: the parsed JSON object.

        Returns:
            The configuration; fields that are absent take Hugging Face's defaults.

        Raises:
            ValueError: a value that this module cannot honour, named with its key.
        """
        if fields.get("add_cross_attention", False):
            raise ValueError("GPT-2 config: add_cross_attention=true is not supported")
        if not fields.get("tie_word_embeddings", True):
            raise ValueError("GPT-2 config: tie_word_embeddings=false is not supported")
        if fields.get("quantization_config") is not None:
            raise ValueError(
                "GPT-2 config: quantization_config is set; quantised weights are not supported, "
                "use the checkpoint in float32, float16 or bfloat16"
            )
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Write the ``config.json`` that Hugging Face's ``AutoModelForCausalLM`` reads."""
        return {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "tie_word_embeddings": True,
            **asdict(self),
            "bos_token_id": self.eos_token_id,
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
        }


# Where each array of ``LayerWeights`` lies in a checkpoint, after ``h.<layer>.``.
LAYER_TENSORS = {
    "ln_1_weight": "ln_1.weight",
    "ln_1_bias": "ln_1.bias",
    "attn_c_attn_weight": "attn.c_attn.weight",
    "attn_c_attn_bias": "attn.c_attn.bias",
    "attn_c_proj_weight": "attn.c_proj.weight",
    "attn_c_proj_bias": "attn.c_proj.bias",
    "ln_2_weight": "ln_2.weight",
    "ln_2_bias": "ln_2.bias",
    "mlp_c_fc_weight": "mlp.c_fc.weight",
    "mlp_c_fc_bias": "mlp.c_fc.bias",
    "mlp_c_proj_weight": "mlp.c_proj.weight",
    "mlp_c_proj_bias": "mlp.c_proj.bias",
}


class LayerWeights(NamedTuple):
    """The weights of one layer; of all layers where every array has a leading layer axis."""

    ln_1_weight: jax.Array
    ln_1_bias: jax.Array
    attn_c_attn_weight: jax.Array
    attn_c_attn_bias: jax.Array
    attn_c_proj_weight: jax.Array
    attn_c_proj_bias: jax.Array
    ln_2_weight: jax.Array
    ln_2_bias: jax.Array
    mlp_c_fc_weight: jax.Array
    mlp_c_fc_bias: jax.Array
    mlp_c_proj_weight: jax.Array
    mlp_c_proj_bias: jax.Array


class LayerStack(nnx.Module):
    """The parameters of all layers, each an array whose leading axis is the layer."""

    def __init__(self, config: GPT2Config, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        """Initialise as Hugging Face does: normal weights, zero biases, unit layer norms."""
        layers, width, inner = config.n_layer, config.n_embd, config.inner_width
        residual_std = INIT_STD / math.sqrt(RESIDUAL_BRANCHES * layers)

        def normal(std: float, *shape: int) -> nnx.Param[jax.Array]:
            return nnx.Param(std * _normal(rngs.params(), (layers, *shape), dtype))

        def zeros(*shape: int) -> nnx.Param[jax.Array]:
            return nnx.Param(jnp.zeros((layers, *shape), dtype))

        def ones(*shape: int) -> nnx.Param[jax.Array]:
            return nnx.Param(jnp.ones((layers, *shape), dtype))

        self.ln_1_weight = ones(width)
        self.ln_1_bias = zeros(width)
        self.attn_c_attn_weight = normal(INIT_STD, width, 3 * width)
        self.attn_c_attn_bias = zeros(3 * width)
        self.attn_c_proj_weight = normal(residual_std, width, width)
        self.attn_c_proj_bias = zeros(width)
        self.ln_2_weight = ones(width)
        self.ln_2_bias = zeros(width)
        self.mlp_c_fc_weight = normal(INIT_STD, width, inner)
        self.mlp_c_fc_bias = zeros(inner)
        self.mlp_c_proj_weight = normal(residual_std, inner, width)
        self.mlp_c_proj_bias = zeros(width)

    def weights(self) -> LayerWeights:
        """The arrays of all layers."""
        return LayerWeights(*(getattr(self, name)[...] for name in LayerWeights._fields))


class GPT2(nnx.Module):
    """GPT-2 without dropout: token ids to the last layer's hidden states.

    Parameters are named as in a Hugging Face checkpoint, with underscores for dots.
    """

    def __init__(self, config: GPT2Config, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        """Make a module with random weights.

        Args:
            config: sizes and variants.
            rngs: the stream ``params`` (or ``default``) gives the initial weights.
            dtype: floating type of the weights and of the computation.
        """
        self.config = config
        width = config.n_embd
        tokens, positions = (config.vocab_size, width), (config.n_positions, width)
        self.wte_weight = nnx.Param(INIT_STD * _normal(rngs.params(), tokens, dtype))
        self.wpe_weight = nnx.Param(INIT_STD * _normal(rngs.params(), positions, dtype))
        self.layers = LayerStack(config, rngs=rngs, dtype=dtype)
        self.ln_f_weight = nnx.Param(jnp.ones((width,), dtype))
        self.ln_f_bias = nnx.Param(jnp.zeros((width,), dtype))

    def __call__(self, tokens: jax.Array, attention_mask: jax.Array | None = None) -> jax.Array:
        """Hidden states after the final layer norm.

        Args:
            tokens: (batch, length) integers below ``vocab_size``.
            attention_mask: (batch, length), true or 1 at real tokens; padding comes on the right.
                None means that every token is real. Hidden states at padding mean nothing.

        Returns:
            (batch, length, n_embd) in the dtype of the weights.

        Raises:
            ValueError: a length beyond ``n_positions``, or a mask of another shape.
        """
        length = tokens.shape[1]
        if length > self.config.n_positions:
            raise ValueError(
                f"tokens: length {length} exceeds the model's {self.config.n_positions} positions"
            )
        if attention_mask is not None and attention_mask.shape != tokens.shape:
            raise ValueError(
                f"attention_mask: shape {attention_mask.shape} differs from that of tokens, "
                f"{tokens.shape}"
            )
        visible = _visible_keys(length, attention_mask)
        hidden = self.wte_weight[...][tokens] + self.wpe_weight[...][:length]

        def step(hidden: jax.Array, layer: tuple[jax.Array, LayerWeights]) -> tuple[Any, None]:
            number, weights = layer
            return _layer(self.config, weights, number, hidden, visible), None

        numbers = jnp.arange(1, self.config.n_layer + 1)
        hidden, _ = jax.lax.scan(step, hidden, (numbers, self.layers.weights()))
        epsilon = self.config.layer_norm_epsilon
        return _layer_norm(hidden, self.ln_f_weight[...], self.ln_f_bias[...], epsilon)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Scores of the next token, by the tied embedding.

        Args:
            hidden: (..., n_embd), as ``__call__`` gives them.

        Returns:
            (..., vocab_size) in the dtype of ``hidden``.
        """
        return _matmul(hidden, self.wte_weight[...].T)


def _normal(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Standard normal weights, drawn flat: XLA compiles that several times faster on a CPU."""
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def _precision(dtype: DTypeLike) -> jax.lax.Precision | None:
    """Float32 means float32: no TF32 on a GPU, no bfloat16 passes on a TPU."""
    return jax.lax.Precision.HIGHEST if jnp.dtype(dtype) == jnp.float32 else None


def _matmul(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right, precision=_precision(left.dtype))


def _visible_keys(length: int, attention_mask: jax.Array | None) -> jax.Array:
    """(1 or batch, 1, query, key) booleans: a token sees itself and real tokens before it."""
    causal = jnp.tril(jnp.ones((length, length), bool))[None, None]
    if attention_mask is None:
        return causal
    return causal & attention_mask.astype(bool)[:, None, None, :]


def _layer_norm(x: jax.Array, weight: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """Layer norm over the last axis, its statistics in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype) * weight + bias


def _attention(
    config: GPT2Config,
    weights: LayerWeights,
    number: jax.Array,
    hidden: jax.Array,
    visible: jax.Array,
) -> jax.Array:
    """Causal self-attention of layer ``number`` (from 1), scores and softmax in float32."""
    batch, length, width = hidden.shape
    head_width = width // config.n_head
    joint = _matmul(hidden, weights.attn_c_attn_weight) + weights.attn_c_attn_bias
    query, key, value = jnp.split(joint.reshape(batch, length, 3 * config.n_head, head_width), 3, 2)
    precision = _precision(hidden.dtype)
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, precision=precision)
    scores = scores.astype(jnp.promote_types(hidden.dtype, jnp.float32))
    if config.scale_attn_weights:
        scores = scores / math.sqrt(head_width)
    if config.scale_attn_by_inverse_layer_idx:
        scores = scores / number
    # The lowest finite number, not -inf: a row of padding alone stays finite.
    scores = jnp.where(visible, scores, jnp.finfo(scores.dtype).min)
    shares = jax.nn.softmax(scores, axis=-1).astype(hidden.dtype)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", shares, value, precision=precision)
    mixed = mixed.reshape(batch, length, width)
    return _matmul(mixed, weights.attn_c_proj_weight) + weights.attn_c_proj_bias


def _feed_forward(config: GPT2Config, weights: LayerWeights, hidden: jax.Array) -> jax.Array:
    inner = _matmul(hidden, weights.mlp_c_fc_weight) + weights.mlp_c_fc_bias
    inner = ACTIVATIONS[config.activation_function](inner)
    return _matmul(inner, weights.mlp_c_proj_weight) + weights.mlp_c_proj_bias


def _layer(
    config: GPT2Config,
    weights: LayerWeights,
    number: jax.Array,
    hidden: jax.Array,
    visible: jax.Array,
) -> jax.Array:
    """One pre-norm layer: attention, then feed-forward, each added to the residual stream."""
    epsilon = config.layer_norm_epsilon
    normed = _layer_norm(hidden, weights.ln_1_weight, weights.ln_1_bias, epsilon)
    hidden = hidden + _attention(config, weights, number, normed, visible)
    normed = _layer_norm(hidden, weights.ln_2_weight, weights.ln_2_bias, epsilon)
    return hidden + _feed_forward(config, weights, normed)


def _layout(config: GPT2Config) -> dict[str, Slot]:
    """Name of every tensor of a checkpoint, and its place in the module."""
    layout = {
        "wte.weight": Slot(("wte_weight",)),
        "wpe.weight": Slot(("wpe_weight",)),
        "ln_f.weight": Slot(("ln_f_weight",)),
        "ln_f.bias": Slot(("ln_f_bias",)),
    }
    for layer in range(config.n_layer):
        for field, tensor in LAYER_TENSORS.items():
            layout[f"h.{layer}.{tensor}"] = Slot(("layers", field), layer)
    return layout


def _make(config: GPT2Config, rngs: nnx.Rngs, dtype: DTypeLike) -> GPT2:
    return GPT2(config, rngs=rngs, dtype=dtype)


FAMILY = Family(
    read_config=GPT2Config.from_dict,
    make=_make,
    layout=_layout,
    prefix="transformer.",
    # Causal masks that old exports stored as tensors, and the tied copy of the embedding.
    ignored=r"(h\.\d+\.attn\.(masked_)?bias|lm_head\.weight)",
)
