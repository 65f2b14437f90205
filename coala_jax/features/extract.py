"""Texts through the frozen backbone: settings, identity, and pooled features in memory."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from coala_jax.backbones import Backbone, BackboneModule, layer_indices, pass_flops
from coala_jax.backbones.sharding import DATA, mesh_of, row_sharding
from coala_jax.data import ResponseRow
from coala_jax.features.chat import is_tokenizer_chat
from coala_jax.features.errors import FeatureError
from coala_jax.features.identity import FeatureIdentity, layer_name, layer_numbers
from coala_jax.features.memory import free_token_budget
from coala_jax.features.packing import Batch, TokenCounts, longest_row, plan_batches, token_batch
from coala_jax.features.pooling import ATTENTION, find_spans, pool, pooling_parts
from coala_jax.features.progress import Progress
from coala_jax.features.query import query_array
from coala_jax.features.tokens import RESPONSE_FIELD, TextTemplate, TokenSequence, encode_texts

# Types that numpy reads back by itself; bfloat16 is none of them.
STORE_TYPES = ("float32", "float16")
# How XLA says so, on every device.
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True)
class ExtractSettings:
    """How text becomes features.

    Attributes:
        pooling: names of `coala_jax.features.pooling.POOLINGS` joined by ``+``.
        layers: whose hidden states are pooled, as Hugging Face numbers ``hidden_states``; -1 is the
            last, after its norm. Several are concatenated.
        template: what stands around prompt and response.
        dtype: type on disk, ``float32`` or ``float16``.
        token_budget: slots that run together on one device; None takes what its free memory holds
            (`coala_jax.features.memory`). Halved, with a message, where the device runs out of it.
        shard_rows: rows of a shard of the store, the most that a killed run loses. Prefixes are
            shared within a shard.
        chat_template: by what conversations became the prompts, as a ``RowSet`` records it.
        share_prefixes: run the tokens that sequences begin alike with once, where the model is
            causal.
        query: of ``attention`` pooling, from `coala_jax.features.query.query_text`; empty means
            that `extract_store` derives one from the data.
    """

    pooling: str = "mean+last"
    layers: tuple[int, ...] = (-1,)
    template: TextTemplate = TextTemplate()
    dtype: str = "float32"
    token_budget: int | None = None
    shard_rows: int = 2048
    share_prefixes: bool = True
    query: str = ""
    chat_template: str = ""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            FeatureError: names the field, its value and what it may be.
        """
        pooling_parts(self.pooling)
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise FeatureError(f"layers={self.layers} must name at least one layer, each once")
        if self.query and ATTENTION not in pooling_parts(self.pooling):
            raise FeatureError(f"query: pooling={self.pooling!r} uses none; leave it out")
        self.template.check()
        if self.dtype not in STORE_TYPES:
            raise FeatureError(f"dtype={self.dtype!r} must be one of {', '.join(STORE_TYPES)}")
        for name in ("token_budget", "shard_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise FeatureError(f"{name} must be at least 1, got {value}")

    @classmethod
    def from_identity(cls, identity: FeatureIdentity) -> "ExtractSettings":
        """The settings that make features of this identity again."""
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

    def for_rows(self, chat_template: str) -> "ExtractSettings":
        """The settings for rows whose conversations became text by this chat template.

        A tokenizer's own template ends where the answer begins: no space goes before it.
        """
        ready = is_tokenizer_chat(chat_template) and self.template == TextTemplate()
        template = TextTemplate(response=RESPONSE_FIELD) if ready else self.template
        return replace(self, template=template, chat_template=chat_template)

    def width(self, hidden_size: int) -> int:
        """Columns of the features on a backbone of this width."""
        return hidden_size * len(self.layers) * len(pooling_parts(self.pooling))


class PooledFeatures(NamedTuple):
    """Features of sequences, and what they took.

    Attributes:
        features: (n, d) float32.
        counts: tokens given, distinct and run.
        flops: floating-point operations of all that ran, by `pass_flops`.
        shapes: the shapes that ran: a compilation each, the first time.
        token_budget: what they ran under, lower than asked for where the device ran out of memory.
    """

    features: np.ndarray
    counts: TokenCounts
    flops: int
    shapes: frozenset[tuple[int, int, int]]
    token_budget: int


class ResponseFeatures(NamedTuple):
    """Features of plain responses.

    Attributes:
        features: (n, d) float32.
        prompt_cut: how many rows lost prompt tokens to the context's length.
        response_cut: how many lost response tokens.
        token_budget: what they ran under, as `PooledFeatures` has it.
    """

    features: np.ndarray
    prompt_cut: int
    response_cut: int
    token_budget: int


def feature_identity(backbone: Backbone, settings: ExtractSettings) -> FeatureIdentity:
    """By what the features of this backbone and these settings are known."""
    name, model_type, config, weights, tokenizer = backbone.identity
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
    )


def features_of_responses(
    rows: Sequence[ResponseRow],
    backbone: Backbone,
    settings: ExtractSettings,
    progress: Progress | None = None,
) -> ResponseFeatures:
    """Features of plain (prompt, response) rows, with a progress bar on a terminal.

    Args:
        rows: what to score.
        backbone: the frozen model.
        settings: as the head's features were made: ``ExtractSettings.from_identity``.
        progress: told of every batch, where it goes on beyond these rows; None shows a bar of them.

    Returns:
        (n, d) features in the order of the rows, and how many rows were cut.

    Raises:
        FeatureError: a feature that is not finite or a token that the model does not know, named
            by its row.
    """
    sequences = encode_texts(
        backbone.tokenizer,
        [row.prompt for row in rows],
        [row.response for row in rows],
        settings.template,
        backbone.config.max_length,
    )
    names = [f"{row.id} ({row.side})" for row in rows]
    require_known_ids(sequences, names, backbone.config.vocab_size)
    with nullcontext(progress) if progress else Progress(len(sequences), "score") as shown:
        pooled = pooled_features(backbone, sequences, settings, shown)
    require_finite(pooled.features, names)
    return ResponseFeatures(
        pooled.features,
        prompt_cut=sum(sequence.prompt_cut for sequence in sequences),
        response_cut=sum(sequence.response_cut for sequence in sequences),
        token_budget=pooled.token_budget,
    )


