"""What a causal decoder computes, read from a ``config.json``; a family says what sets it apart."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from coala_jax._errors import CoalaError
from coala_jax.backbones._config_fields import (
    ANY,
    CAUSAL,
    FLAG,
    LIST,
    MAPPING,
    NUMBER,
    POSITIVE,
    SIZE,
    TEXT,
    TOKENS,
    Kind,
    check_fields,
    only,
    or_null,
)
from coala_jax.backbones._family import (
    STACK_SIZES,
    StackConfig,
    require_sizes,
)
from coala_jax.backbones._ops import require_activation
from coala_jax.backbones._rope import (
    FULL,
    ROPE_FIELDS,
    ROPE_KEYS,
    SLIDING,
    Settings,
    longest_text,
    rope_parameters,
    rope_parameters_by_layer,
    turned_width,
)
from coala_jax.backbones._windows import Windows, no_windows, same_window, written_windows

OPTIONAL_SIZES = ("num_key_value_heads", "head_dim")
# Attributes of `DecoderConfig` that a config.json says, under these names or a family's own.
SAID = (
    "model_type",
    *STACK_SIZES,
    *OPTIONAL_SIZES,
    "rms_norm_eps",
    "hidden_act",
    "tie_word_embeddings",
    "eos_token_id",
)
# Of a config.json of any family: what is read, and what has one value that is computed.
FIELDS: Mapping[str, Kind] = {
    **dict.fromkeys(STACK_SIZES, SIZE),
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
DEFAULTS: Mapping[str, Any] = {
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "eos_token_id": None,
}
NO_BIASES = {"attention_bias": only(False), "mlp_bias": only(False)}
BIASES = {"attention_bias": FLAG, "mlp_bias": FLAG}
# Rotary settings of which layers with a window have their own.
LAYERED_ROPE: Mapping[str, Kind] = {
    "rope_parameters": or_null(MAPPING)._replace(keys=frozenset((*ROPE_KEYS, FULL, SLIDING))),
    "rope_local_base_freq": POSITIVE,
}


@dataclass(frozen=True)
class DecoderConfig(StackConfig):
    """The fields of a Hugging Face ``config.json`` that decide what a decoder computes.

    Attributes:
        num_key_value_heads: key and value heads; must divide the query heads.
        head_dim: width of a head; heads times it may differ from the hidden size.
        rms_norm_eps: added to the mean square (or the variance) in every norm.
        windows: sliding window of every layer in tokens, None where it sees all; empty where
            none slides.
        qkv_bias: queries, keys and values have biases.
        output_bias: the projection after attention has one.
        mlp_bias: the feed-forward block has them.
        qk_norm: queries and keys pass a norm: those of each ``head``, or the ``whole``
            projections; None where they do not.
        tie_word_embeddings: the token embedding scores next tokens as well.
        has_head: something scores them; False where it is not tied and the checkpoint has no
            ``lm_head.weight``.
        rope: settings of the rotary embedding, from `rope_parameters`, as sorted pairs.
        local_rope: those of layers with a window, where they have others.
        turning: which layers turn by positions; empty where all do.
        eos_token_id: end-of-text token or tokens; None where unknown.
        norm: root-mean-square norms (``rms``), the same with weights that are differences from 1
            (``rms_offset``), or layer norms with biases (``layer``).
        norms: where a layer has them: ``before`` attention and feed-forward, ``after`` them, or
            ``around``.
        fused: one matrix gives queries, keys and values, all of a kind in one block (``blocks``,
            the gate joins the feed-forward in the same way), or head by head (``heads``).
        gated: the feed-forward block is gated.
        parallel: attention and feed-forward read the same hidden states.
        attention_scale: factor of the scores; None means ``head_dim ** -0.5``.
        attention_cap: of the scores, c tanh(scores / c).
        logit_cap: of the logits.
        embedding_scale: factor of token embeddings.
        residual_scale: factor of what attention and feed-forward add.
        logit_divisor: of the logits.
        stem: how transformers' classes of the family begin.
        own_fields: what else its ``config.json`` says, as pairs.
    """

    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-6
    hidden_act: str = "silu"
    windows: Windows = ()
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: Literal["head", "whole"] | None = None
    tie_word_embeddings: bool = False
    has_head: bool = True
    rope: Settings = (("rope_theta", 10_000.0), ("rope_type", "default"))
    local_rope: Settings | None = None
    turning: tuple[bool, ...] = ()
    eos_token_id: int | tuple[int, ...] | None = None
    norm: Literal["rms", "rms_offset", "layer"] = "rms"
    norms: Literal["before", "after", "around"] = "before"
    fused: Literal["blocks", "heads"] | None = None
    gated: bool = True
    parallel: bool = False
    attention_scale: float | None = None
    attention_cap: float | None = None
    logit_cap: float | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_divisor: float = 1.0
    stem: str = "Llama"
    own_fields: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Check sizes and names.

        Raises:
            ValueError: names the field and its value.
        """
        super().__post_init__()
        owner = self.model_type
        require_sizes(owner, self, OPTIONAL_SIZES)
        require_activation(owner, "hidden_act", self.hidden_act)
        if self.num_attention_heads % self.num_key_value_heads:
            raise CoalaError(
                f"{owner} config: num_key_value_heads={self.num_key_value_heads} must divide "
                f"num_attention_heads={self.num_attention_heads}"
            )
        turned = turned_width(dict(self.rope), self.head_dim)
        if turned % 2 or not turned:
            what = f"head_dim={self.head_dim}"
            if turned != self.head_dim:
                what = f"partial_rotary_factor of {what} leaves {turned}, which"
            raise CoalaError(f"{owner} config: {what} must be even and above 0")
        for name in ("short_factor", "long_factor"):
            factors = dict(self.rope).get(name)
            if factors is not None and len(factors) != turned // 2:
                raise CoalaError(
                    f"{owner} config: {name} has {len(factors)} numbers, {turned // 2} are needed: "
                    "one for two dimensions of a head that turn"
                )
        for name, per_layer in (("windows", self.windows), ("no_rope_layers", self.turning)):
            if per_layer and len(per_layer) != self.num_hidden_layers:
                raise CoalaError(
                    f"{owner} config: {len(per_layer)} {name} for "
                    f"{self.num_hidden_layers} layers (num_hidden_layers)"
                )

    @property
    def max_length(self) -> int:
        """Longest sequence."""
        return longest_text(dict(self.rope), self.max_position_embeddings)

    @property
    def attention_width(self) -> int:
        """Query heads times the width of a head."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Key heads times the width of a head."""
        return self.num_key_value_heads * self.head_dim

    @property
    def matrix_weights(self) -> int:
        """Weights in a layer's matrices."""
        attention = self.hidden_size * 2 * (self.attention_width + self.key_width)
        return attention + (2 + self.gated) * self.hidden_size * self.intermediate_size

    def to_dict(self) -> dict[str, Any]:
        """Write the ``config.json`` that Hugging Face's ``AutoModelForCausalLM`` reads."""
        rope: dict[str, Any] = dict(self.rope)
        if self.local_rope is not None:
            rope = {FULL: rope, SLIDING: dict(self.local_rope)}
        ending = "ForCausalLM" if self.has_head else "Model"
        written = {
            **{name: getattr(self, name) for name in SAID},
            "architectures": [self.stem + ending],
            "rope_parameters": rope,
            "attention_dropout": 0.0,
            **dict(self.own_fields),
        }
        plain: dict[str, Any] = json.loads(json.dumps(written))  # lists, no tuples
        return plain


