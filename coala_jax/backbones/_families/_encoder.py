"""BERT and RoBERTa in Flax NNX: one post-norm encoder, its layers stacked and scanned.

Computes what Hugging Face's ``BertModel``, ``RobertaModel`` and ``XLMRobertaModel`` compute without
their pooler (Devlin et al. 2019, Liu et al. 2019, Conneau et al. 2020): every token sees its whole
text, positions are learnt, a norm follows each residual sum. All tokens are of type 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from coala_jax._errors import CoalaError
from coala_jax.backbones._attention import (
    KeyValueCache,
    States,
    TokenBatch,
    attend,
    mutual_sight,
)
from coala_jax.backbones._config_fields import (
    ANY,
    COUNT,
    NUMBER,
    QK_NORMS,
    SIZE,
    TEXT,
    Kind,
    check_fields,
    only,
    or_null,
)
from coala_jax.backbones._family import (
    STACK_SIZES,
    BackboneModule,
    Family,
    Slot,
    Split,
    StackConfig,
    require_sizes,
)
from coala_jax.backbones._ops import (
    ACTIVATIONS,
    layer_norm,
    linear,
    random_normal,
    require_activation,
)
from coala_jax.backbones._stack import (
    LAST,
    LayerTensors,
    StackedLayers,
    count_matrix_weights,
    layer_slots,
    layer_splits,
    run_layers,
)

# Hugging Face's ``initializer_range`` of all three.
INIT_STD = 0.02

SIZES = (*STACK_SIZES, "type_vocab_size")
# Of a config.json: what is read, and what has one value that is computed.
FIELDS: Mapping[str, Kind] = {
    **dict.fromkeys(SIZES, SIZE),
    "layer_norm_eps": NUMBER,
    "hidden_act": TEXT,
    "pad_token_id": or_null(COUNT),
    "is_decoder": only(False),
    "is_causal": only(False),
    "position_embedding_type": only("absolute"),
    # Of heads alone.
    "tie_word_embeddings": ANY,
    **QK_NORMS,
}


@dataclass(frozen=True)
class EncoderConfig(StackConfig):
    """The fields of a Hugging Face ``config.json`` that decide what the encoder computes.

    The heads must divide the hidden size.

    Attributes:
        type_vocab_size: rows of the token type embedding, of which the first is used.
        layer_norm_eps: added to the variance in every norm.
        hidden_act: a key of ``ACTIVATIONS``.
        pad_token_id: RoBERTa's positions start behind it; None where unknown, for BERT only.
    """

    type_vocab_size: int
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        """Check sizes and names.

        Raises:
            ValueError: names the field and its value.
        """
        super().__post_init__()
        owner = self.model_type
        require_sizes(owner, self, ("type_vocab_size",))
        require_activation(owner, "hidden_act", self.hidden_act)
        if self.hidden_size % self.num_attention_heads:
            raise CoalaError(
                f"{owner} config: num_attention_heads={self.num_attention_heads} must divide "
                f"hidden_size={self.hidden_size}"
            )
        if not VARIANTS[owner].positions_follow_padding:
            return
        last = self.max_position_embeddings - 2
        if not isinstance(self.pad_token_id, int) or not 0 <= self.pad_token_id <= last:
            raise CoalaError(
                f"{owner} config: pad_token_id={self.pad_token_id!r} must be an integer from 0 to "
                f"{last}: positions start behind it, of max_position_embeddings="
                f"{self.max_position_embeddings}"
            )

    @property
    def first_position(self) -> int:
        """Row of the position embedding that a text's first token takes."""
        follow = VARIANTS[self.model_type].positions_follow_padding
        return self.pad_token_id + 1 if follow and self.pad_token_id is not None else 0

    @property
    def max_length(self) -> int:
        """Longest sequence that the position embedding covers."""
        return self.max_position_embeddings - self.first_position

    @property
    def matrix_weights(self) -> int:
        """Weights in a layer's matrices."""
        return count_matrix_weights(layer_tensors(self))

    @property
    def attention_width(self) -> int:
        """Heads times the width of a head."""
        return self.hidden_size

    def to_dict(self) -> dict[str, Any]:
        """Write the ``config.json`` that Hugging Face's ``AutoModel`` reads."""
        return {
            **asdict(self),
            "architectures": [VARIANTS[self.model_type].architecture],
            "attention_probs_dropout_prob": 0.0,
            "hidden_dropout_prob": 0.0,
        }


