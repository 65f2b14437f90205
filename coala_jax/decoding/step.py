"""Steps of a batch of rows: run what is pending, propose, let the head guide, choose."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from coala_jax.backbones import BackboneModule
from coala_jax.backbones.attention import OPEN_END, TokenBatch, append
from coala_jax.decoding.branches import (
    Branches,
    Growing,
    Reward,
    grow_branches,
    score_candidates,
    take_branch,
)
from coala_jax.decoding.candidates import (
    NEAR_TIE,
    Draw,
    Pool,
    SamplingOptions,
    draw,
    penalise,
    propose,
    take_largest,
    token_noise,
)
from coala_jax.decoding.guidance import log_reweight, normalise_scores
from coala_jax.decoding.running_pool import add_token, pooled_vector, select_rows
from coala_jax.decoding.state import DecodeState, Plan, Trace

# Keys of a row's continuations but the first lie behind those of its steps.
CONTINUATION_KEYS = 2**31


@nnx.jit(static_argnames=("plan",), donate_argnames=("state",))
def advance(
    module: BackboneModule, reward: Reward, state: DecodeState, steps: jax.Array, *, plan: Plan
) -> DecodeState:
    """Take steps until all rows are done, on the device.

    Args:
        module: the backbone.
        reward: the head; not looked at where the plan has no candidates.
        state: the rows; its memory is taken over.
        steps: scalar int32, the most steps; each gives a row one token, or one block.
        plan: of the batch.

    Returns:
        The rows.
    """

    def unfinished(carry: tuple[jax.Array, DecodeState]) -> jax.Array:
        taken, state = carry
        return (taken < steps) & ~state.done.all()

    def step(carry: tuple[jax.Array, DecodeState]) -> tuple[jax.Array, DecodeState]:
        taken, state = carry
        return taken + 1, take_step(module, reward, state, plan)

    return jax.lax.while_loop(unfinished, step, (jnp.int32(0), state))[1]


def take_step(
    module: BackboneModule, reward: Reward, state: DecodeState, plan: Plan
) -> DecodeState:
    """One token, or one block of them, for every row that is not done."""
    state = jax.lax.cond(
        (state.pending & ~state.done).any(),
        lambda: _run_pending(module, reward, state, plan),
        lambda: state,
    )
    logits = module.logits(state.hidden).astype(jnp.float32)
    if plan.penalised:
        logits = penalise(logits, state.seen, state.options.repetition_penalty)
    pool = propose(logits, state.options, plan.pool)
    noise = token_noise(_step_keys(state.options, state.length), pool.tokens)
    plain = draw(pool, pool.log_probs, noise, state.options.temperature)
    going = ~state.done
    if not plan.candidates:
        return _accept(state, pool, plain, going, plan)
    due = going & (state.options.scale > 0)
    if plan.continuations:  # a block is a whole number of steps: every step of a row is one
        state = _accept(state, pool, plain, going & ~due, plan)
        return jax.lax.cond(
            due.any(),
            lambda: _take_blocks(module, reward, state, pool, plain, due, plan),
            lambda: state,
        )
    due = due & (state.length % plan.guide_every == 0)
    if plan.candidates == 1:
        only = plain._replace(place=jnp.where(due, 0, plain.place))
        return _accept(state, pool, only, going, plan)
    # A pool of one candidate leaves nothing to guide.
    sizes = pool.first(plan.candidates).inside.sum(-1)
    due = due & (sizes > 1)
    state = _accept(state, pool, plain, going & ~due, plan)
    largest = jnp.where(due, sizes, 0).max()

    def guide(width: int) -> DecodeState:
        narrow = pool.first(width), noise[:, :width]
        return _choose_guided(module, reward, state, *narrow, plain, due, plan)

    steps: list[Callable[[], DecodeState]] = [
        lambda: state,
        *(functools.partial(guide, width) for width in plan.widths),
    ]
    fitting = 1 + jnp.searchsorted(jnp.array(plan.widths), largest)
    return jax.lax.switch(jnp.where(due.any(), fitting, 0), steps)


@nnx.jit(static_argnames=("plan",))
def close(
    module: BackboneModule, reward: Reward, state: DecodeState, *, plan: Plan
) -> tuple[jax.Array, jax.Array]:
    """Rewards of the rows' responses, each closed by the end token as the head knows texts.

    Args:
        module: the backbone.
        reward: the head.
        state: the rows.
        plan: of the batch.

    Returns:
        (rows,) float32 rewards, and (rows,) int32 tokens that ran for them.
    """
    state = _run_pending(module, reward, state._replace(done=state.length == 0), plan)
    last = jnp.maximum(state.length - 1, 0)[:, None]
    ended = (jnp.take_along_axis(state.tokens, last, 1)[:, 0] == plan.end_id) & (state.length > 0)
    ends = jnp.full((len(ended), 1), plan.end_id, jnp.int32)
    branches = score_candidates(
        module, reward, state, ends, plan._replace(scored="prefix", candidates=1)
    )
    response = reward.head(pooled_vector(state.pools, plan.pooling)).astype(jnp.float32)
    rewards = jnp.where(ended, response, branches.scores[:, 0])
    return rewards, state.evaluations + ~ended


def _step_keys(options: SamplingOptions, count: jax.Array) -> jax.Array:
    """(rows,) keys of the draw of every row's next token."""
    return jax.vmap(jax.random.fold_in)(options.key, count)