# Fields of a config.json, defaults filled in, to attributes of `DecoderConfig`, or to fields.
Read = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Variant:
    """What sets a model type apart from the others.

    Attributes:
        model_type: its name in a ``config.json``.
        stem: how Hugging Face's classes begin.
        covers: the models of this type, for people.
        defaults: of fields that a ``config.json`` may leave out.
        fields: that the others do not have, or of which one value is computed.
        traits: attributes of `DecoderConfig` that all models of the type share.
        read: attributes that are not the same for all, from fields.
        written: fields that are read beside those of all families, for a ``config.json``.
        aliases: fields of another name than the attribute's.
        windows: the window of every layer, from fields; None where no layer may have one.
        local_theta: base of the rotary positions of layers with a window, where these have
            settings of their own.
        partial_rope: whether a part of every head may turn.
        tensors: modules in a checkpoint that have other names than Llama's.
        prefixes: what a checkpoint may put before the names; the first is written.
        renamed: how names ended in other checkpoints, and how they end here.
        ignored: a regular expression of more tensors that carry no weight of their own.
    """

    model_type: str
    stem: str
    covers: str
    defaults: Mapping[str, Any]
    fields: Mapping[str, Kind] = field(default_factory=dict)
    traits: Mapping[str, Any] = field(default_factory=dict)
    read: Read = lambda given: {}
    written: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    windows: Callable[[Mapping[str, Any]], Windows] | None = None
    local_theta: float | None = None
    partial_rope: bool = False
    tensors: Mapping[str, str] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ("model.",)
    renamed: tuple[tuple[str, str], ...] = ()
    ignored: str = ""

    @property
    def known_fields(self) -> dict[str, Kind]:
        """Fields that are read, or of which one value is computed."""
        aliased = {other: FIELDS[name] for name, other in self.aliases.items()}
        return {**FIELDS, **dict.fromkeys(self.aliases, ANY), **aliased, **self.fields}


