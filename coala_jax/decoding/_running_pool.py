"""Pooling that goes on: the vector of a text that grows by a token, without its earlier states."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax.features._pooling import ATTENTION, pooling_parts

# What one pooling of one layer keeps of the tokens so far; arrays of (..., width) or (..., 1).
Kept = tuple[jax.Array, ...]
# By layer, by pooling in the order they are named.
RunningPools = tuple[tuple[Kept, ...], ...]


class Running(NamedTuple):
    """A pooling of `coala_jax.features._pooling.POOLINGS` by steps.

    Attributes:
        begin: hidden states (rows, length, width) and booleans (rows, length) of a prompt to what
            is kept of it.
        add: what is kept, a response token's state (..., width) and the query to what is kept.
        value: what is kept to the pooled vector (..., width).
    """

    begin: Callable[[jax.Array, jax.Array], Kept]
    add: Callable[[Kept, jax.Array, jax.Array | None], Kept]
    value: Callable[[Kept], jax.Array]


def _no_tokens(hidden: jax.Array, _: jax.Array) -> Kept:
    zeros = jnp.zeros((*hidden.shape[:-2], hidden.shape[-1]), jnp.float32)
    return zeros, zeros[..., :1]


def _all_tokens(hidden: jax.Array, mask: jax.Array) -> Kept:
    used = jnp.where(mask[..., None], hidden, 0).astype(jnp.float32)
    return used.sum(-2), mask.sum(-1, keepdims=True).astype(jnp.float32)


def _add_to_sum(kept: Kept, state: jax.Array, _: jax.Array | None) -> Kept:
    total, count = kept
    return total + state, count + 1


def _mean(kept: Kept) -> jax.Array:
    total, count = kept
    return total / jnp.maximum(count, 1)


def _nothing_yet(hidden: jax.Array, _: jax.Array) -> Kept:
    return (jnp.zeros((*hidden.shape[:-2], hidden.shape[-1]), jnp.float32),)


def _replace(_: Kept, state: jax.Array, __: jax.Array | None) -> Kept:
    return (state,)


def _first_token(hidden: jax.Array, mask: jax.Array) -> Kept:
    first = jnp.argmax(mask, axis=-1)[..., None, None]
    return (jnp.take_along_axis(hidden, first, axis=-2)[..., 0, :].astype(jnp.float32),)


def _keep(kept: Kept, _: jax.Array, __: jax.Array | None) -> Kept:
    return kept


def _alone(kept: Kept) -> jax.Array:
    return kept[0]


def _no_attention(hidden: jax.Array, _: jax.Array) -> Kept:
    zeros = jnp.zeros((*hidden.shape[:-2], hidden.shape[-1]), jnp.float32)
    return zeros, zeros[..., :1], jnp.full_like(zeros[..., :1], -jnp.inf)


def _attend(kept: Kept, state: jax.Array, query: jax.Array | None) -> Kept:
    """A softmax by steps: sums of weighted states and of weights, both relative to the largest."""
    assert query is not None  # the settings of a head with this pooling hold one
    total, weight, largest = kept
    score = jnp.sum(state * query, axis=-1, keepdims=True)
    top = jnp.maximum(largest, score)
    before, own = jnp.exp(largest - top), jnp.exp(score - top)
    return total * before + state * own, weight * before + own, top


def _attended(kept: Kept) -> jax.Array:
    total, weight, _ = kept
    return total / jnp.where(weight > 0, weight, 1)


RUNNING: Mapping[str, Running] = {
    "mean": Running(_no_tokens, _add_to_sum, _mean),
    "last": Running(_nothing_yet, _replace, _alone),
    ATTENTION: Running(_no_attention, _attend, _attended),
    "text_mean": Running(_all_tokens, _add_to_sum, _mean),
    "first": Running(_first_token, _keep, _alone),
}


def begin_pools(hidden: tuple[jax.Array, ...], mask: jax.Array, pooling: str) -> RunningPools:
    """What is kept of prompts.

    Args:
        hidden: for every layer, (rows, length, width).
        mask: (rows, length) booleans, true at prompt tokens.
        pooling: names joined by ``+``.
    """
    parts = pooling_parts(pooling)
    return tuple(tuple(RUNNING[part].begin(layer, mask) for part in parts) for layer in hidden)


def add_token(
    pools: RunningPools, states: tuple[jax.Array, ...], pooling: str, query: jax.Array | None
) -> RunningPools:
    """What is kept once a response token has run.

    Args:
        pools: what was kept, of shape (..., width); broadcasts against the states.
        states: the token's hidden state in every layer, (..., width).
        pooling: as in `begin_pools`.
        query: (layers, width) of attention pooling, or None.
    """
    parts = pooling_parts(pooling)
    grown = []
    for number, (layer, state) in enumerate(zip(pools, states, strict=True)):
        own = None if query is None else query[number]
        wide = state.astype(jnp.float32)
        added = [RUNNING[p].add(kept, wide, own) for p, kept in zip(parts, layer, strict=True)]
        grown.append(tuple(added))
    return tuple(grown)


def pooled_vector(pools: RunningPools, pooling: str) -> jax.Array:
    """(..., d) the features of the text so far, as `features._pooling.pool` gives them."""
    parts = pooling_parts(pooling)
    vectors = [
        RUNNING[part].value(kept)
        for layer in pools
        for part, kept in zip(parts, layer, strict=True)
    ]
    whole = jnp.broadcast_shapes(*(vector.shape[:-1] for vector in vectors))
    return jnp.concatenate([jnp.broadcast_to(v, (*whole, v.shape[-1])) for v in vectors], -1)


def select_rows(taken: jax.Array, new: RunningPools, old: RunningPools) -> RunningPools:
    """The new pools where ``taken``, (...) booleans, the old ones elsewhere."""
    return jax.tree.map(lambda one, other: jnp.where(taken[..., None], one, other), new, old)


def branched(pools: RunningPools) -> RunningPools:
    """Pools with an axis for branches before the width: (rows, width) to (rows, 1, width)."""
    return jax.tree.map(lambda kept: kept[..., None, :], pools)


def forget_response(pools: RunningPools, pooling: str) -> RunningPools:
    """Pools of the same shape that no token has reached, for scoring tokens apart from their text.

    The first token of a text stays what it was: it is no response token.
    """
    parts = pooling_parts(pooling)
    return tuple(
        tuple(_forgotten(part, kept) for part, kept in zip(parts, layer, strict=True))
        for layer in pools
    )


def _forgotten(part: str, kept: Kept) -> Kept:
    if part == "first":
        return kept
    hidden = jnp.zeros((*kept[0].shape[:-1], 1, kept[0].shape[-1]))
    return RUNNING[part].begin(hidden, jnp.zeros(hidden.shape[:-1], bool))