def _run_pending(
    module: BackboneModule, reward: Reward, state: DecodeState, plan: Plan
) -> DecodeState:
    """Run the last token of rows that have chosen it without."""
    runs = state.pending & ~state.done
    last = jnp.maximum(state.length - 1, 0)[:, None]
    tokens = jnp.take_along_axis(state.tokens, last, axis=1)
    cache = state.cache
    # What stands in a row that does not run becomes an empty slot again.
    ends = jnp.where(runs, OPEN_END, 0)[:, None].astype(jnp.int32)
    batch = TokenBatch(tokens, cache.lengths[:, None], ends)
    states = module.states(batch, cache, layers=(-1, *plan.layers), keep=True)
    hidden, *layers = (layer[:, 0] for layer in states.hidden)
    pools = state.pools
    if plan.layers:
        grown = add_token(pools, tuple(layers), plan.pooling, reward.query)
        pools = select_rows(runs, grown, pools)
    return state._replace(
        cache=append(cache, batch, states)._replace(lengths=cache.lengths + runs),
        pending=state.pending & ~runs,
        hidden=jnp.where(runs[:, None], hidden, state.hidden),
        pools=pools,
        evaluations=state.evaluations + runs,
    )


def _accept(
    state: DecodeState, pool: Pool, choice: Draw, rows: jax.Array, plan: Plan
) -> DecodeState:
    """Put the choices of ``rows`` (booleans) behind their responses; they have yet to run."""
    token = jnp.take_along_axis(pool.tokens, choice.place[:, None], axis=1)[:, 0]
    state = _write(state, token[:, None], rows.astype(jnp.int32), plan)
    return state._replace(
        pending=jnp.where(rows, True, state.pending),
        near_ties=state.near_ties + (rows & choice.near_tie),
    )


def _write(state: DecodeState, tokens: jax.Array, count: jax.Array, plan: Plan) -> DecodeState:
    """Put the first ``count`` (rows,) of ``tokens`` (rows, depth) behind the responses."""
    order = jnp.arange(tokens.shape[1])
    taken = order < count[:, None]
    places = jnp.where(taken, state.length[:, None] + order, plan.new_tokens)
    written = jax.vmap(lambda row, at, new: row.at[at].set(new, mode="drop"))
    total = state.length + count
    ended = (taken & (tokens == plan.end_id)).any(-1)
    seen = state.seen
    if plan.penalised:
        seen = jax.vmap(lambda row, ids, own: row.at[ids].max(own))(seen, tokens, taken)
    return state._replace(
        tokens=written(state.tokens, places, tokens),
        length=total,
        seen=seen,
        done=state.done | ended | (total >= state.options.max_new_tokens),
    )


