"""GPT-2 (Radford et al. 2019) in Flax NNX, with its layers stacked and scanned.

The module computes what Hugging Face's ``GPT2Model`` computes, without dropout. The weights of all
layers lie in one array a kind, with the layer as leading axis, and ``lax.scan`` runs over them:
compile time does not grow with depth.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from coala_jax._errors import CoalaError
from coala_jax.backbones._attention import (
    KeyValueCache,
    Sight,
    States,
    TokenBatch,
    attend,
    causal_sight,
)
from coala_jax.backbones._config_fields import (
    ANY,
    CAUSAL,
    FLAG,
    NUMBER,
    QK_NORMS,
    SIZE,
    TEXT,
    TOKENS,
    Kind,
    check_fields,
    only,
    or_null,
)
from coala_jax.backbones._family import (
    CausalModule,
    Family,
    Slot,
    Split,
    require_sizes,
)
from coala_jax.backbones._ops import (
    ACTIVATIONS,
    layer_norm,
    matmul,
    random_normal,
    require_activation,
)
from coala_jax.backbones._stack import LAST, run_layers

# Hugging Face's ``initializer_range`` of GPT-2; Radford et al. 2019, section 2.3.
INIT_STD = 0.02
# The residual branches a layer: attention and feed-forward. Their last projections start smaller
# by the square root of how many there are in all, so that the residual stream keeps its scale.
RESIDUAL_BRANCHES = 2

# Names by which transformers takes sizes too.
ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
# Of a config.json: what is read, and what has one value that is computed.
FIELDS: Mapping[str, Kind] = {
    **dict.fromkeys(("vocab_size", *ALIASES, *ALIASES.values()), SIZE),
    "n_inner": or_null(SIZE),
    "activation_function": TEXT,
    "layer_norm_epsilon": NUMBER,
    "scale_attn_weights": FLAG,
    "scale_attn_by_inverse_layer_idx": FLAG,
    "tie_word_embeddings": FLAG,
    "eos_token_id": or_null(TOKENS),
    "is_causal": CAUSAL,
    "use_bidirectional_attention": only(False),
    "position_embedding_type": only("absolute"),
    # The same sums in another order, and the first name of n_positions.
    "reorder_and_upcast_attn": ANY,
    "n_ctx": ANY,
    **QK_NORMS,
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
        tie_word_embeddings: the token embedding scores next tokens as well.
        has_head: something scores them; False where it is not tied and the checkpoint has no
            ``lm_head.weight``.
        eos_token_id: the end-of-text token or tokens, also used as the first one; None where
            unknown.
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
    tie_word_embeddings: bool = True
    has_head: bool = True
    eos_token_id: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check sizes and names.

        Raises:
            ValueError: a size below one, heads that do not divide the width, an activation that
                is not in ``ACTIVATIONS``.
        """
        sizes = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "inner_width")
        require_sizes("GPT-2", self, sizes)
        if self.n_embd % self.n_head:
            raise CoalaError(f"GPT-2 config: n_head={self.n_head} must divide n_embd={self.n_embd}")
        require_activation("GPT-2", "activation_function", self.activation_function)

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

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self.n_layer

    @property
    def matrix_weights(self) -> int:
        """Weights in a layer's matrices: attention's two, then the feed-forward block's two."""
        return 4 * self.n_embd**2 + 2 * self.n_embd * self.inner_width

    @property
    def attention_width(self) -> int:
        """Heads times the width of a head."""
        return self.n_embd

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "GPT2Config":
        """Read a Hugging Face ``config.json``, already parsed.

        Fields that do not change an evaluation pass (dropout, summary heads, versions) are ignored.

        Args:
            fields: the parsed JSON object; sizes may go by the names of ``ALIASES``.

        Returns:
            The configuration; fields that are absent take Hugging Face's defaults.

        Raises:
            ValueError: a value that this module cannot honour, named with its key.
        """
        check_fields("GPT-2", fields, FIELDS)
        given = dict(fields)
        for alias, name in ALIASES.items():
            if alias in given and given.setdefault(name, given[alias]) != given[alias]:
                raise CoalaError(
                    f"GPT-2 config: {name}={given[name]} and {alias}={given[alias]} are two names "
                    "of one size; leave one out"
                )
        eos = given.get("eos_token_id")
        given["eos_token_id"] = tuple(eos) if isinstance(eos, list) else eos
        names = {*cls.__dataclass_fields__} - {"has_head"}
        return cls(**{name: given[name] for name in names if name in given})

    def to_dict(self) -> dict[str, Any]:
        """Write the ``config.json`` that Hugging Face's ``AutoModelForCausalLM`` reads."""
        fields = asdict(self)
        del fields["has_head"]
        return {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel" if self.has_head else "GPT2Model"],
            **fields,
            "bos_token_id": self.eos_token_id,
            "attn_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
        }


HEAD_TENSOR = "lm_head.weight"
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
            return nnx.Param(std * random_normal(rngs.params(), (layers, *shape), dtype))

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