def pooled_features(
    backbone: Backbone,
    sequences: Sequence[TokenSequence],
    settings: ExtractSettings,
    progress: Progress,
) -> PooledFeatures:
    """Run sequences through the backbone and pool each, on the devices that hold the backbone.

    Args:
        backbone: the frozen model.
        sequences: (n,) token sequences that fit its context.
        settings: pooling, layers and token budget.
        progress: told of every batch.

    Returns:
        (n, d) float32 features in the order of the sequences, and what they took.

    Raises:
        FeatureError: layers that the model does not have; a single row that does not fit the
            device's memory.
    """
    begun = progress.mark()
    longest = max((len(sequence.tokens) for sequence in sequences), default=1)
    budget = settings.token_budget or free_token_budget(
        backbone.config, longest_row(longest), backbone.module.dtype
    )
    while True:
        try:
            return _run_plan(backbone, sequences, settings, budget, progress)
        except jax.errors.JaxRuntimeError as error:
            if OUT_OF_MEMORY not in str(error):
                raise
            if budget <= longest:
                raise FeatureError(
                    f"the device has not enough memory for one row of {longest} tokens; use a "
                    "smaller model, bfloat16 or shorter texts"
                ) from error
            budget //= 2
            progress.say(f"out of memory: token budget lowered to {budget}")
            progress.rewind(begun)


def _run_plan(
    backbone: Backbone,
    sequences: Sequence[TokenSequence],
    settings: ExtractSettings,
    token_budget: int,
    progress: Progress,
) -> PooledFeatures:
    try:
        layer_indices(settings.layers, backbone.config.depth)
    except ValueError as error:
        raise FeatureError(str(error)) from None
    share = settings.share_prefixes and backbone.module.causal
    mesh = mesh_of(backbone.module)
    copies = 1 if mesh is None else mesh.shape[DATA]
    pad_id = backbone.tokenizer.pad_id
    plan = plan_batches(sequences, token_budget, pad_id, share=share, multiple_of=copies)
    width = settings.width(backbone.config.hidden_size)
    features = np.empty((len(sequences), width), np.float32)
    query = None
    if settings.query:
        shape = len(settings.layers), backbone.config.hidden_size
        query = jnp.asarray(query_array(settings.query, *shape))
    for batch in plan.batches:
        placed = batch if mesh is None else jax.device_put(batch, row_sharding(mesh))
        pooled = _forward(
            backbone.module, placed, query, pooling=settings.pooling, layers=settings.layers
        )
        taken = batch.sequence >= 0
        features[batch.sequence[taken]] = np.asarray(pooled)[taken]
        progress.advance(int(taken.sum()), batch.tokens.size)
    shapes = frozenset(batch.shape for batch in plan.batches)
    flops = sum(
        pass_flops(backbone.config, rows, length, settings.layers)
        for rows, length, _ in (batch.shape for batch in plan.batches)
    )
    return PooledFeatures(features, plan.counts, flops, shapes, token_budget)


def require_finite(features: np.ndarray, names: Sequence[str]) -> None:
    """Raise where a row of features is not finite.

    Args:
        features: (n, d).
        names: (n,) what to call the rows.

    Raises:
        FeatureError: names the first row and how many there are.
    """
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if bad.size:
        mend = ", or keep float32" if features.dtype == np.float16 else " for NaN and infinity"
        raise FeatureError(
            f"features: {bad.size} of {len(names)} rows are not finite in {features.dtype}, the "
            f"first is {names[bad[0]]}; check the checkpoint{mend}"
        )


def require_known_ids(
    sequences: Sequence[TokenSequence], names: Sequence[str], vocab_size: int
) -> None:
    """Raise where a token has no row in the embedding: jax would take another one's.

    Args:
        sequences: (n,) token sequences.
        names: (n,) what to call the rows.
        vocab_size: rows of the embedding.

    Raises:
        FeatureError: names the first row, the id, and how many rows there are.
    """
    bad = [n for n, sequence in enumerate(sequences) if max(sequence.tokens) >= vocab_size]
    if bad:
        raise FeatureError(
            f"tokens: {len(bad)} of {len(names)} rows have ids beyond the vocabulary, the first is "
            f"{names[bad[0]]} with id {max(sequences[bad[0]].tokens)}, of {vocab_size} known; the "
            "tokenizer belongs to another model"
        )


@nnx.jit(static_argnames=("pooling", "layers"))
def _forward(
    module: BackboneModule,
    batch: Batch,
    query: jax.Array | None,
    *,
    pooling: str,
    layers: tuple[int, ...],
) -> jax.Array:
    """(rows, leaves, d) pooled features of a batch."""
    tokens = token_batch(batch)
    last, start = jnp.asarray(batch.last), jnp.asarray(batch.start)
    spans = find_spans(tokens.positions, tokens.ends, last, start)
    states = module.states(tokens, layers=layers)
    queries = [None] * len(layers) if query is None else list(query)
    pooled = [
        pool(hidden, spans, pooling, one)
        for hidden, one in zip(states.hidden, queries, strict=True)
    ]
    return jnp.concatenate(pooled, axis=-1)