@dataclass(frozen=True)
class _Variant:
    """What sets a model type apart from the others.

    Attributes:
        architecture: Hugging Face's class of the model without a head.
        prefix: what checkpoints of models with a head put before the names.
        defaults: of fields that a ``config.json`` may leave out.
        positions_follow_padding: position 0 is the row behind ``pad_token_id``.
    """

    architecture: str
    prefix: str
    defaults: Mapping[str, Any]
    positions_follow_padding: bool


_BASE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
VARIANTS: Mapping[str, _Variant] = {
    "bert": _Variant(
        "BertModel", "bert.", {**_BASE, "vocab_size": 30522, "pad_token_id": 0}, False
    ),
    "roberta": _Variant(
        "RobertaModel", "roberta.", {**_BASE, "vocab_size": 50265, "pad_token_id": 1}, True
    ),
    "xlm-roberta": _Variant(
        "XLMRobertaModel", "roberta.", {**_BASE, "vocab_size": 30522, "pad_token_id": 1}, True
    ),
}


def read_encoder_config(model_type: str, fields: Mapping[str, Any]) -> EncoderConfig:
    """Read a Hugging Face ``config.json``, already parsed.

    Fields that do not change an evaluation pass (dropout, heads, versions) are ignored.

    Args:
        model_type: a key of ``VARIANTS``.
        fields: the parsed JSON object.

    Returns:
        The configuration; absent fields take Hugging Face's defaults.

    Raises:
        ValueError: a value that this module cannot honour, named with its key.
    """
    check_fields(model_type, fields, FIELDS)
    given = {**VARIANTS[model_type].defaults, **fields, "model_type": model_type}
    names = EncoderConfig.__dataclass_fields__
    return EncoderConfig(**{name: given[name] for name in names if name in given})


def layer_tensors(config: EncoderConfig) -> LayerTensors:
    """The tensors of a layer, behind ``encoder.layer.<n>.``; weights are (out, in)."""
    width, inner = config.hidden_size, config.intermediate_size
    linears = {
        "q": ("attention.self.query", (width, width)),
        "k": ("attention.self.key", (width, width)),
        "v": ("attention.self.value", (width, width)),
        "o": ("attention.output.dense", (width, width)),
        "up": ("intermediate.dense", (inner, width)),
        "down": ("output.dense", (width, inner)),
    }
    norms = {"attention_norm": "attention.output.LayerNorm", "output_norm": "output.LayerNorm"}
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, (tensor, shape) in linears.items():
        tensors[f"{name}_weight"] = (f"{tensor}.weight", shape)
        tensors[f"{name}_bias"] = (f"{tensor}.bias", shape[:1])
    for name, tensor in norms.items():
        tensors[name] = (f"{tensor}.weight", (width,))
        tensors[f"{name}_bias"] = (f"{tensor}.bias", (width,))
    return tensors