class GPT2(CausalModule):
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
        self.wte_weight = nnx.Param(INIT_STD * random_normal(rngs.params(), tokens, dtype))
        self.wpe_weight = nnx.Param(INIT_STD * random_normal(rngs.params(), positions, dtype))
        self.layers = LayerStack(config, rngs=rngs, dtype=dtype)
        self.ln_f_weight = nnx.Param(jnp.ones((width,), dtype))
        self.ln_f_bias = nnx.Param(jnp.zeros((width,), dtype))
        if config.has_head and not config.tie_word_embeddings:
            self.lm_head = nnx.Param(INIT_STD * random_normal(rngs.params(), tokens, dtype))

    @property
    def output_embedding(self) -> nnx.Param[jax.Array]:
        """The token embedding, or a matrix of its own."""
        return self.wte_weight if self.config.tie_word_embeddings else self.lm_head

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
        sight = causal_sight(batch, cache)
        stack = self.layers.weights()

        def layer(number: jax.Array, hidden: jax.Array, cached: Any) -> Any:
            weights = LayerWeights(*(whole[number] for whole in stack))
            return _layer(self.config, weights, number, hidden, sight, cached)

        def finish(hidden: jax.Array) -> jax.Array:
            epsilon = self.config.layer_norm_epsilon
            return layer_norm(hidden, self.ln_f_weight[...], self.ln_f_bias[...], epsilon)

        hidden = self.wte_weight[...][batch.tokens] + self.wpe_weight[...][batch.positions]
        return run_layers(layer, finish, hidden, self.config.depth, layers, cache, keep=keep)


def _attention(
    config: GPT2Config,
    weights: LayerWeights,
    number: jax.Array,
    hidden: jax.Array,
    sight: Sight,
    cached: tuple[jax.Array, jax.Array] | None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Causal self-attention of layer ``number`` (from 0), and its keys and values."""
    batch, length, width = hidden.shape
    head_width = width // config.n_head
    joint = matmul(hidden, weights.attn_c_attn_weight) + weights.attn_c_attn_bias
    query, key, value = jnp.split(joint.reshape(batch, length, 3 * config.n_head, head_width), 3, 2)
    scale: float | jax.Array = 1 / math.sqrt(head_width) if config.scale_attn_weights else 1.0
    if config.scale_attn_by_inverse_layer_idx:
        scale = scale / (number + 1)
    mixed = attend(query, key, value, sight, scale, cached)
    return matmul(mixed, weights.attn_c_proj_weight) + weights.attn_c_proj_bias, (key, value)


def _feed_forward(config: GPT2Config, weights: LayerWeights, hidden: jax.Array) -> jax.Array:
    inner = matmul(hidden, weights.mlp_c_fc_weight) + weights.mlp_c_fc_bias
    inner = ACTIVATIONS[config.activation_function](inner)
    return matmul(inner, weights.mlp_c_proj_weight) + weights.mlp_c_proj_bias


def _layer(
    config: GPT2Config,
    weights: LayerWeights,
    number: jax.Array,
    hidden: jax.Array,
    sight: Sight,
    cached: tuple[jax.Array, jax.Array] | None,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """One pre-norm layer: attention, then feed-forward, each added to the residual stream."""
    epsilon = config.layer_norm_epsilon
    normed = layer_norm(hidden, weights.ln_1_weight, weights.ln_1_bias, epsilon)
    mixed, own = _attention(config, weights, number, normed, sight, cached)
    hidden = hidden + mixed
    normed = layer_norm(hidden, weights.ln_2_weight, weights.ln_2_bias, epsilon)
    return hidden + _feed_forward(config, weights, normed), own


def _layout(config: GPT2Config) -> dict[str, Slot]:
    """Name of every tensor of a checkpoint, and its place in the module."""
    layout = {
        "wte.weight": Slot(("wte_weight",)),
        "wpe.weight": Slot(("wpe_weight",)),
        "ln_f.weight": Slot(("ln_f_weight",)),
        "ln_f.bias": Slot(("ln_f_bias",)),
    }
    if config.has_head and not config.tie_word_embeddings:
        layout[HEAD_TENSOR] = Slot(("lm_head",))
    for layer in range(config.n_layer):
        for field, tensor in LAYER_TENSORS.items():
            layout[f"h.{layer}.{tensor}"] = Slot(("layers", field), layer)
    return layout


def _splits(config: GPT2Config) -> dict[tuple[str, ...], Split]:
    """By heads, inner width and, of the embedding, vocabulary; weights are (in, out).

    Queries, keys and values lie behind each other on one axis: a part of it is not the three of the
    same heads, and XLA moves them to where they meet.
    """
    heads, inner = config.n_head, config.inner_width
    splits = {
        "attn_c_attn_weight": Split(-1, heads),
        "attn_c_attn_bias": Split(-1, heads),
        "attn_c_proj_weight": Split(-2, heads),
        "mlp_c_fc_weight": Split(-1, inner),
        "mlp_c_fc_bias": Split(-1, inner),
        "mlp_c_proj_weight": Split(-2, inner),
    }
    return {
        ("wte_weight",): Split(-2, config.vocab_size),
        ("lm_head",): Split(-2, config.vocab_size),
        **{("layers", name): split for name, split in splits.items()},
    }


def _make(config: GPT2Config, rngs: nnx.Rngs, dtype: DTypeLike) -> GPT2:
    return GPT2(config, rngs=rngs, dtype=dtype)


FAMILY = Family(
    read_config=GPT2Config.from_dict,
    fields=FIELDS,
    stem="GPT2",
    make=_make,
    layout=_layout,
    prefix="transformer.",
    # Causal masks that old exports stored as tensors, and what classifies.
    ignored=r"h\.\d+\.attn\.(masked_)?bias|(score|classifier|qa_outputs|multiple_choice_head)\..*",
    covers="GPT-2, DistilGPT-2",
    splits=_splits,
    unprefixed=(HEAD_TENSOR,),
    embedding="wte.weight",
    head=HEAD_TENSOR,
    # Its layers are Conv1D.
    turned=r"h\.\d+\.(attn|mlp)\.c_\w+\.weight",
)
