"""Pooling: hidden states of the tokens of a text to one vector."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax.features._errors import FeatureError

# Joins the names of several poolings, whose vectors are concatenated.
JOINT = "+"
HIGHEST = jax.lax.Precision.HIGHEST


class Spans(NamedTuple):
    """Which slots of a row belong to which of its texts.

    Attributes:
        text: (batch, texts, length) booleans, true at a text's tokens, prompt and response.
        response: same shape, true at those of its response.
    """

    text: jax.Array
    response: jax.Array


def find_spans(positions: jax.Array, ends: jax.Array, last: jax.Array, start: jax.Array) -> Spans:
    """The slots of every text: those that its last token sees.

    Args:
        positions: (batch, length), as in `coala_jax.backbones._attention.TokenBatch`.
        ends: (batch, length).
        last: (batch, texts) slot of every text's last token.
        start: (batch, texts) position of its first response token.
    """
    slots = jnp.arange(positions.shape[1])
    text = (slots <= last[..., None]) & (last[..., None] < ends[:, None, :])
    return Spans(text, text & (positions[:, None, :] >= start[..., None]))


def mean_of_slots(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    """(batch, texts, width) mean of the states over masked slots; zeros for a text without any.

    Args:
        hidden: (batch, length, width).
        mask: (batch, texts, length) booleans.
    """
    weight = mask.astype(jnp.promote_types(hidden.dtype, jnp.float32))
    weight = weight / jnp.maximum(weight.sum(-1, keepdims=True), 1)
    return _weighted_sum(weight, _used(hidden, mask))


def last_of_slots(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    """(batch, texts, width) state of the last masked slot; the first slot's for a text without."""
    last = (jnp.arange(mask.shape[-1]) * mask).max(-1)
    chosen = jnp.take_along_axis(hidden, last[..., None], axis=1)
    return chosen.astype(jnp.promote_types(hidden.dtype, jnp.float32))


def attention_of_slots(hidden: jax.Array, mask: jax.Array, query: jax.Array | None) -> jax.Array:
    """(batch, texts, width) mean weighted by the softmax of the (width,) query times state."""
    if query is None:
        raise FeatureError(f"pooling {ATTENTION!r} needs a query")
    used = _used(hidden, mask)
    scores = jnp.einsum("blw,w->bl", used, query.astype(used.dtype), precision=HIGHEST)
    shares = jax.nn.softmax(scores[:, None, :], axis=-1, where=mask)
    return _weighted_sum(jnp.where(mask.any(-1, keepdims=True), shares, 0), used)


def _used(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    """States in float32 at least; what stands at padding must not count: NaN times 0 is NaN."""
    used = jnp.where(mask.any(1)[..., None], hidden, 0)
    return used.astype(jnp.promote_types(hidden.dtype, jnp.float32))


def _weighted_sum(weight: jax.Array, states: jax.Array) -> jax.Array:
    return jnp.einsum("btl,blw->btw", weight, states, precision=HIGHEST)


def _first(spans: Spans) -> jax.Array:
    return spans.text & (jnp.cumsum(spans.text, axis=-1) == 1)


ATTENTION = "attention"
POOLINGS: Mapping[str, Callable[[jax.Array, Spans, jax.Array | None], jax.Array]] = {
    # Over the response and its end token.
    "mean": lambda hidden, spans, _: mean_of_slots(hidden, spans.response),
    "last": lambda hidden, spans, _: last_of_slots(hidden, spans.response),
    ATTENTION: lambda hidden, spans, query: attention_of_slots(hidden, spans.response, query),
    # Over prompt and response.
    "text_mean": lambda hidden, spans, _: mean_of_slots(hidden, spans.text),
    # The text's first token: an encoder's [CLS].
    "first": lambda hidden, spans, _: last_of_slots(hidden, _first(spans)),
}


def pooling_parts(pooling: str) -> tuple[str, ...]:
    """The single poolings of a name such as ``mean+last``.

    Raises:
        FeatureError: a part that is unknown or named twice.
    """
    parts = tuple(pooling.split(JOINT))
    if any(part not in POOLINGS for part in parts) or len(set(parts)) < len(parts):
        raise FeatureError(
            f"pooling={pooling!r} is not known; choose {', '.join(POOLINGS)} or several, each "
            f"once, joined by {JOINT!r}, such as 'mean+last'"
        )
    return parts


def pool(
    hidden: jax.Array, spans: Spans, pooling: str, query: jax.Array | None = None
) -> jax.Array:
    """One vector a text: the poolings' vectors, concatenated in the order they are named.

    Args:
        hidden: (batch, length, width).
        spans: the slots of every text.
        pooling: names of ``POOLINGS`` joined by ``+``.
        query: (width,) of ``attention``.

    Returns:
        (batch, texts, width times the number of poolings) float32 at least.

    Raises:
        FeatureError: an unknown pooling, or ``attention`` without a query.
    """
    parts = [POOLINGS[part](hidden, spans, query) for part in pooling_parts(pooling)]
    return jnp.concatenate(parts, -1)
