"""Who sees whom: token trees, attention over them, and the key-value cache.

A row of a batch holds trees of tokens laid out depth first. A plain text is a tree without
branches; a prompt with its two responses is one with two; several small trees may share a row.
Every slot carries the slot at which its subtree ends, so that

    slot i sees slot j    iff    j <= i < ends[j]

is "j is i or an ancestor of i", and shared tokens run once, whatever follows them. One integer a
token describes causal masks, padding, packing, shared prefixes and candidates that must not see
each other.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from coala_jax._errors import CoalaError
from coala_jax.backbones._ops import bent, matmul_precision, wide

# Queries that a CPU scores at once. A row's scores of 4 heads by 128 queries by 512 keys take 1 MB
# and stay in the cache: measured on rows of 256 to 1024 tokens, attention is 5 to 8 times as fast
# as with the scores of a whole batch in memory; blocks of 64 and 256 are within a tenth.
QUERY_BLOCK = 128
# The end of a text that goes on: every slot to come sees it.
OPEN_END = np.iinfo(np.int32).max


class TokenBatch(NamedTuple):
    """Rows of token trees.

    Attributes:
        tokens: (batch, length) int32 ids.
        positions: (batch, length) int32 depth in the tree, which position embeddings count.
        ends: (batch, length) int32 slot after the last one that sees this token; ``slot + 1`` where
            no other does, as at padding.
        slots: (batch, length) int32 slot of every token, where they do not simply go on from the
            lengths of the cache, or from 0; None where they do.

    Example:
        >>> from importlib import resources
        >>> import jax.numpy as jnp
        >>> from coala_jax.backbones import BackboneModule, TokenBatch, load_backbone
        >>> backbone = load_backbone(resources.files("coala_jax.quickstart") / "backbone")
        >>> isinstance(backbone.module, BackboneModule)
        True
        >>> tokens = jnp.asarray([backbone.tokenizer.encode("A cell")])
        >>> places = jnp.arange(tokens.shape[1])[None]
        >>> ends = jnp.full_like(tokens, tokens.shape[1])  # of a text, which is no tree
        >>> batch = TokenBatch(tokens, places, ends)
        >>> batch.tokens.shape == batch.ends.shape
        True
    """

    tokens: jax.Array
    positions: jax.Array
    ends: jax.Array
    slots: jax.Array | None = None


class KeyValueCache(NamedTuple):
    """Keys and values of tokens that have run, for those that follow.

    Attributes:
        keys: (layers, batch, heads, capacity, head_dim): what a head reads lies together.
        values: same shape.
        positions: (batch, capacity) int32 of every token.
        ends: (batch, capacity) int32 as in ``TokenBatch``; 0 in slots that are empty.
        lengths: (batch,) int32, the slot of every row at which it goes on.
    """

    keys: jax.Array
    values: jax.Array
    positions: jax.Array
    ends: jax.Array
    lengths: jax.Array

    @property
    def capacity(self) -> int:
        """How many slots a row has."""
        return self.keys.shape[3]


class States(NamedTuple):
    """What a pass gives.

    Attributes:
        hidden: one (batch, length, width) array for every layer asked for, in that order.
        keys: (layers, batch, length, heads, head_dim) of this batch; None unless asked for.
        values: same shape, or None.
    """

    hidden: tuple[jax.Array, ...]
    keys: jax.Array | None = None
    values: jax.Array | None = None


def plain_batch(
    tokens: jax.Array, attention_mask: jax.Array | None = None, max_length: int | None = None
) -> TokenBatch:
    """One text a row.

    Args:
        tokens: (batch, length) ids.
        attention_mask: (batch, length), true or 1 at real tokens; padding may stand anywhere and
            is seen by itself alone. None means that every token is real.
        max_length: of the model, where the length is to be checked.

    Returns:
        The batch; positions count real tokens.

    Raises:
        ValueError: a mask of another shape, or a length beyond ``max_length``.
    """
    length = tokens.shape[1]
    if max_length is not None and length > max_length:
        raise CoalaError(f"tokens: length {length} exceeds the model's {max_length} positions")
    slots = jnp.broadcast_to(jnp.arange(length), tokens.shape)
    if attention_mask is None:
        return TokenBatch(tokens, slots, jnp.full_like(slots, length))
    if attention_mask.shape != tokens.shape:
        raise CoalaError(
            f"attention_mask: shape {attention_mask.shape} differs from that of tokens, "
            f"{tokens.shape}"
        )
    real = attention_mask.astype(bool)
    positions = jnp.maximum(jnp.cumsum(real, axis=1, dtype=slots.dtype) - 1, 0)
    # Behind the last real token, not at the row's end: padding on the right is no part of the text.
    end = jnp.where(real, slots + 1, 0).max(axis=1, keepdims=True)
    return TokenBatch(tokens, positions, jnp.where(real, end, slots + 1))


def empty_cache(
    layers: int, batch: int, capacity: int, heads: int, head_dim: int, dtype: DTypeLike
) -> KeyValueCache:
    """A cache without tokens."""
    keys = jnp.zeros((layers, batch, heads, capacity, head_dim), dtype)
    slots = jnp.zeros((batch, capacity), jnp.int32)
    return KeyValueCache(keys, jnp.zeros_like(keys), slots, slots, jnp.zeros(batch, jnp.int32))


def append(cache: KeyValueCache, batch: TokenBatch, states: States) -> KeyValueCache:
    """The cache with the tokens of a pass behind what each row holds.

    The caller sees to it that there is room: under jit that cannot be checked, and what does not
    fit would overwrite the last slots.

    Args:
        cache: what the pass saw.
        batch: its tokens, without slots of their own.
        states: what it gave, with keys and values.

    Returns:
        The cache, every row longer by the batch's length.

    Raises:
        ValueError: the pass did not keep its keys and values.
    """
    whole = insert(cache, batch, states)
    return whole._replace(lengths=cache.lengths + batch.tokens.shape[1])


def insert(cache: KeyValueCache, batch: TokenBatch, states: States) -> KeyValueCache:
    """The cache with the tokens of a pass in their slots; no row becomes longer.

    Args:
        cache: what the pass saw.
        batch: its tokens; with slots of their own, each goes to its slot.
        states: what it gave, with keys and values.

    Returns:
        The cache; what the slots held before is gone.

    Raises:
        ValueError: the pass did not keep its keys and values.
    """
    if states.keys is None or states.values is None:
        raise CoalaError("states: no keys and values in them; run the pass with keep=True")
    slots = token_slots(batch, cache)

    def put(whole: jax.Array, part: jax.Array, slots: jax.Array) -> jax.Array:
        return whole.at[slots].set(part)

    rows = jax.vmap(put)
    return cache._replace(
        keys=put_tokens(cache.keys, states.keys, slots, side_by_side=batch.slots is None),
        values=put_tokens(cache.values, states.values, slots, side_by_side=batch.slots is None),
        positions=rows(cache.positions, batch.positions, slots),
        ends=rows(cache.ends, batch.ends, slots),
    )


def put_tokens(
    whole: jax.Array, part: jax.Array, slots: jax.Array, *, side_by_side: bool = False
) -> jax.Array:
    """Keys or values of tokens, put into a cache.

    Args:
        whole: (layers, batch, heads, capacity, head_dim).
        part: (layers, batch, length, heads, head_dim).
        slots: (batch, length) int32; what goes to a slot outside is dropped.
        side_by_side: the slots of a row follow each other, and all lie inside: one copy a row.
    """

    def put(whole: jax.Array, part: jax.Array, slots: jax.Array) -> jax.Array:
        part = part.swapaxes(0, 1).astype(whole.dtype)
        if side_by_side:
            zero = jnp.zeros_like(slots[0])
            return jax.lax.dynamic_update_slice(whole, part, [zero, slots[0], zero])
        return whole.at[:, slots].set(part, mode="drop")

    return jax.vmap(jax.vmap(put), in_axes=(0, 0, None))(whole, part, slots)


def token_slots(batch: TokenBatch, cache: KeyValueCache | None = None) -> jax.Array:
    """(batch, length) or (1, length) int32 slot of every token."""
    if batch.slots is not None:
        return batch.slots
    first = jnp.zeros((1, 1), jnp.int32) if cache is None else cache.lengths[:, None]
    return first + jnp.arange(batch.tokens.shape[1])


class Sight(NamedTuple):
    """Which keys every query may see, the batch's own and the cached ones.

    Attributes:
        own: (batch, query, key) booleans.
        own_distance: (batch, query, key) int32 positions from key to query.
        cached: (batch, query, capacity) booleans; None without a cache.
        cached_distance: same shape, or None.
        causal: whether no query sees a key in a slot behind its own.
    """

    own: jax.Array
    own_distance: jax.Array
    cached: jax.Array | None = None
    cached_distance: jax.Array | None = None
    causal: bool = False

    def within(self, window: jax.Array) -> "Sight":
        """Only keys fewer than ``window`` positions back: a sliding window."""
        own = self.own & (self.own_distance < window)
        if self.cached is None or self.cached_distance is None:
            return self._replace(own=own)
        return self._replace(own=own, cached=self.cached & (self.cached_distance < window))


def causal_sight(batch: TokenBatch, cache: KeyValueCache | None = None) -> Sight:
    """Every token sees itself and its ancestors."""
    slots = token_slots(batch, cache)
    query, key = slots[:, :, None], slots[:, None, :]
    own = (key <= query) & (query < batch.ends[:, None, :])
    distance = batch.positions[:, :, None] - batch.positions[:, None, :]
    if cache is None:
        return Sight(own, distance, causal=True)
    cached = query < cache.ends[:, None, :]
    if batch.slots is not None:  # a branch may lie before others that are cached
        cached = cached & (jnp.arange(cache.capacity) < query)
    cached_distance = batch.positions[:, :, None] - cache.positions[:, None, :]
    return Sight(own, distance, cached, cached_distance, causal=True)


def mutual_sight(batch: TokenBatch) -> Sight:
    """Every token sees all of its own text; for encoders, and trees without branches.

    Without branches the tokens of a text end where its last one does, and no other slot there.
    """
    own = batch.ends[:, :, None] == batch.ends[:, None, :]
    return Sight(own, batch.positions[:, :, None] - batch.positions[:, None, :])


def attend(
    query: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    sight: Sight,
    scale: float | jax.Array,
    cached: tuple[jax.Array, jax.Array] | None = None,
    cap: float | None = None,
) -> jax.Array:
    """Attention with grouped queries, scores and softmax in float32.

    The cached keys are scored where they lie and share one softmax with the batch's own: they are
    neither copied nor joined to them. Without a cache a CPU goes row by row, in blocks of queries.

    Args:
        query: (batch, length, heads, head_dim).
        keys: (batch, length, key heads, head_dim); the heads are a multiple of the key heads.
        values: same shape as the keys.
        sight: what every query may see.
        scale: of the scores.
        cached: keys and values of one layer of a cache, (batch, key heads, capacity, head_dim).
        cap: bends the scores to cap tanh(scores / cap) (Gemma 2); None leaves them.

    Returns:
        (batch, length, heads * head_dim).
    """
    batch, length, heads, head_dim = query.shape
    grouped = query.reshape(batch, length, keys.shape[2], heads // keys.shape[2], head_dim)
    if cached is None or sight.cached is None:
        own = grouped, keys, values, sight.own
        mixed = jax.lax.platform_dependent(
            *own,
            cpu=functools.partial(_mix_by_rows, scale=scale, causal=sight.causal, cap=cap),
            default=functools.partial(_mix_whole, scale=scale, cap=cap),
        )
    else:
        own_keys, own_values = keys.swapaxes(1, 2), values.swapaxes(1, 2)
        sources = [(own_keys, own_values, sight.own), (*cached, sight.cached)]
        mixed = _mix(grouped, sources, scale, cap)
    return mixed.reshape(batch, length, heads * head_dim)


def _mix_whole(
    grouped: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    visible: jax.Array,
    *,
    scale: float | jax.Array,
    cap: float | None = None,
) -> jax.Array:
    """`_mix` of one source whose heads do not lead."""
    return _mix(grouped, [(keys.swapaxes(1, 2), values.swapaxes(1, 2), visible)], scale, cap)


def _mix(
    grouped: jax.Array,
    sources: Sequence[tuple[jax.Array, jax.Array, jax.Array]],
    scale: float | jax.Array,
    cap: float | None = None,
) -> jax.Array:
    """Values of all sources (keys, values, what is visible), mixed under one softmax.

    Keys and values are (batch, key heads, keys, head_dim). The shares are divided by their sum once
    they are mixed: there are fewer values than shares.
    """
    batch, length, heads, group, head_dim = grouped.shape
    precision = matmul_precision(grouped.dtype)
    joint = jnp.moveaxis(grouped, 1, 3).reshape(batch, heads, group * length, head_dim)

    def score(keys: jax.Array, visible: jax.Array) -> jax.Array:
        turned = keys.astype(grouped.dtype).swapaxes(-1, -2)
        raw = jnp.matmul(joint, turned, precision=precision).astype(wide(grouped.dtype)) * scale
        raw = bent(raw, cap).reshape(batch, heads, group, length, -1)
        # The lowest finite number, not -inf: a row that sees nothing stays finite.
        return jnp.where(visible[:, None, None], raw, jnp.finfo(raw.dtype).min)

    scores = [score(keys, visible) for keys, _, visible in sources]
    tops = [each.max(-1, keepdims=True) for each in scores]
    # The largest score cancels in the quotient, and so does its gradient.
    largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, tops))
    raised = [jnp.exp(each - largest) for each in scores]
    total = sum(each.sum(-1) for each in raised)
    mixed = sum(
        jnp.matmul(
            shares.astype(grouped.dtype).reshape(batch, heads, group * length, -1),
            values.astype(grouped.dtype),
            precision=precision,
        )
        for shares, (_, values, _) in zip(raised, sources, strict=True)
    )
    mixed = jnp.reshape(mixed, (batch, heads, group, length, head_dim)) / jnp.expand_dims(total, -1)
    return jnp.moveaxis(mixed, 3, 1).astype(grouped.dtype)


def _mix_by_rows(
    grouped: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    visible: jax.Array,
    *,
    scale: float | jax.Array,
    causal: bool,
    cap: float | None = None,
) -> jax.Array:
    """`_mix` of one source, a row and a block of queries at a time."""

    def mix_row(row: tuple[jax.Array, jax.Array, jax.Array, jax.Array]) -> jax.Array:
        grouped, keys, values, visible = row
        # Heads lead, so that the products of a block read memory in order.
        queries, keys, values = (
            jnp.transpose(grouped, (1, 2, 0, 3)),
            jnp.transpose(keys, (1, 2, 0)),
            jnp.transpose(values, (1, 0, 2)),
        )
        length = visible.shape[0]
        blocks = []
        for start in range(0, length, QUERY_BLOCK):
            stop = min(start + QUERY_BLOCK, length)
            seen = stop if causal else length
            blocks.append(
                _mix_block(
                    queries[:, :, start:stop],
                    keys[:, :, :seen],
                    values[:, :seen],
                    visible[start:stop, :seen],
                    scale,
                    cap,
                )
            )
        return jnp.transpose(jnp.concatenate(blocks, axis=2), (2, 0, 1, 3))

    return jax.lax.map(mix_row, (grouped, keys, values, visible))


def _mix_block(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    visible: jax.Array,
    scale: float | jax.Array,
    cap: float | None = None,
) -> jax.Array:
    """(key heads, group, block, head_dim) values mixed for a block of queries.

    Args:
        queries: (key heads, group, block, head_dim).
        keys: (key heads, head_dim, keys).
        values: (key heads, keys, head_dim).
        visible: (block, keys).
        scale: of the scores.
        cap: as in `attend`.
    """
    heads, group, block, head_dim = queries.shape
    precision = matmul_precision(queries.dtype)
    joint = queries.reshape(heads, group * block, head_dim)
    scores = jnp.matmul(joint, keys, precision=precision).astype(wide(queries.dtype)) * scale
    scores = bent(scores, cap).reshape(heads, group, block, -1)
    scores = jnp.where(visible, scores, jnp.finfo(scores.dtype).min)
    # The largest score cancels in the quotient, and so does its gradient.
    raised = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    shares = raised.astype(queries.dtype).reshape(heads, group * block, -1)
    mixed = jnp.matmul(shares, values, precision=precision).reshape(queries.shape)
    return (mixed / raised.sum(-1, keepdims=True)).astype(queries.dtype)