class Encoder(BackboneModule):
    """An encoder without dropout and pooler: token ids to hidden states."""

    causal = False

    def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        """Make a module with random weights.

        Args:
            config: sizes and variants.
            rngs: the stream ``params`` (or ``default``) gives the initial weights.
            dtype: floating type of the weights and of the computation.
        """
        self.config = config
        width = config.hidden_size

        def embedding(rows: int) -> nnx.Param[jax.Array]:
            return nnx.Param(INIT_STD * random_normal(rngs.params(), (rows, width), dtype))

        self.word_embedding = embedding(config.vocab_size)
        self.position_embedding = embedding(config.max_position_embeddings)
        self.type_embedding = embedding(config.type_vocab_size)
        self.embedding_norm = nnx.Param(jnp.ones((width,), dtype))
        self.embedding_norm_bias = nnx.Param(jnp.zeros((width,), dtype))
        self.layers = StackedLayers(
            layer_tensors(config), config.depth, INIT_STD, rngs=rngs, dtype=dtype
        )

    def states(
        self,
        batch: TokenBatch,
        cache: KeyValueCache | None = None,
        layers: Sequence[int] = LAST,
        *,
        keep: bool = False,
    ) -> States:
        """Hidden states of texts, one or more a row.

        Args:
            batch: the tokens, each with its position and where its text ends; no branches.
            cache: None.
            layers: which hidden states, as in `run_layers`; 0 has passed the embedding's norm.
            keep: False.

        Returns:
            The states.

        Raises:
            ValueError: a cache, or one asked for.
        """
        config = self.config
        if cache is not None or keep:
            raise CoalaError(
                f"{'keep' if cache is None else 'cache'}: {config.model_type} is an encoder, whose "
                "tokens see those behind them; run whole texts, without a cache"
            )
        sight = mutual_sight(batch)

        def norm(hidden: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
            return layer_norm(hidden, weight, bias, config.layer_norm_eps)

        def layer(number: jax.Array, hidden: jax.Array, cached: Any) -> Any:
            weights = self.layers.of(number)

            def dense(name: str, x: jax.Array) -> jax.Array:
                return linear(x, weights[f"{name}_weight"], weights[f"{name}_bias"])

            query, key, value = (
                dense(name, hidden).reshape(*hidden.shape[:2], config.num_attention_heads, -1)
                for name in ("q", "k", "v")
            )
            mixed = attend(query, key, value, sight, query.shape[-1] ** -0.5)
            hidden = norm(
                hidden + dense("o", mixed),
                weights["attention_norm"],
                weights["attention_norm_bias"],
            )
            inner = ACTIVATIONS[config.hidden_act](dense("up", hidden))
            hidden = norm(
                hidden + dense("down", inner), weights["output_norm"], weights["output_norm_bias"]
            )
            return hidden, (key, value)

        embedded = (
            self.word_embedding[...][batch.tokens]
            + self.type_embedding[...][0]
            + self.position_embedding[...][batch.positions + config.first_position]
        )
        hidden = norm(embedded, self.embedding_norm[...], self.embedding_norm_bias[...])
        return run_layers(layer, lambda hidden: hidden, hidden, config.depth, layers)


def _layout(config: EncoderConfig) -> dict[str, Slot]:
    """Name of every tensor of a checkpoint, and its place in the module."""
    layout = {
        "embeddings.word_embeddings.weight": Slot(("word_embedding",)),
        "embeddings.position_embeddings.weight": Slot(("position_embedding",)),
        "embeddings.token_type_embeddings.weight": Slot(("type_embedding",)),
        "embeddings.LayerNorm.weight": Slot(("embedding_norm",)),
        "embeddings.LayerNorm.bias": Slot(("embedding_norm_bias",)),
    }
    return layout | layer_slots("encoder.layer", "layers", layer_tensors(config), config.depth)


def _splits(config: EncoderConfig) -> dict[tuple[str, ...], Split]:
    """The word embedding by vocabulary, the layers by heads and inner width."""
    heads = config.num_attention_heads
    return {
        ("word_embedding",): Split(-2, config.vocab_size),
        **layer_splits("layers", heads, heads, config.intermediate_size),
    }


def _family(model_type: str, covers: str) -> Family:
    def read(fields: Mapping[str, Any]) -> EncoderConfig:
        return read_encoder_config(model_type, fields)

    def make(config: EncoderConfig, rngs: nnx.Rngs, dtype: DTypeLike) -> Encoder:
        return Encoder(config, rngs=rngs, dtype=dtype)

    return Family(
        read_config=read,
        fields=FIELDS,
        stem=model_type.replace("-", ""),
        make=make,
        layout=_layout,
        prefix=VARIANTS[model_type].prefix,
        # Counters that old exports stored, and the heads, which hidden states do not pass.
        ignored=r"embeddings\.(position|token_type)_ids|(pooler|cls|lm_head|classifier|qa_outputs)\..*",
        covers=covers,
        splits=_splits,
        # Checkpoints of 2018, bert-base-uncased among them.
        renamed=(("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")),
    )


BERT = _family("bert", "BERT, all-MiniLM and other sentence encoders of BERT's layout")
ROBERTA = _family("roberta", "RoBERTa, all-distilroberta")
XLM_ROBERTA = _family("xlm-roberta", "XLM-RoBERTa, multilingual E5, BGE-M3")
