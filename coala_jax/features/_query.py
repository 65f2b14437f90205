"""The query of attention pooling: derived from the data, kept with the features, never random.

A token's weight is the softmax over its text of its state's product with the query. The query lies
along the mean state of the response tokens of a sample, and is as long as gives the products a
standard deviation of 1 over those tokens: weights then differ by factors, and no token takes all.
"""

import base64
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax.backbones import Backbone, BackboneModule
from coala_jax.features._errors import FeatureError
from coala_jax.features._packing import Batch, pack_batches, token_batch
from coala_jax.features._pooling import find_spans
from coala_jax.features._tokens import TokenSequence

# Pairs whose responses the default query is derived from, the first of the data.
QUERY_ROWS = 64
# Slots that run together for it: always as many, so that a run that goes on derives the same query.
QUERY_BUDGET = 4096


class Moments(NamedTuple):
    """Sums over the response tokens of a batch, one a layer.

    Attributes:
        tokens: scalar, how many.
        total: (layers, width) sum of states.
        square: (layers, width, width) sum of their outer products.
    """

    tokens: jax.Array
    total: jax.Array
    square: jax.Array


def derive_query(
    backbone: Backbone,
    sequences: Sequence[TokenSequence],
    layers: tuple[int, ...],
) -> np.ndarray:
    """The default query of some sequences.

    Args:
        backbone: the frozen model.
        sequences: what to derive it from.
        layers: whose states are pooled.

    Returns:
        (layers, width) float32.

    Raises:
        FeatureError: states that do not vary along their mean, or are not finite.
    """
    plan = pack_batches(
        sequences, QUERY_BUDGET, backbone.tokenizer.pad_id, share=backbone.module.causal
    )
    parts = [_moments(backbone.module, batch, layers=layers) for batch in plan.batches]
    count, total, square = (
        np.sum([np.asarray(x, np.float64) for x in part], 0) for part in zip(*parts, strict=True)
    )
    mean = total / count
    direction = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    second = np.einsum("lw,lwv,lv->l", direction, square / count, direction)
    spread = np.sqrt(np.maximum(second - np.einsum("lw,lw->l", direction, mean) ** 2, 0))
    if not (np.isfinite(spread).all() and (spread > 0).all()):
        raise FeatureError(
            "pooling 'attention': the states of the first rows give no query (they do not vary "
            "or are not finite); check the checkpoint or pool by mean or last"
        )
    return (direction / spread[:, None]).astype(np.float32)


def query_text(query: np.ndarray) -> str:
    """A query as an identity keeps it: base64 of its little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(query, "<f4").tobytes()).decode()


def query_array(text: str, layers: int, width: int) -> np.ndarray:
    """The (layers, width) query of a text that `query_text` made.

    Raises:
        FeatureError: a text of another size.
    """
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
        return values.reshape(layers, width).astype(np.float32)
    except ValueError:
        raise FeatureError(
            f"pooling 'attention' needs a query of {layers} layers of width {width}, base64 of "
            "float32; extract_store derives one where none is given"
        ) from None


@partial(jax.jit, static_argnames="layers")
def _moments(module: BackboneModule, batch: Batch, *, layers: tuple[int, ...]) -> Moments:
    tokens = token_batch(batch)
    spans = find_spans(
        tokens.positions, tokens.ends, jnp.asarray(batch.last), jnp.asarray(batch.start)
    )
    # A token that several texts share counts once for each; slots without a text are no leaves.
    leaves = (jnp.asarray(batch.sequence) >= 0)[..., None]
    weight = (spans.response & leaves).sum(1).astype(jnp.float32)
    states = jnp.stack(module.states(tokens, layers=layers).hidden).astype(jnp.float32)
    return Moments(
        weight.sum(),
        jnp.einsum("bl,nblw->nw", weight, states, precision="highest"),
        jnp.einsum("bl,nblw,nblv->nwv", weight, states, states, precision="highest"),
    )