def _choose_guided(
    module: BackboneModule,
    reward: Reward,
    state: DecodeState,
    pool: Pool,
    noise: jax.Array,
    plain: Draw,
    due: jax.Array,
    plan: Plan,
) -> DecodeState:
    """Score the candidates of the rows that are due, and choose one of each by its score."""
    count = noise.shape[1]
    branches = _look_at(module, reward, state, pool, plan)
    scale = state.options.scale
    weights = pool.log_probs + log_reweight(branches.scores, pool.inside, scale, plan.reweighting)
    if plan.choice == "best":
        choice = _best(pool, branches.scores)
    else:
        choice = draw(pool, weights, noise, state.options.temperature)
    state = _note(state, pool, branches.scores, choice, plain, due, plan)
    state = state._replace(
        near_ties=state.near_ties + (due & choice.near_tie),
        scored=state.scored + jnp.where(due, count, 0),
    )
    token = jnp.take_along_axis(pool.tokens, choice.place[:, None], axis=1)
    if plan.lookahead:
        state = state._replace(pending=jnp.where(due, True, state.pending))
    else:
        state = take_branch(state, branches, choice.place, due.astype(jnp.int32))
    evaluations = count * (1 + plan.lookahead + plan.closes)
    state = state._replace(evaluations=state.evaluations + jnp.where(due, evaluations, 0))
    return _write(state, token, due.astype(jnp.int32), plan)


def _look_at(
    module: BackboneModule, reward: Reward, state: DecodeState, pool: Pool, plan: Plan
) -> Branches:
    """The candidates, each run and scored, continued greedily where the plan looks ahead."""
    if not plan.lookahead:
        return score_candidates(module, reward, state, pool.tokens, plan)

    def most_probable(_: Growing, logits: jax.Array, __: jax.Array) -> tuple[jax.Array, jax.Array]:
        top, tokens = jax.lax.top_k(logits, 2)
        return tokens[..., 0], top[..., 0] - top[..., 1] < NEAR_TIE

    depth = 1 + plan.lookahead
    most = jnp.full(len(pool.tokens), depth, jnp.int32)
    sure = jnp.zeros(pool.tokens.shape, bool)
    return grow_branches(module, reward, state, pool.tokens, sure, most_probable, most, depth, plan)


