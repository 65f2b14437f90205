"""Branches: what may follow the rows' prefixes, run against one cache, and their scores.

Every row has as many branches as candidates. They see the row's cache where it lies and their own
tokens, never each other's. Candidates alone run in one pass that the cache does not keep. Branches
of several tokens (a lookahead, or whole continuations) lie behind the row in slots of their own,
which count for nothing once one branch was chosen.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax.backbones._attention import (
    OPEN_END,
    KeyValueCache,
    TokenBatch,
    insert,
    put_tokens,
)
from coala_jax.decoding._running_pool import RunningPools, branched, select_rows
from coala_jax.decoding._state import DecodeState, Plan, Policy


class Branches(NamedTuple):
    """Continuations of every row.

    Attributes:
        tokens: (rows, branches, depth) int32.
        length: (rows, branches) int32, tokens of a branch up to its end.
        ended: (rows, branches) booleans: the last of them is an end token.
        near_ties: (rows, branches) int32, decisions on the way within ``NEAR_TIE`` of another.
        hidden: (rows, branches, width) last hidden state of the last of them.
        pools: of prefix and branch, with the axis of branches.
    """

    tokens: jax.Array
    length: jax.Array
    ended: jax.Array
    near_ties: jax.Array
    hidden: jax.Array
    pools: RunningPools


class ScoredBranches(NamedTuple):
    """Branches that have run to their ends.

    Attributes:
        branches: of every row.
        scores: (rows, branches) float32 rewards.
        keys: (layers, rows, branches, depth, heads, head_dim) of the tokens.
        values: same shape.
    """

    branches: Branches
    scores: jax.Array
    keys: jax.Array
    values: jax.Array


def score_candidates(policy: Policy, state: DecodeState, tokens: jax.Array) -> ScoredBranches:
    """Score rows, each extended by one token in turn, in one pass.

    Args:
        policy: of the batch.
        state: the rows.
        tokens: (rows, candidates) int32.

    Returns:
        Branches of depth 1.
    """
    reward, plan = policy.reward, policy.plan
    rows, candidates = tokens.shape
    per_branch = 1 + plan.closes
    lengths = state.cache.lengths[:, None]
    # Depth first: a candidate, then its end token.
    offset = jnp.arange(candidates * per_branch) % per_branch
    slots = lengths + jnp.arange(candidates * per_branch)
    known = plan.as_known(tokens)
    laid_out = jnp.where(offset == 0, jnp.repeat(known, per_branch, axis=1), plan.end_id)
    batch = TokenBatch(laid_out, lengths + offset, slots - offset + per_branch)
    states = policy.run(batch, state.cache)
    assert states.keys is not None and states.values is not None

    def each(part: jax.Array, axis: int) -> jax.Array:
        shape = (*part.shape[:axis], candidates, per_branch, *part.shape[axis + 1 :])
        return part.reshape(shape)

    hidden = [each(layer, 1) for layer in states.hidden]
    own, *end = (tuple(layer[:, :, at] for layer in hidden[1:]) for at in range(per_branch))
    ended = plan.ends(tokens)
    before = branched(state.pools)
    pools = reward.add(before, own)
    scored = pools
    if reward.value_head is not None:
        read = _is_read(plan, tokens, state.length[:, None])
        scored = select_rows(read, pools, before)
    if plan.closes:
        scored = select_rows(~ended, reward.add(pools, *end), pools)
    one = jnp.ones((rows, candidates), jnp.int32)
    branches = Branches(
        tokens[..., None], one, ended, jnp.zeros_like(one), hidden[0][:, :, 0], pools
    )
    return ScoredBranches(
        branches,
        scores=reward.value(scored),
        keys=each(states.keys, 2)[:, :, :, :1],
        values=each(states.values, 2)[:, :, :, :1],
    )


def _is_read(plan: Plan, tokens: jax.Array, places: jax.Array) -> jax.Array:
    """Booleans: which tokens a value head reads.

    It knows texts that go on: one that ends is worth what it was before its end token, but for a
    response that is nothing else.

    Args:
        plan: of the batch.
        tokens: (rows, branches) int32.
        places: (rows, 1) int32, of the tokens in their responses.
    """
    return ~plan.ends(tokens) | (places == 0)


class Growing(NamedTuple):
    """Branches between two passes.

    Attributes:
        cache: the rows' tokens, and behind them those of the branches.
        branches: so far.
        scored: of a value head the pools of what it reads (`_is_read`); None without one.
    """

    cache: KeyValueCache
    branches: Branches
    scored: RunningPools | None


class NextTokens(NamedTuple):
    """The next token of every branch.

    Attributes:
        tokens: (rows, branches) int32.
        near_tie: (rows, branches) booleans.
    """

    tokens: jax.Array
    near_tie: jax.Array


# Branches so far, float32 logits of what follows (rows, branches, vocab) and the depth reached.
Following = Callable[[Branches, jax.Array, jax.Array], NextTokens]


def grow_branches(
    policy: Policy, state: DecodeState, first: NextTokens, following: Following, most: jax.Array
) -> ScoredBranches:
    """Continue every row by branches of up to ``Plan.depth`` tokens, and score them at their ends.

    Args:
        policy: of the batch.
        state: the rows.
        first: the first token of each branch.
        following: gives the others.
        most: (rows,) int32, the most tokens of a branch.
    """
    module, reward, plan = policy
    rows, count = first.tokens.shape
    depth, width = plan.depth, plan.reach
    lengths = state.cache.lengths[:, None]
    start = lengths + width * jnp.arange(count)

    def run(
        cache: KeyValueCache, tokens: jax.Array, at: jax.Array
    ) -> tuple[KeyValueCache, tuple[jax.Array, ...]]:
        """One token a branch at depth ``at``: the cache with it, and its hidden states."""
        positions = jnp.broadcast_to(lengths + at, tokens.shape)
        batch = TokenBatch(tokens, positions, start + width, start + at)
        states = policy.run(batch, cache)
        return insert(cache, batch, states), states.hidden

    def add(growing: Growing, chosen: NextTokens, at: jax.Array) -> Growing:
        branches = growing.branches
        going = ~branches.ended & (at < most[:, None])
        tokens = jnp.where(going, chosen.tokens, plan.end_id)
        cache, (hidden, *layers) = run(growing.cache, plan.as_known(tokens), at)
        pools, scored = reward.add(branches.pools, tuple(layers)), growing.scored
        if scored is not None:
            read = going & _is_read(plan, tokens, state.length[:, None] + at)
            scored = select_rows(read, reward.add(scored, tuple(layers)), scored)
        branches = Branches(
            tokens=branches.tokens.at[:, :, at].set(tokens),
            length=branches.length + going,
            ended=branches.ended | (going & plan.ends(tokens)),
            near_ties=branches.near_ties + (going & chosen.near_tie),
            hidden=jnp.where(going[..., None], hidden, branches.hidden),
            pools=select_rows(going, pools, branches.pools),
        )
        return Growing(cache, branches, scored)

    def spread(part: jax.Array) -> jax.Array:
        """(rows, width) to (rows, branches, width)."""
        return jnp.broadcast_to(part[:, None], (rows, count, part.shape[-1]))

    none = jnp.zeros((rows, count), jnp.int32)
    branches = Branches(
        tokens=jnp.full((rows, count, depth), plan.end_id, jnp.int32),
        length=none,
        ended=jnp.zeros((rows, count), bool),
        near_ties=none,
        hidden=spread(state.hidden),
        pools=jax.tree.map(spread, state.pools),
    )
    scored = None if reward.value_head is None else branches.pools
    growing = add(Growing(state.cache, branches, scored), first, jnp.int32(0))

    def lengthen(at: jax.Array, growing: Growing) -> Growing:
        branches = growing.branches
        logits = module.logits(branches.hidden).astype(jnp.float32)
        return add(growing, following(branches, logits, at), at)

    cache, branches, scored = jax.lax.fori_loop(1, depth, lengthen, growing)
    scored = branches.pools if scored is None else scored
    if plan.closes:
        ends = jnp.full((rows, count), plan.end_id, jnp.int32)
        # Where a branch ended early its end token stands at the place of the first one left out.
        _, (_, *layers) = run(cache, ends, branches.length)
        closed = reward.add(branches.pools, tuple(layers))
        scored = select_rows(~branches.ended, closed, branches.pools)
    keys, values = (_branch_slots(part, start, depth) for part in (cache.keys, cache.values))
    return ScoredBranches(branches, reward.value(scored), keys, values)


class CacheUpdate(NamedTuple):
    """Keys and values that have yet to go into the cache.

    Attributes:
        keys: (layers, rows, depth, heads, head_dim).
        values: same shape.
        slots: (rows, depth) int32 where to; the cache's capacity where nothing is kept.
    """

    keys: jax.Array
    values: jax.Array
    slots: jax.Array


def take_branch(
    state: DecodeState, scored: ScoredBranches, index: jax.Array, count: jax.Array
) -> tuple[DecodeState, CacheUpdate]:
    """Rows that go on from the end of one of their branches, whose tokens have run already.

    Args:
        state: the rows.
        scored: branches of the rows.
        index: (rows,) int32, the branch of each.
        count: (rows,) int32, how many tokens that branch has; 0 leaves a row as it is.

    Returns:
        The rows, with hidden states and pools of their branches' ends, and the keys and values of
        their tokens, for `update_cache`.
    """
    branches, rows = scored.branches, jnp.arange(len(index))
    order = jnp.arange(branches.tokens.shape[2])
    keys, values = (part[:, rows, index] for part in (scored.keys, scored.values))
    lengths = state.cache.lengths
    places = lengths[:, None] + order
    slots = jnp.where(order < count[:, None], places, state.cache.capacity)
    goes_on = count > 0
    pools = jax.tree.map(lambda kept: kept[rows, index], branches.pools)
    state = state._replace(
        cache=put_positions(state.cache, places, slots)._replace(lengths=lengths + count),
        hidden=jnp.where(goes_on[:, None], branches.hidden[rows, index], state.hidden),
        pools=select_rows(goes_on, pools, state.pools),
    )
    return state, CacheUpdate(keys, values, slots)


def put_positions(cache: KeyValueCache, positions: jax.Array, slots: jax.Array) -> KeyValueCache:
    """The cache with tokens that all behind them see; positions and slots are (rows, depth)."""
    rows = jnp.arange(len(slots))[:, None]
    return cache._replace(
        positions=cache.positions.at[rows, slots].set(positions, mode="drop"),
        ends=cache.ends.at[rows, slots].set(OPEN_END, mode="drop"),
    )


def update_cache(state: DecodeState, update: CacheUpdate) -> DecodeState:
    """The rows with keys and values in their cache."""
    cache = state.cache
    keys = put_tokens(cache.keys, update.keys, update.slots)
    values = put_tokens(cache.values, update.values, update.slots)
    return state._replace(cache=cache._replace(keys=keys, values=values))


def _branch_slots(part: jax.Array, start: jax.Array, depth: int) -> jax.Array:
    """(layers, rows, branches, depth, heads, head_dim) out of a cache's keys or values."""
    slots = start[..., None] + jnp.arange(depth)

    def of_row(row: jax.Array, slots: jax.Array) -> jax.Array:
        return jnp.moveaxis(row[:, slots], 0, 2)

    return jax.vmap(lambda layer: jax.vmap(of_row)(layer, slots))(part)
