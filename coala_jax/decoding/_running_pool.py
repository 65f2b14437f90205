"""Pooling that goes on: rewards of a text that grows by a token, without its earlier states."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax._head import ConvexHead, Head
from coala_jax.backbones import Backbone
from coala_jax.decoding._reward_model import TextRewardModel
from coala_jax.features._pooling import ATTENTION, pooling_parts
from coala_jax.features._query import query_array

# What one pooling of one layer keeps of the tokens so far; arrays of (..., width) or (..., 1).
PoolState = tuple[jax.Array, ...]
# By layer, by pooling in the order they are named.
RunningPools = tuple[tuple[PoolState, ...], ...]


class RunningPooling(NamedTuple):
    """A pooling of `coala_jax.features._pooling.POOLINGS` by steps.

    Attributes:
        begin: hidden states (rows, length, width) and booleans (rows, length) of a prompt to what
            is kept of it.
        add: what is kept, a response token's state (..., width) and the query to what is kept.
        value: what is kept to the pooled vector (..., width).
    """

    begin: Callable[[jax.Array, jax.Array], PoolState]
    add: Callable[[PoolState, jax.Array, jax.Array | None], PoolState]
    value: Callable[[PoolState], jax.Array]


def _no_tokens(hidden: jax.Array, _: jax.Array) -> PoolState:
    zeros = jnp.zeros((*hidden.shape[:-2], hidden.shape[-1]), jnp.float32)
    return zeros, zeros[..., :1]


def _all_tokens(hidden: jax.Array, mask: jax.Array) -> PoolState:
    used = jnp.where(mask[..., None], hidden, 0).astype(jnp.float32)
    return used.sum(-2), mask.sum(-1, keepdims=True).astype(jnp.float32)


def _add_to_sum(kept: PoolState, state: jax.Array, _: jax.Array | None) -> PoolState:
    total, count = kept
    return total + state, count + 1


def _mean(kept: PoolState) -> jax.Array:
    total, count = kept
    return total / jnp.maximum(count, 1)


def _nothing_yet(hidden: jax.Array, _: jax.Array) -> PoolState:
    return (jnp.zeros((*hidden.shape[:-2], hidden.shape[-1]), jnp.float32),)


def _replace(_: PoolState, state: jax.Array, __: jax.Array | None) -> PoolState:
    return (state,)


def _first_token(hidden: jax.Array, mask: jax.Array) -> PoolState:
    first = jnp.argmax(mask, axis=-1)[..., None, None]
    return (jnp.take_along_axis(hidden, first, axis=-2)[..., 0, :].astype(jnp.float32),)


def _keep(kept: PoolState, _: jax.Array, __: jax.Array | None) -> PoolState:
    return kept


def _alone(kept: PoolState) -> jax.Array:
    return kept[0]


def _no_attention(hidden: jax.Array, _: jax.Array) -> PoolState:
    zeros = jnp.zeros((*hidden.shape[:-2], hidden.shape[-1]), jnp.float32)
    return zeros, zeros[..., :1], jnp.full_like(zeros[..., :1], -jnp.inf)


def _attend(kept: PoolState, state: jax.Array, query: jax.Array | None) -> PoolState:
    """A softmax by steps: sums of weighted states and of weights, both relative to the largest."""
    assert query is not None  # the settings of a head with this pooling hold one
    total, weight, largest = kept
    score = jnp.sum(state * query, axis=-1, keepdims=True)
    top = jnp.maximum(largest, score)
    before, own = jnp.exp(largest - top), jnp.exp(score - top)
    return total * before + state * own, weight * before + own, top


def _attended(kept: PoolState) -> jax.Array:
    total, weight, _ = kept
    return total / jnp.where(weight > 0, weight, 1)


RUNNING: Mapping[str, RunningPooling] = {
    "mean": RunningPooling(_no_tokens, _add_to_sum, _mean),
    "last": RunningPooling(_nothing_yet, _replace, _alone),
    ATTENTION: RunningPooling(_no_attention, _attend, _attended),
    "text_mean": RunningPooling(_all_tokens, _add_to_sum, _mean),
    "first": RunningPooling(_first_token, _keep, _alone),
}


class Reading(NamedTuple):
    """Which pooled states a head reads.

    Attributes:
        pooling: names joined by ``+``.
        layers: of the backbone; none where there is no head.
    """

    pooling: str
    layers: tuple[int, ...]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["head", "query", "value_head"],
    meta_fields=["reading", "value_reading"],
)
@dataclass(frozen=True)
class RunningReward:
    """A head that scores texts in the making.

    Attributes:
        head: the network.
        query: (layers, width) of attention pooling, a row for every one of `layers`; or None.
        reading: of the head.
        value_head: says of a text in the making what it will be worth; None where the head itself
            is asked.
        value_reading: of the value head.
    """

    head: Head
    query: jax.Array | None
    reading: Reading
    value_head: Head | None = None
    value_reading: Reading | None = None

    @classmethod
    def of(cls, model: Backbone | TextRewardModel) -> "RunningReward":
        """That of a model, on the device; of a backbone alone, one that nothing may look at."""
        if not isinstance(model, TextRewardModel):
            center = jnp.zeros(model.config.hidden_size, jnp.float32)
            none = jnp.zeros((*center.shape, 0), jnp.float32)
            return cls(ConvexHead(none, none[0], none[0], center), None, Reading("mean", ()))
        settings, query = model.settings, None
        if settings.query:
            shape = len(settings.layers), model.backbone.config.hidden_size
            query = jnp.asarray(query_array(settings.query, *shape))
        made = cls(_on_device(model.head), query, Reading(settings.pooling, settings.layers))
        if model.value_head is None:
            return made
        head, own = model.value_head
        reading = Reading(own.pooling, own.layers)
        both = replace(made, value_head=_on_device(head), value_reading=reading)
        if query is None:
            return both
        # Attention is the head's: nobody reads that of other layers, which are the last ones.
        more = len(both.layers) - len(query)
        return replace(both, query=jnp.pad(query, ((0, more), (0, 0))))

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers whose states are kept, each once: those of the head first."""
        return tuple(dict.fromkeys(layer for one in self._readings for layer in one.layers))

    @property
    def _readings(self) -> list[Reading]:
        return [one for one in (self.reading, self.value_reading) if one is not None]

    @property
    def _names(self) -> tuple[str, ...]:
        """Poolings that are kept, each once."""
        names = (name for one in self._readings for name in pooling_parts(one.pooling))
        return tuple(dict.fromkeys(names))

    def without_values(self) -> "RunningReward":
        """The same with the head alone; what is kept stays the same."""
        return replace(self, value_head=None)

    def begin(self, hidden: tuple[jax.Array, ...], mask: jax.Array) -> RunningPools:
        """What is kept of prompts.

        Args:
            hidden: for every layer, (rows, length, width).
            mask: (rows, length) booleans, true at prompt tokens.
        """
        return tuple(tuple(part.begin(layer, mask) for part in self._parts) for layer in hidden)

    def add(self, pools: RunningPools, states: tuple[jax.Array, ...]) -> RunningPools:
        """What is kept once a response token has run.

        Args:
            pools: what was kept, of shape (..., width); broadcasts against the states.
            states: the token's hidden state in every layer, (..., width).
        """
        grown = []
        for number, (layer, state) in enumerate(zip(pools, states, strict=True)):
            own = None if self.query is None else self.query[number]
            wide = state.astype(jnp.float32)
            parts = zip(self._parts, layer, strict=True)
            grown.append(tuple(part.add(kept, wide, own) for part, kept in parts))
        return tuple(grown)

    def score(self, pools: RunningPools) -> jax.Array:
        """(...) float32 rewards of the texts so far."""
        return self._by(self.head, self.reading, pools)

    def value(self, pools: RunningPools) -> jax.Array:
        """(...) float32: what the texts so far are worth to guidance."""
        if self.value_head is None or self.value_reading is None:
            return self.score(pools)
        return self._by(self.value_head, self.value_reading, pools)

    def _by(self, head: Head, reading: Reading, pools: RunningPools) -> jax.Array:
        layers, names = self.layers, self._names
        vectors = [
            RUNNING[name].value(pools[layers.index(layer)][names.index(name)])
            for layer in reading.layers
            for name in pooling_parts(reading.pooling)
        ]
        whole = jnp.broadcast_shapes(*(vector.shape[:-1] for vector in vectors))
        wide = [jnp.broadcast_to(vector, (*whole, vector.shape[-1])) for vector in vectors]
        return head(jnp.concatenate(wide, -1)).astype(jnp.float32)

    @property
    def _parts(self) -> list[RunningPooling]:
        return [RUNNING[name] for name in self._names]


def _on_device(head: Head) -> Head:
    placed: Head = jax.tree.map(jnp.asarray, head)
    return placed


def select_rows(taken: jax.Array, new: RunningPools, old: RunningPools) -> RunningPools:
    """The new pools where ``taken``, (...) booleans, the old ones elsewhere."""
    return jax.tree.map(lambda one, other: jnp.where(taken[..., None], one, other), new, old)


def branched(pools: RunningPools) -> RunningPools:
    """Pools with an axis for branches before the width: (rows, width) to (rows, 1, width)."""
    return jax.tree.map(lambda kept: kept[..., None, :], pools)
