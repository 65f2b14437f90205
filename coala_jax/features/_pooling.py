"""Pooling: hidden states of the tokens of a text to one vector."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax.features._errors import FeatureError

# Joins the names of several poolings, whose vectors are concatenated.
JOINT = "+"


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
    """Mean of the hidden states over masked slots.

    Args:
        hidden: (batch, length, width).
        mask: (batch, texts, length) booleans.

    Returns:
        (batch, texts, width) float32 at least; zeros for a text without slots.
    """
    weight = mask.astype(jnp.promote_types(hidden.dtype, jnp.float32))
    weight = weight / jnp.maximum(weight.sum(-1, keepdims=True), 1)
    # What stands at padding must not reach the product: NaN times 0 is NaN.
    used = jnp.where(mask.any(1)[..., None], hidden, 0).astype(weight.dtype)
    return jnp.einsum("btl,blw->btw", weight, used, precision=jax.lax.Precision.HIGHEST)


def last_of_slots(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    """Hidden state of the last masked slot.

    Args:
        hidden: (batch, length, width).
        mask: (batch, texts, length) booleans.

    Returns:
        (batch, texts, width) float32 at least; the first slot's for a text without slots.
    """
    last = (jnp.arange(mask.shape[-1]) * mask).max(-1)
    chosen = jnp.take_along_axis(hidden, last[..., None], axis=1)
    return chosen.astype(jnp.promote_types(hidden.dtype, jnp.float32))


def attention_of_slots(hidden: jax.Array, mask: jax.Array, query: jax.Array) -> jax.Array:
    """Mean of the hidden states over masked slots, weighted by the softmax of query times state.

    Args:
        hidden: (batch, length, width).
        mask: (batch, texts, length) booleans.
        query: (width,) float32, scale included.

    Returns:
        (batch, texts, width) float32 at least; zeros for a text without slots.
    """
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    # What stands at padding must not reach the products: NaN times 0 is NaN.
    used = jnp.where(mask.any(1)[..., None], hidden, 0).astype(wide)
    scores = jnp.einsum("blw,w->bl", used, query.astype(wide), precision=jax.lax.Precision.HIGHEST)
    shares = jax.nn.softmax(scores[:, None, :], axis=-1, where=mask)
    shares = jnp.where(mask.any(-1, keepdims=True), shares, 0)
    return jnp.einsum("btl,blw->btw", shares, used, precision=jax.lax.Precision.HIGHEST)


def _mean(hidden: jax.Array, spans: Spans, _: jax.Array | None) -> jax.Array:
    return mean_of_slots(hidden, spans.response)


def _last(hidden: jax.Array, spans: Spans, _: jax.Array | None) -> jax.Array:
    return last_of_slots(hidden, spans.response)


def _text_mean(hidden: jax.Array, spans: Spans, _: jax.Array | None) -> jax.Array:
    return mean_of_slots(hidden, spans.text)


def _first(hidden: jax.Array, spans: Spans, _: jax.Array | None) -> jax.Array:
    first = spans.text & (jnp.cumsum(spans.text, axis=-1) == 1)
    return last_of_slots(hidden, first)


def _attention(hidden: jax.Array, spans: Spans, query: jax.Array | None) -> jax.Array:
    if query is None:
        raise FeatureError(f"pooling {ATTENTION!r} needs a query")
    return attention_of_slots(hidden, spans.response, query)


ATTENTION = "attention"
POOLINGS: Mapping[str, Callable[[jax.Array, Spans, jax.Array | None], jax.Array]] = {
    # Over the response and its end token.
    "mean": _mean,
    "last": _last,
    ATTENTION: _attention,
    # Over prompt and response.
    "text_mean": _text_mean,
    # The text's first token: an encoder's [CLS].
    "first": _first,
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
