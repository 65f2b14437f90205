"""Token sequences through the frozen backbone, to pooled features in memory."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._progress import Progress
from coala_jax.backbones import Backbone, BackboneModule
from coala_jax.backbones._flops import pass_flops
from coala_jax.backbones._sharding import DATA, mesh_of, row_sharding
from coala_jax.backbones._stack import layer_indices
from coala_jax.features._errors import FeatureError
from coala_jax.features._memory import free_token_budget
from coala_jax.features._packing import Batch, TokenCounts, longest_row, pack_batches, token_batch
from coala_jax.features._pooling import find_spans, pool
from coala_jax.features._query import query_array
from coala_jax.features._settings import ExtractSettings
from coala_jax.features._tokens import TokenSequence

# How XLA says so, on every device.
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"


class PooledFeatures(NamedTuple):
    """Features of sequences, and what they took.

    Attributes:
        features: (n, d) float32.
        prefixes: (p, d) float32 of the sequences' beginnings, in the order of the sequences.
        counts: tokens given, distinct and run.
        flops: floating-point operations of all that ran, by `pass_flops`.
        shapes: the shapes that ran: a compilation each, the first time.
        token_budget: what they ran under, lower than asked for where the device ran out of memory.
    """

    features: np.ndarray
    prefixes: np.ndarray
    counts: TokenCounts
    flops: int
    shapes: frozenset[tuple[int, int, int]]
    token_budget: int


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
        (n, d) float32 features in the order of the sequences, those of their beginnings, and what
        they took.

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
    plan = pack_batches(sequences, token_budget, pad_id, share=share, multiple_of=copies)
    width = settings.width(backbone.config.hidden_size)
    count = len(sequences)
    beginnings = sum(len(sequence.prefixes) for sequence in sequences)
    features = np.empty((count + beginnings, width), np.float32)
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
        whole = int((taken & (batch.sequence < count)).sum())
        progress.advance(whole, batch.tokens.size)
    shapes = frozenset(batch.shape for batch in plan.batches)
    flops = sum(
        pass_flops(backbone.config, rows, length, settings.layers)
        for rows, length, _ in (batch.shape for batch in plan.batches)
    )
    made = features[:count], features[count:]
    return PooledFeatures(*made, plan.counts, flops, shapes, token_budget)


def require_finite(features: np.ndarray, names: Sequence[str]) -> None:
    """Raise where one of (n, d) features is not finite; names the first row and how many."""
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
    """Raise where a token has no row in the embedding: jax would take another one's."""
    bad = [n for n, sequence in enumerate(sequences) if max(sequence.tokens) >= vocab_size]
    if bad:
        raise FeatureError(
            f"tokens: {len(bad)} of {len(names)} rows have ids beyond the vocabulary, the first is "
            f"{names[bad[0]]} with id {max(sequences[bad[0]].tokens)}, of {vocab_size} known; the "
            "tokenizer belongs to another model"
        )


@partial(jax.jit, static_argnames=("pooling", "layers"))
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
