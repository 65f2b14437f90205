"""Steps of a batch of rows: run what is pending, propose, let the head guide, choose."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from coala_jax.backbones import BackboneModule
from coala_jax.backbones._attention import OPEN_END, TokenBatch
from coala_jax.decoding._branches import (
    Branches,
    Growing,
    Kept,
    Reward,
    grow_branches,
    put_kept,
    score_candidates,
    take_branch,
)
from coala_jax.decoding._candidates import (
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
from coala_jax.decoding._config import Guidance
from coala_jax.decoding._guidance import log_reweight, normalise_scores
from coala_jax.decoding._running_pool import add_token, pooled_vector, select_rows
from coala_jax.decoding._state import DecodeState, Plan, Trace

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
    waits = (state.pending & ~state.done).any()
    state = _choose_path(
        state, waits.astype(jnp.int32), [lambda: _run_pending(module, reward, state, plan)]
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
    if plan.guidance.continuations:  # a block is a number of steps: every step of a row is one
        accepted = _accept(state, pool, plain, going & ~due, plan)
        blocks = functools.partial(_take_blocks, module, reward, accepted, pool, plain, due, plan)
        return _choose_path(accepted, due.any().astype(jnp.int32), [blocks])
    due = due & (state.length % plan.guidance.guide_every == 0)
    if plan.candidates == 1:
        only = plain._replace(place=jnp.where(due, 0, plain.place))
        return _accept(state, pool, only, going, plan)
    # A pool of one candidate leaves nothing to guide.
    sizes = pool.first(plan.candidates).inside.sum(-1)
    due = due & (sizes > 1)
    accepted = _accept(state, pool, plain, going & ~due, plan)

    def guide(width: int) -> tuple[DecodeState, Kept]:
        narrow = pool.first(width), noise[:, :width]
        return _choose_guided(module, reward, accepted, *narrow, plain, due, plan)

    largest = jnp.where(due, sizes, 0).max()
    fitting = 1 + jnp.searchsorted(jnp.array(plan.widths), largest)
    widths = [functools.partial(guide, width) for width in plan.widths]
    return _choose_path(accepted, jnp.where(due.any(), fitting, 0), widths)


def _choose_path(
    state: DecodeState, number: jax.Array, paths: Sequence[Callable[[], tuple[DecodeState, Kept]]]
) -> DecodeState:
    """The rows by path 1, 2, ...; number 0 leaves them as they are.

    Keys and values of the cache are read by the paths and come out of none of them: what comes out
    of a conditional is copied, and these are the large part of a state. What a path keeps is put
    into them here.
    """

    def without_cache(state: DecodeState) -> DecodeState:
        cache = state.cache
        return state._replace(cache=cache._replace(keys=cache.keys[:0], values=cache.values[:0]))

    def run(path: Callable[[], tuple[DecodeState, Kept]]) -> tuple[DecodeState, Kept]:
        after, kept = path()
        return without_cache(after), kept

    runs = [functools.partial(run, path) for path in paths]
    shapes = jax.eval_shape(runs[0])[1]

    def stay() -> tuple[DecodeState, Kept]:
        nothing = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)
        outside = jnp.full_like(nothing.slots, state.cache.capacity)
        return without_cache(state), nothing._replace(slots=outside)

    after, kept = jax.lax.switch(number, [stay, *runs])
    keys, values = state.cache.keys, state.cache.values
    return put_kept(after._replace(cache=after.cache._replace(keys=keys, values=values)), kept)


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
    state = put_kept(*_run_pending(module, reward, state._replace(done=state.length == 0), plan))
    last = jnp.maximum(state.length - 1, 0)[:, None]
    ended = (jnp.take_along_axis(state.tokens, last, 1)[:, 0] == plan.end_id) & (state.length > 0)
    ends = jnp.full((len(ended), 1), plan.end_id, jnp.int32)
    branches = score_candidates(
        module, reward, state, ends, plan._replace(guidance=Guidance(scored="prefix"), candidates=1)
    )
    response = reward.head(pooled_vector(state.pools, plan.pooling)).astype(jnp.float32)
    rewards = jnp.where(ended, response, branches.scores[:, 0])
    return rewards, state.evaluations + ~ended


def _step_keys(options: SamplingOptions, count: jax.Array) -> jax.Array:
    """(rows,) keys of the draw of every row's next token."""
    return jax.vmap(jax.random.fold_in)(options.key, count)


