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

from coala_jax._head import Head
from coala_jax.backbones import BackboneModule
from coala_jax.backbones._attention import (
    OPEN_END,
    KeyValueCache,
    TokenBatch,
    insert,
    put_tokens,
)
from coala_jax.decoding._running_pool import (
    RunningPools,
    add_token,
    branched,
    forget_response,
    pooled_vector,
    select_rows,
)
from coala_jax.decoding._state import DecodeState, Plan


class Reward(NamedTuple):
    """What turns pooled states into rewards.

    Attributes:
        head: on features of the plan's layers and pooling.
        query: (layers, width) of attention pooling, or None.
    """

    head: Head
    query: jax.Array | None


class Branches(NamedTuple):
    """Continuations of every row.

    Attributes:
        tokens: (rows, branches, depth) int32.
        length: (rows, branches) int32, tokens of a branch up to its end.
        ended: (rows, branches) booleans: the last of them is the end token.
        near_ties: (rows, branches) int32, decisions on the way within ``NEAR_TIE`` of another.
        hidden: (rows, branches, width) last hidden state of the last of them.
        pools: of prefix and branch, with the axis of branches.
        scores: (rows, branches) float32 rewards.
        keys: (layers, rows, branches, depth, heads, head_dim) of the tokens.
        values: same shape.
    """

    tokens: jax.Array
    length: jax.Array
    ended: jax.Array
    near_ties: jax.Array
    hidden: jax.Array
    pools: RunningPools
    scores: jax.Array
    keys: jax.Array
    values: jax.Array


def score_candidates(
    module: BackboneModule, reward: Reward, state: DecodeState, tokens: jax.Array, plan: Plan
) -> Branches:
    """Score prefixes that are extended by one token each, in one pass.

    Args:
        module: the backbone.
        reward: the head.
        state: the rows.
        tokens: (rows, candidates) int32.
        plan: of the batch.

    Returns:
        Branches of depth 1.
    """
    rows, candidates = tokens.shape
    per_branch = 1 + plan.closes
    lengths = state.cache.lengths[:, None]
    # Depth first: a candidate, then its end token.
    offset = jnp.arange(candidates * per_branch) % per_branch
    slots = lengths + jnp.arange(candidates * per_branch)
    laid_out = jnp.where(offset == 0, jnp.repeat(tokens, per_branch, axis=1), plan.end_id)
    batch = TokenBatch(laid_out, lengths + offset, slots - offset + per_branch)
    states = module.states(batch, state.cache, layers=(-1, *plan.layers), keep=True)
    assert states.keys is not None and states.values is not None

    def each(part: jax.Array, axis: int) -> jax.Array:
        shape = (*part.shape[:axis], candidates, per_branch, *part.shape[axis + 1 :])
        return part.reshape(shape)

    hidden = [each(layer, 1) for layer in states.hidden]
    ended = tokens == plan.end_id
    pools = _add(branched(state.pools), [layer[:, :, 0] for layer in hidden[1:]], reward, plan)
    scored = pools
    if plan.guidance.scored == "token":
        fresh = branched(forget_response(state.pools, plan.pooling))
        scored = _add(fresh, [layer[:, :, 0] for layer in hidden[1:]], reward, plan)
    if plan.closes:
        closed = _add(pools, [layer[:, :, 1] for layer in hidden[1:]], reward, plan)
        scored = select_rows(~ended, closed, pools)
    return Branches(
        tokens=tokens[..., None],
        length=jnp.ones((rows, candidates), jnp.int32),
        ended=ended,
        near_ties=jnp.zeros((rows, candidates), jnp.int32),
        hidden=hidden[0][:, :, 0],
        pools=pools,
        scores=_rewards(reward, scored, plan),
        keys=each(states.keys, 2)[:, :, :, :1],
        values=each(states.values, 2)[:, :, :, :1],
    )