def read_decoder_config(variant: Variant, fields: Mapping[str, Any]) -> DecoderConfig:
    """Read a Hugging Face ``config.json``, already parsed.

    Fields that do not change an evaluation pass (dropout, cache, versions) are ignored.

    Args:
        variant: of the model type.
        fields: the parsed JSON object, in the spelling of any version of transformers.

    Returns:
        The configuration; absent fields take Hugging Face's defaults.

    Raises:
        ValueError: a value that this module cannot honour, named with its key.
    """
    owner = variant.model_type
    check_fields(owner, fields, variant.known_fields)
    given = {**DEFAULTS, **variant.defaults, **fields}
    given |= {name: given[other] for name, other in variant.aliases.items() if other in given}
    positions = given["max_position_embeddings"]
    try:
        if variant.local_theta is None:
            rope, local = rope_parameters(given, positions, partial=variant.partial_rope), None
        else:
            rope, local = rope_parameters_by_layer(given, positions, variant.local_theta)
        windows = (variant.windows or no_windows)(given)
        read = variant.read(given)
    except ValueError as error:
        raise CoalaError(f"{owner} config: {error}") from error
    given |= {name: rope[name] for name in variant.aliases if name in rope}
    written = {other: given[name] for name, other in variant.aliases.items() if name in given}
    written |= {name: given.get(name) for name in variant.written}
    if variant.windows is not None:
        written |= written_windows(given, windows, same=variant.windows is same_window)
    eos = given["eos_token_id"]
    heads = given["num_attention_heads"]
    return DecoderConfig(
        model_type=owner,
        **{name: given[name] for name in STACK_SIZES},
        num_key_value_heads=_either(given.get("num_key_value_heads"), heads),
        head_dim=_either(given.get("head_dim"), given["hidden_size"] // heads),
        rms_norm_eps=given["rms_norm_eps"],
        hidden_act=given["hidden_act"],
        windows=windows,
        tie_word_embeddings=given["tie_word_embeddings"],
        rope=_settings(rope),
        local_rope=None if local is None else _settings(local),
        eos_token_id=tuple(eos) if isinstance(eos, list) else eos,
        stem=variant.stem,
        own_fields=_settings(written),
        **{**variant.traits, **read},
    )


def attention_biases(fields: Mapping[str, Any]) -> dict[str, Any]:
    """``attention_bias`` is of all four matrices of attention."""
    return {"qkv_bias": fields["attention_bias"], "output_bias": fields["attention_bias"]}


def _either(value: Any, default: Any) -> Any:
    return default if value is None else value


def _settings(fields: Mapping[str, Any]) -> Settings:
    """Sorted pairs, which can be hashed."""
    pairs = sorted(fields.items())
    return tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in pairs)