def _run_pending(
    module: BackboneModule, reward: Reward, state: DecodeState, plan: Plan
) -> tuple[DecodeState, Kept]:
    """Run the last token of rows that have chosen it without."""
    runs = state.pending & ~state.done
    last = jnp.maximum(state.length - 1, 0)[:, None]
    tokens = jnp.take_along_axis(state.tokens, last, axis=1)
    cache = state.cache
    batch = TokenBatch(tokens, cache.lengths[:, None], jnp.full_like(tokens, OPEN_END))
    states = module.states(batch, cache, layers=(-1, *plan.layers), keep=True)
    assert states.keys is not None and states.values is not None
    hidden, *layers = (layer[:, 0] for layer in states.hidden)
    pools = state.pools
    if plan.layers:
        grown = add_token(pools, tuple(layers), plan.pooling, reward.query)
        pools = select_rows(runs, grown, pools)
    # A row that does not run keeps nothing: a slot outside drops it.
    slots = jnp.where(runs, cache.lengths, cache.capacity)[:, None]
    rows = jnp.arange(len(runs))[:, None]
    cache = cache._replace(
        positions=cache.positions.at[rows, slots].set(batch.positions, mode="drop"),
        ends=cache.ends.at[rows, slots].set(OPEN_END, mode="drop"),
        lengths=cache.lengths + runs,
    )
    state = state._replace(
        cache=cache,
        pending=state.pending & ~runs,
        hidden=jnp.where(runs[:, None], hidden, state.hidden),
        pools=pools,
        evaluations=state.evaluations + runs,
    )
    return state, Kept(states.keys, states.values, slots)


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
) -> tuple[DecodeState, Kept]:
    """Score the candidates of the rows that are due, and choose one of each by its score."""
    count = noise.shape[1]
    branches = _look_at(module, reward, state, pool, plan)
    scale, guidance = state.options.scale, plan.guidance
    weights = log_reweight(branches.scores, pool.inside, scale, guidance.reweighting)
    if guidance.choice == "best":
        choice = _best(pool, branches.scores)
    else:
        choice = draw(pool, pool.log_probs + weights, noise, state.options.temperature)
    state = _note(state, pool, branches.scores, choice, plain, due, plan)
    state = state._replace(
        near_ties=state.near_ties + (due & choice.near_tie),
        scored=state.scored + jnp.where(due, count, 0),
    )
    token = jnp.take_along_axis(pool.tokens, choice.place[:, None], axis=1)
    # With a lookahead the chosen one runs again: what the branches hold is that of their ends.
    runs = jnp.zeros_like(state.length) if plan.guidance.lookahead else due.astype(jnp.int32)
    state, kept = take_branch(state, branches, choice.place, runs)
    if plan.guidance.lookahead:
        state = state._replace(pending=jnp.where(due, True, state.pending))
    evaluations = count * plan.reach
    state = state._replace(evaluations=state.evaluations + jnp.where(due, evaluations, 0))
    return _write(state, token, due.astype(jnp.int32), plan), kept


def _look_at(
    module: BackboneModule, reward: Reward, state: DecodeState, pool: Pool, plan: Plan
) -> Branches:
    """The candidates, each run and scored, continued greedily where the plan looks ahead."""
    if not plan.guidance.lookahead:
        return score_candidates(module, reward, state, pool.tokens, plan)

    def most_probable(_: Growing, logits: jax.Array, __: jax.Array) -> tuple[jax.Array, jax.Array]:
        top, tokens = jax.lax.top_k(logits, 2)
        return tokens[..., 0], top[..., 0] - top[..., 1] < NEAR_TIE

    depth = plan.depth
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
) -> tuple[DecodeState, Kept]:
    """Sample continuations of the rows that are due, and keep the best of each."""
    rows, branches, depth = len(due), plan.candidates, plan.depth

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
    evaluations = branches * plan.reach
    state = state._replace(
        near_ties=state.near_ties + jnp.where(due, near, 0),
        scored=state.scored + jnp.where(due, branches, 0),
        evaluations=state.evaluations + jnp.where(due, evaluations, 0),
    )
    state, kept = take_branch(state, grown, choice.place, count)
    return _write(state, tokens, count, plan), kept


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
