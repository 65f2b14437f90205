"""How text becomes features: the settings of an extraction, and the identity they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from coala_jax._choices import require_fields
from coala_jax.data._chat import HASHED
from coala_jax.features._errors import FeatureError
from coala_jax.features._identity import FeatureIdentity, layer_name, layer_numbers
from coala_jax.features._pooling import ATTENTION, pooling_parts
from coala_jax.features._tokens import RESPONSE_FIELD, TEXT_RULE, TextTemplate

if TYPE_CHECKING:
    from coala_jax.backbones import Backbone

StoreType = Literal["float32", "float16", "bfloat16"]
# Nothing around texts that a chat template has written.
BARE = TextTemplate(response=RESPONSE_FIELD)


@dataclass(frozen=True)
class ExtractSettings:
    """How text becomes features.

    Attributes:
        pooling: mean, last or attention over the response, text_mean, first, or several joined by
            ``+``.
        layers: hidden states to pool, such as -1,-8, as Hugging Face numbers ``hidden_states``; -1
            is the last, after its norm. Several are concatenated.
        template: what stands around prompt and response.
        dtype: type on disk, ``float32``, ``float16`` or ``bfloat16``; the last two take half the
            room, also of a device where they are solved with `Config(rows="compact")`.
        token_budget: tokens that run together on one device; None means what its free memory holds,
            8192 on a CPU. Halved, with a message, where the device runs out of it.
        shard_rows: pairs of a shard of the store: what a killed run loses at most, and what several
            processes share out. Prefixes are shared within a shard.
        prefixes: keep also at most this many beginnings of the two responses of a pair, both of as
            many tokens and pooled as they stand: one drawn in each of as many equal strata of the
            places from the first token in which they differ to the last one of the shorter
            response, its end token left out; all places where there are no more. For `solve
            --prefixes`; needs a causal model that jax runs. Where they are cut depends on the texts
            of the pair and on ``prefix_seed`` alone.
        prefix_seed: seed of the places where responses are cut for ``prefixes``.
        chat_template: by what conversations became the prompts, as a ``RowSet`` records it.
        share_prefixes: share the tokens that sequences begin alike with, where the model is causal.
        query: of ``attention`` pooling, base64 of the little-endian float32 of a (layers, width)
            array; empty means that `extract_store` derives one from the data.

    Raises:
        FeatureError: names the field, its value and what it may be.
    """

    pooling: str = "mean+last"
    layers: tuple[int, ...] = (-1,)
    template: TextTemplate = TextTemplate()
    dtype: StoreType = "float32"
    token_budget: int | None = None
    shard_rows: int = 2048
    share_prefixes: bool = True
    query: str = ""
    chat_template: str = ""
    prefixes: int = 0
    prefix_seed: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        require_fields(self, FeatureError)
        pooling_parts(self.pooling)
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise FeatureError(f"layers={self.layers} must name at least one layer, each once")
        if self.query and ATTENTION not in pooling_parts(self.pooling):
            raise FeatureError(f"query: pooling={self.pooling!r} uses none; leave it out")
        self.template.check()
        for name in ("token_budget", "shard_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise FeatureError(f"{name}={value!r} must be at least 1")
        for name in ("prefixes", "prefix_seed"):
            if (value := getattr(self, name)) < 0:
                raise FeatureError(f"{name}={value!r} must be at least 0")

    @classmethod
    def from_identity(cls, identity: FeatureIdentity) -> ExtractSettings:
        """The settings that make features of this identity again.

        Raises:
            FeatureError: an identity that no settings have.
        """
        template = TextTemplate(identity.prompt_template, identity.response_template)
        layers = layer_numbers(identity.layer)
        return cls(
            pooling=identity.pooling,
            layers=layers,
            template=template,
            chat_template=identity.chat_template,
            query=identity.query,
        )

    @property
    def needs_query(self) -> bool:
        """Whether features cannot be made before a query is derived."""
        return ATTENTION in pooling_parts(self.pooling) and not self.query

    def for_rows(self, chat_template: str) -> ExtractSettings:
        """The settings for rows whose conversations became text by this chat template.

        Nothing goes around what a tokenizer's own template has written.

        Raises:
            FeatureError: a template of its own for such rows.
        """
        made = replace(self, chat_template=chat_template)
        if not made.written:
            return made
        if self.template not in (TextTemplate(), BARE):
            raise FeatureError(
                f"template={tuple(self.template)}: the tokenizer's chat template writes these "
                "conversations; leave it out, or give the rows as texts"
            )
        return replace(made, template=BARE)

    @property
    def written(self) -> bool:
        """Whether a tokenizer's chat template wrote prompts and responses."""
        return self.chat_template.startswith(HASHED)

    def width(self, hidden_size: int) -> int:
        """Columns of the features on a backbone of this width."""
        return hidden_size * len(self.layers) * len(pooling_parts(self.pooling))


def feature_identity(backbone: Backbone, settings: ExtractSettings) -> FeatureIdentity:
    """By what the features of this backbone and these settings are known."""
    name, model_type, config, weights, tokenizer, license = backbone.identity
    return FeatureIdentity(
        backbone=name,
        model_type=model_type,
        config_sha256=config,
        weights_sha256=weights,
        tokenizer_sha256=tokenizer,
        prompt_template=settings.template.prompt,
        response_template=settings.template.response,
        end_token=backbone.tokenizer.end_token,
        pooling=settings.pooling,
        layer=layer_name(settings.layers),
        query=settings.query,
        chat_template=settings.chat_template,
        compute_dtype=backbone.module.dtype.name,
        text_rule=TEXT_RULE,
        license=license,
    )