def _take_blocks(
    module: BackboneModule,
    reward: Reward,
    state: DecodeState,
    pool: Pool,
    plain: Draw,
    due: jax.Array,
    plan: Plan,
) -> DecodeState:
    """Sample continuations of the rows that are due, and keep the best of each."""
    rows, branches, depth = len(due), plan.continuations, plan.guide_every

    def wide(part: jax.Array) -> jax.Array:
        """Once for every continuation: (rows, ...) to (rows * branches, ...)."""
        return jnp.repeat(part, branches, axis=0)

    options = jax.tree.map(wide, state.options)._replace(key=_continuation_keys(state, branches))

    def sample(pool: Pool, count: jax.Array) -> Draw:
        noise = token_noise(_step_keys(options, count), pool.tokens)
        return draw(pool, pool.log_probs, noise, options.temperature)

    def following(
        growing: Growing, logits: jax.Array, at: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        flat = logits.reshape(rows * branches, -1).astype(jnp.float32)
        if plan.penalised:
            flat = penalise(flat, _seen_by(state, growing), options.repetition_penalty)
        pool = propose(flat, options, plan.pool)
        chosen = sample(pool, wide(state.length) + at)
        return _picked(pool, chosen, rows)

    wide_pool = Pool(*map(wide, pool))
    first = sample(wide_pool, wide(state.length))
    most = jnp.where(due, state.options.max_new_tokens - state.length, 0)
    grown = grow_branches(
        module, reward, state, *_picked(wide_pool, first, rows), following, most, depth, plan
    )
    everyone = jnp.zeros(grown.scores.shape)
    firsts = Pool(grown.tokens[..., 0], everyone, everyone > 0)
    choice = _best(firsts, _alike(grown))
    tokens = grown.tokens[jnp.arange(rows), choice.place]
    count = jnp.where(due, grown.length[jnp.arange(rows), choice.place], 0)
    zeroth = plain._replace(place=jnp.zeros_like(plain.place))
    state = _note(state, firsts, grown.scores, choice, zeroth, due, plan)
    near = grown.near_ties.sum(-1) + choice.near_tie
    evaluations = branches * (depth + plan.closes)
    state = state._replace(
        near_ties=state.near_ties + jnp.where(due, near, 0),
        scored=state.scored + jnp.where(due, branches, 0),
        evaluations=state.evaluations + jnp.where(due, evaluations, 0),
    )
    return _write(take_branch(state, grown, choice.place, count), tokens, count, plan)


def _continuation_keys(state: DecodeState, branches: int) -> jax.Array:
    """(rows * branches,) keys; a row's first continuation is what it would sample alone."""
    numbers = jnp.arange(branches, dtype=jnp.uint32) + jnp.uint32(CONTINUATION_KEYS)
    keys = jax.vmap(lambda key: jax.vmap(lambda n: jax.random.fold_in(key, n))(numbers))
    own = state.options.key[:, None]
    return jnp.where(jnp.arange(branches) == 0, own, keys(state.options.key)).reshape(-1)


def _seen_by(state: DecodeState, growing: Growing) -> jax.Array:
    """(rows * branches, vocab) tokens that a row or a branch of it has."""
    rows, branches, depth = growing.tokens.shape
    seen = jnp.repeat(state.seen, branches, axis=0)
    tokens = growing.tokens.reshape(rows * branches, depth)
    own = jnp.arange(depth) < growing.length.reshape(-1, 1)
    return jax.vmap(lambda row, ids, own: row.at[ids].max(own))(seen, tokens, own)


def _picked(pool: Pool, choice: Draw, rows: int) -> tuple[jax.Array, jax.Array]:
    """Tokens and near ties of (rows * branches,) draws, as (rows, branches)."""
    tokens = jnp.take_along_axis(pool.tokens, choice.place[:, None], axis=1)
    return tokens.reshape(rows, -1), choice.near_tie.reshape(rows, -1)


def _alike(grown: Branches) -> jax.Array:
    """(rows, branches) scores; continuations of the same tokens have that of the first of them."""
    same = (grown.tokens[:, :, None] == grown.tokens[:, None]).all(-1)
    return jnp.take_along_axis(grown.scores, jnp.argmax(same, axis=-1), axis=1)


def _best(pool: Pool, scores: jax.Array) -> Draw:
    """The candidate with the highest score; nearness is judged on normalised scores."""
    return take_largest(pool, normalise_scores(scores, pool.inside))


def _note(
    state: DecodeState,
    pool: Pool,
    scores: jax.Array,
    choice: Draw,
    plain: Draw,
    due: jax.Array,
    plan: Plan,
) -> DecodeState:
    """Count a guided step of the rows that are due, and keep what it saw where that is traced.

    A score that is not finite makes its row unsound: whoever reads the row raises.
    """
    trace = state.trace
    unsound = due & ~jnp.isfinite(jnp.where(pool.inside, scores, 0)).all(-1)
    if plan.traced:
        lacking = [(0, 0), (0, trace.scores.shape[-1] - scores.shape[-1])]
        seen = Trace(
            step=state.length,
            tokens=jnp.pad(pool.tokens, lacking),
            log_probs=jnp.pad(pool.log_probs, lacking, constant_values=-jnp.inf),
            scores=jnp.pad(scores, lacking),
            chosen=choice.place,
            plain=plain.place,
        )
        places = jnp.where(due, state.guided, plan.guided_steps)
        put = jax.vmap(lambda whole, at, part: whole.at[at].set(part, mode="drop"))
        trace = Trace(*(put(whole, places, part) for whole, part in zip(trace, seen, strict=True)))
    return state._replace(trace=trace, guided=state.guided + due, unsound=state.unsound | unsound)