class Growing(NamedTuple):
    """Branches between two passes.

    Attributes:
        cache: the rows' tokens, and behind them those of the branches.
        tokens: as in `Branches`, and so the next five.
        length: as there.
        ended: as there.
        near_ties: as there.
        hidden: as there.
        pools: as there.
        own: pools that only tokens of the branch have reached.
    """

    cache: KeyValueCache
    tokens: jax.Array
    length: jax.Array
    ended: jax.Array
    near_ties: jax.Array
    hidden: jax.Array
    pools: RunningPools
    own: RunningPools


# Branches so far, logits of what follows (rows, branches, vocab) and the depth reached, to the next
# token of each and whether it was a near tie, both (rows, branches).
NextTokens = Callable[[Growing, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def grow_branches(
    module: BackboneModule,
    reward: Reward,
    state: DecodeState,
    first: jax.Array,
    first_near: jax.Array,
    following: NextTokens,
    most: jax.Array,
    depth: int,
    plan: Plan,
) -> Branches:
    """Continue every row by branches of several tokens, and score them at their ends.

    Args:
        module: the backbone.
        reward: the head.
        state: the rows.
        first: (rows, branches) int32, the first token of each.
        first_near: (rows, branches) booleans, whether it was a near tie.
        following: gives the others.
        most: (rows,) int32, the most tokens of a branch.
        depth: the most tokens of any branch, at least 1.
        plan: of the batch.

    Returns:
        The branches.
    """
    rows, branches = first.shape
    width = depth + plan.closes
    lengths = state.cache.lengths[:, None]
    start = lengths + width * jnp.arange(branches)

    def run(growing: Growing, tokens: jax.Array, at: jax.Array) -> tuple[Growing, list[jax.Array]]:
        """One token a branch at depth ``at``, kept in the cache."""
        positions = jnp.broadcast_to(lengths + at, tokens.shape)
        batch = TokenBatch(tokens, positions, start + width, start + at)
        states = module.states(batch, growing.cache, layers=(-1, *plan.layers), keep=True)
        return growing._replace(cache=insert(growing.cache, batch, states)), list(states.hidden)

    def add(growing: Growing, tokens: jax.Array, near: jax.Array, at: jax.Array) -> Growing:
        going = ~growing.ended & (at < most[:, None])
        growing, states = run(growing, jnp.where(going, tokens, plan.end_id), at)
        hidden, *layers = states
        pools = _add(growing.pools, layers, reward, plan)
        own = _add(growing.own, layers, reward, plan)
        return growing._replace(
            tokens=growing.tokens.at[:, :, at].set(jnp.where(going, tokens, plan.end_id)),
            length=growing.length + going,
            ended=growing.ended | (going & (tokens == plan.end_id)),
            near_ties=growing.near_ties + (going & near),
            hidden=jnp.where(going[..., None], hidden, growing.hidden),
            pools=select_rows(going, pools, growing.pools),
            own=select_rows(going, own, growing.own),
        )

    def spread(pools: RunningPools) -> RunningPools:
        def one(kept: jax.Array) -> jax.Array:
            return jnp.broadcast_to(kept, (rows, branches, kept.shape[-1]))

        return jax.tree.map(one, branched(pools))

    growing = Growing(
        cache=state.cache,
        tokens=jnp.full((rows, branches, depth), plan.end_id, jnp.int32),
        length=jnp.zeros((rows, branches), jnp.int32),
        ended=jnp.zeros((rows, branches), bool),
        near_ties=jnp.zeros((rows, branches), jnp.int32),
        hidden=jnp.broadcast_to(state.hidden[:, None], (rows, branches, state.hidden.shape[-1])),
        pools=spread(state.pools),
        own=spread(forget_response(state.pools, plan.pooling)),
    )
    growing = add(growing, first, first_near, jnp.int32(0))

    def lengthen(at: jax.Array, growing: Growing) -> Growing:
        return add(growing, *following(growing, module.logits(growing.hidden), at), at)

    growing = jax.lax.fori_loop(1, depth, lengthen, growing)
    scored = growing.own if plan.guidance.scored == "token" else growing.pools
    if plan.closes:
        ends = jnp.full((rows, branches), plan.end_id, jnp.int32)
        # Where a branch ended early its end token stands at the place of the first one left out.
        _, (_, *layers) = run(growing, ends, growing.length)
        closed = _add(growing.pools, layers, reward, plan)
        scored = select_rows(~growing.ended, closed, growing.pools)
    keys, values = (_branch_slots(part, start, depth) for part in growing.cache[:2])
    return Branches(
        tokens=growing.tokens,
        length=growing.length,
        ended=growing.ended,
        near_ties=growing.near_ties,
        hidden=growing.hidden,
        pools=growing.pools,
        scores=_rewards(reward, scored, plan),
        keys=keys,
        values=values,
    )


class Kept(NamedTuple):
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
    state: DecodeState, branches: Branches, index: jax.Array, count: jax.Array
) -> tuple[DecodeState, Kept]:
    """Rows that go on from the end of one of their branches, whose tokens have run already.

    Args:
        state: the rows.
        branches: of the rows.
        index: (rows,) int32, the branch of each.
        count: (rows,) int32, how many tokens that branch has; 0 leaves a row as it is.

    Returns:
        The rows, with hidden states and pools of their branches' ends, and the keys and values of
        their tokens, for `put_kept`.
    """
    rows = jnp.arange(len(index))
    depth = branches.tokens.shape[2]
    order = jnp.arange(depth)
    keys, values = (part[:, rows, index] for part in (branches.keys, branches.values))
    lengths = state.cache.lengths
    taken = order < count[:, None]
    slots = jnp.where(taken, lengths[:, None] + order, state.cache.capacity)

    def put(whole: jax.Array, part: jax.Array, slots: jax.Array) -> jax.Array:
        return whole.at[slots].set(part, mode="drop")

    by_row = jax.vmap(put)
    cache = state.cache._replace(
        positions=by_row(state.cache.positions, lengths[:, None] + order, slots),
        ends=by_row(state.cache.ends, jnp.full_like(slots, OPEN_END), slots),
        lengths=lengths + count,
    )
    goes_on = count > 0
    pools = jax.tree.map(lambda kept: kept[rows, index], branches.pools)
    state = state._replace(
        cache=cache,
        hidden=jnp.where(goes_on[:, None], branches.hidden[rows, index], state.hidden),
        pools=select_rows(goes_on, pools, state.pools),
    )
    return state, Kept(keys, values, slots)


def put_kept(state: DecodeState, kept: Kept) -> DecodeState:
    """The rows with keys and values in their cache."""
    cache = state.cache
    keys, values = (
        put_tokens(whole, part, kept.slots)
        for whole, part in ((cache.keys, kept.keys), (cache.values, kept.values))
    )
    return state._replace(cache=cache._replace(keys=keys, values=values))


def _add(pools: RunningPools, states: list[jax.Array], reward: Reward, plan: Plan) -> RunningPools:
    return add_token(pools, tuple(states), plan.pooling, reward.query)


def _rewards(reward: Reward, pools: RunningPools, plan: Plan) -> jax.Array:
    return reward.head(pooled_vector(pools, plan.pooling)).astype(jnp.float32)


def _branch_slots(part: jax.Array, start: jax.Array, depth: int) -> jax.Array:
    """(layers, rows, branches, depth, heads, head_dim) out of a cache's keys or values."""
    slots = start[..., None] + jnp.arange(depth)

    def of_row(row: jax.Array, slots: jax.Array) -> jax.Array:
        return jnp.moveaxis(row[:, slots], 0, 2)

    return jax.vmap(lambda layer: jax.vmap(of_row)(layer, slots))(part)
