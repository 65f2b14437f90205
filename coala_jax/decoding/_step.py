"""Steps of a batch of rows: run what is pending, propose, let the head guide, choose."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax.backbones import BackboneModule
from coala_jax.backbones._attention import OPEN_END, TokenBatch
from coala_jax.decoding._branches import (
    Branches,
    CacheUpdate,
    NextTokens,
    ScoredBranches,
    grow_branches,
    put_positions,
    score_candidates,
    take_branch,
    update_cache,
)
from coala_jax.decoding._candidates import (
    NEAR_TIE,
    Draw,
    Pool,
    SamplingArrays,
    draw,
    largest,
    penalise,
    propose,
    take_largest,
    token_noise,
)
from coala_jax.decoding._config import Guidance
from coala_jax.decoding._guidance import log_reweight, normalise_scores
from coala_jax.decoding._running_pool import RunningReward, select_rows
from coala_jax.decoding._state import Counts, DecodeState, Likely, Plan, Policy, Trace, mark_seen

# Keys of a row's continuations but the first lie behind those of its steps.
CONTINUATION_KEYS = 2**31

# Rows, and what has yet to go into their cache.
Stepped = tuple[DecodeState, CacheUpdate]


class Proposal(NamedTuple):
    """What the backbone proposes for the next token of every row.

    Attributes:
        pool: the candidates.
        noise: (rows, size) float32 of theirs.
        plain: what the noise takes without the head.
    """

    pool: Pool
    noise: jax.Array
    plain: Draw

    def first(self, count: int) -> "Proposal":
        """The most probable candidates alone; what is taken plainly may be another."""
        return self._replace(pool=self.pool.first(count), noise=self.noise[:, :count])


@functools.partial(jax.jit, static_argnames=("plan",), donate_argnames=("state",))
def advance(
    module: BackboneModule,
    reward: RunningReward,
    state: DecodeState,
    steps: jax.Array,
    *,
    plan: Plan,
) -> DecodeState:
    """Take steps until all rows are done, on the device.

    Args:
        module: the backbone.
        reward: the head.
        state: the rows; its memory is taken over.
        steps: scalar int32, the most steps; each gives a row one token, or one block.
        plan: of the batch.

    Returns:
        The rows.
    """
    policy = Policy(module, reward, plan)

    def unfinished(carry: tuple[jax.Array, DecodeState]) -> jax.Array:
        taken, state = carry
        return (taken < steps) & ~state.done.all()

    def step(carry: tuple[jax.Array, DecodeState]) -> tuple[jax.Array, DecodeState]:
        taken, state = carry
        return taken + 1, take_step(policy, state)

    return jax.lax.while_loop(unfinished, step, (jnp.int32(0), state))[1]


def take_step(policy: Policy, state: DecodeState) -> DecodeState:
    """One token, or one block of them, for every row that is not done."""
    kept = state.likely
    # What goes through a conditional is copied.
    state = state._replace(likely=Likely(*(part[:, :0] for part in kept)))
    waits = (state.pending & ~state.done).any()
    pending = functools.partial(_run_pending, policy, state)
    state = _choose_path(state, waits.astype(jnp.int32), [pending])
    logits = policy.module.logits(state.hidden).astype(jnp.float32)
    after = _take_next(policy, state, logits)
    if policy.plan.likely:
        kept = _note_likely(kept, logits, state.length, after, policy.plan)
    return after._replace(likely=kept)


def _take_next(policy: Policy, state: DecodeState, logits: jax.Array) -> DecodeState:
    """The same from the backbone's logits (rows, vocab)."""
    plan, options = policy.plan, state.options
    if plan.penalised:
        logits = penalise(logits, state.seen, options.repetition_penalty)
    pool = propose(logits, options, plan.pool)
    noise = token_noise(_step_keys(options, state.length), pool.tokens)
    plain = draw(pool, pool.log_probs, noise, options.temperature)
    proposal = Proposal(pool, noise, plain)
    going = ~state.done
    if not plan.candidates:
        return _accept(state, pool, plain, going, plan)
    due = going & (options.scale > 0)
    if plan.guidance.continuations:  # a block is a number of steps: every step of a row is one
        accepted = _accept(state, pool, plain, going & ~due, plan)
        blocks = functools.partial(_take_blocks, policy, accepted, proposal, due)
        return _choose_path(accepted, due.any().astype(jnp.int32), [blocks])
    due = due & (state.length % plan.guidance.guide_every == 0)
    if plan.candidates == 1:
        only = plain._replace(place=jnp.where(due, 0, plain.place))
        return _accept(state, pool, only, going, plan)
    # A pool of one candidate leaves nothing to guide.
    sizes = pool.first(plan.candidates).inside.sum(-1)
    due = due & (sizes > 1)
    accepted = _accept(state, pool, plain, going & ~due, plan)

    def guide(width: int) -> Stepped:
        # Cut within the path: with slices outside of it XLA sorts the vocabulary for the pool.
        return _choose_guided(policy, accepted, proposal.first(width), due)

    paths = [functools.partial(guide, width) for width in plan.widths]
    most = jnp.where(due, sizes, 0).max()
    fitting = 1 + jnp.searchsorted(jnp.array(plan.widths), most)
    return _choose_path(accepted, jnp.where(due.any(), fitting, 0), paths)


def _choose_path(
    state: DecodeState, number: jax.Array, paths: Sequence[Callable[[], Stepped]]
) -> DecodeState:
    """The rows by path 1, 2, ...; number 0 leaves them as they are.

    Keys and values of the cache are read by the paths and come out of none of them: what comes out
    of a conditional is copied, and these are the large part of a state. What a path keeps is put
    into them here.
    """

    def without_cache(state: DecodeState) -> DecodeState:
        cache = state.cache
        return state._replace(cache=cache._replace(keys=cache.keys[:0], values=cache.values[:0]))

    def run(path: Callable[[], Stepped]) -> Stepped:
        after, update = path()
        return without_cache(after), update

    runs = [functools.partial(run, path) for path in paths]
    shapes = jax.eval_shape(runs[0])[1]

    def stay() -> Stepped:
        nothing = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)
        outside = jnp.full_like(nothing.slots, state.cache.capacity)
        return without_cache(state), nothing._replace(slots=outside)

    after, update = jax.lax.switch(number, [stay, *runs])
    keys, values = state.cache.keys, state.cache.values
    return update_cache(
        after._replace(cache=after.cache._replace(keys=keys, values=values)), update
    )


@functools.partial(jax.jit, static_argnames=("plan",))
def close(
    module: BackboneModule, reward: RunningReward, state: DecodeState, *, plan: Plan
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
    plan = plan._replace(guidance=Guidance(scored="prefix"), candidates=1)
    # Rewards are the head's, whoever has guided.
    policy = Policy(module, reward.without_values(), plan)
    state = update_cache(*_run_pending(policy, state._replace(done=state.length == 0)))
    last = jnp.maximum(state.length - 1, 0)[:, None]
    ended = plan.ends(jnp.take_along_axis(state.tokens, last, 1)[:, 0]) & (state.length > 0)
    closed = score_candidates(policy, state, jnp.full((len(ended), 1), plan.end_id, jnp.int32))
    rewards = jnp.where(ended, reward.score(state.pools), closed.scores[:, 0])
    return rewards, state.counts.evaluations + ~ended


def _step_keys(options: SamplingArrays, count: jax.Array) -> jax.Array:
    """(rows,) keys of the draw of every row's next token."""
    return jax.vmap(jax.random.fold_in)(options.key, count)


def _run_pending(policy: Policy, state: DecodeState) -> Stepped:
    """Run the last token of rows that have chosen it without."""
    runs = state.pending & ~state.done
    last = jnp.maximum(state.length - 1, 0)[:, None]
    tokens = policy.plan.as_known(jnp.take_along_axis(state.tokens, last, axis=1))
    cache = state.cache
    batch = TokenBatch(tokens, cache.lengths[:, None], jnp.full_like(tokens, OPEN_END))
    states = policy.run(batch, cache)
    assert states.keys is not None and states.values is not None
    hidden, *layers = (layer[:, 0] for layer in states.hidden)
    pools = policy.reward.add(state.pools, tuple(layers))
    # A row that does not run keeps nothing: a slot outside drops it.
    slots = jnp.where(runs, cache.lengths, cache.capacity)[:, None]
    cache = put_positions(cache, batch.positions, slots)
    state = state._replace(
        cache=cache._replace(lengths=cache.lengths + runs),
        pending=state.pending & ~runs,
        hidden=jnp.where(runs[:, None], hidden, state.hidden),
        pools=select_rows(runs, pools, state.pools),
    ).counted(runs, Counts(evaluations=1))
    return state, CacheUpdate(states.keys, states.values, slots)


def _accept(
    state: DecodeState, pool: Pool, choice: Draw, rows: jax.Array, plan: Plan
) -> DecodeState:
    """Put the choices of ``rows`` (booleans) behind their responses; they have yet to run."""
    token = jnp.take_along_axis(pool.tokens, choice.place[:, None], axis=1)
    state = _write(state, token, rows.astype(jnp.int32), plan)
    state = state._replace(pending=jnp.where(rows, True, state.pending))
    return state.counted(rows, Counts(near_ties=choice.near_tie))


# What stands at a place of each row; a place outside drops it.
_put = jax.vmap(lambda row, place, new: row.at[place].set(new, mode="drop"))


def _write(state: DecodeState, tokens: jax.Array, count: jax.Array, plan: Plan) -> DecodeState:
    """Put the first ``count`` (rows,) of ``tokens`` (rows, depth) behind the responses."""
    order = jnp.arange(tokens.shape[1])
    taken = order < count[:, None]
    places = jnp.where(taken, state.length[:, None] + order, plan.new_tokens)
    total = state.length + count
    ended = (taken & plan.ends(tokens)).any(-1)
    return state._replace(
        tokens=_put(state.tokens, places, tokens),
        length=total,
        seen=mark_seen(state.seen, tokens, taken) if plan.penalised else state.seen,
        done=state.done | ended | (total >= state.options.max_new_tokens),
    )


def _choose_guided(
    policy: Policy, state: DecodeState, proposal: Proposal, due: jax.Array
) -> Stepped:
    """Score the candidates of the rows that are due, and choose one of each by its score."""
    (pool, noise, plain), plan, guidance = proposal, policy.plan, policy.plan.guidance
    scored = _look_at(policy, state, pool)
    if guidance.choice == "best":
        choice = _best(pool, scored.scores)
    else:
        scale = state.options.scale
        moved = log_reweight(scored.scores, pool.inside, scale)
        choice = draw(pool, pool.log_probs + moved, noise, state.options.temperature)
    token = jnp.take_along_axis(pool.tokens, choice.place[:, None], axis=1)
    count, near = noise.shape[1], choice.near_tie
    seen = Trace(state.length, *pool[:2], scored.scores, choice.place, plain.place)
    state = _note(state, seen, due, plan)
    state = state.counted(due, Counts(count * plan.reach, guided=1, scored=count, near_ties=near))
    # With a lookahead the chosen one runs again: what the branches hold is that of their ends.
    runs = jnp.zeros_like(state.length) if guidance.lookahead else due.astype(jnp.int32)
    state, update = take_branch(state, scored, choice.place, runs)
    if guidance.lookahead:
        state = state._replace(pending=jnp.where(due, True, state.pending))
    return _write(state, token, due.astype(jnp.int32), plan), update


def _look_at(policy: Policy, state: DecodeState, pool: Pool) -> ScoredBranches:
    """The candidates, each run and scored, continued greedily where the plan looks ahead."""
    if not policy.plan.guidance.lookahead:
        return score_candidates(policy, state, pool.tokens)

    def most_probable(_: Branches, logits: jax.Array, __: jax.Array) -> NextTokens:
        top, tokens = largest(logits, 2)
        return NextTokens(tokens[..., 0], top[..., 0] - top[..., 1] < NEAR_TIE)

    first = NextTokens(pool.tokens, jnp.zeros(pool.tokens.shape, bool))
    most = jnp.full(len(pool.tokens), policy.plan.depth, jnp.int32)
    return grow_branches(policy, state, first, most_probable, most)


def _take_blocks(policy: Policy, state: DecodeState, proposal: Proposal, due: jax.Array) -> Stepped:
    """Sample continuations of the rows that are due, and keep the best of each."""
    plan = policy.plan
    rows, count = len(due), plan.candidates

    def wide(part: jax.Array) -> jax.Array:
        """Once for every continuation: (rows, ...) to (rows * branches, ...)."""
        return jnp.repeat(part, count, axis=0)

    options = jax.tree.map(wide, state.options)._replace(key=_continuation_keys(state, count))

    def sample(pool: Pool, at: jax.Array | int) -> NextTokens:
        noise = token_noise(_step_keys(options, wide(state.length) + at), pool.tokens)
        chosen = draw(pool, pool.log_probs, noise, options.temperature)
        tokens = jnp.take_along_axis(pool.tokens, chosen.place[:, None], axis=1)
        return NextTokens(tokens.reshape(rows, -1), chosen.near_tie.reshape(rows, -1))

    def following(branches: Branches, logits: jax.Array, at: jax.Array) -> NextTokens:
        flat = logits.reshape(rows * count, -1)
        if plan.penalised:
            seen = _seen_by(wide(state.seen), branches)
            flat = penalise(flat, seen, options.repetition_penalty)
        return sample(propose(flat, options, plan.pool), at)

    first = sample(Pool(*map(wide, proposal.pool)), 0)
    most = jnp.where(due, state.options.max_new_tokens - state.length, 0)
    scored = grow_branches(policy, state, first, following, most)
    grown = scored.branches
    everyone = jnp.zeros_like(scored.scores)
    firsts = Pool(grown.tokens[..., 0], everyone, everyone > 0)
    choice = _best(firsts, _alike(scored))
    own = jnp.arange(rows), choice.place
    length = jnp.where(due, grown.length[own], 0)
    zeroth = jnp.zeros_like(choice.place)
    seen = Trace(state.length, *firsts[:2], scored.scores, choice.place, zeroth)
    near = grown.near_ties.sum(-1) + choice.near_tie
    state = _note(state, seen, due, plan)
    state = state.counted(due, Counts(count * plan.reach, guided=1, scored=count, near_ties=near))
    state, update = take_branch(state, scored, choice.place, length)
    return _write(state, grown.tokens[own], length, plan), update


def _continuation_keys(state: DecodeState, branches: int) -> jax.Array:
    """(rows * branches,) keys; a row's first continuation is what it would sample alone."""
    numbers = jnp.arange(branches, dtype=jnp.uint32) + jnp.uint32(CONTINUATION_KEYS)
    keys = jax.vmap(lambda key: jax.vmap(lambda n: jax.random.fold_in(key, n))(numbers))
    own = state.options.key[:, None]
    return jnp.where(jnp.arange(branches) == 0, own, keys(state.options.key)).reshape(-1)


def _seen_by(seen: jax.Array, branches: Branches) -> jax.Array:
    """(rows * branches, vocab) tokens that a row, as ``seen`` has it, or a branch of it has."""
    tokens = branches.tokens.reshape(len(seen), -1)
    own = jnp.arange(tokens.shape[1]) < branches.length.reshape(-1, 1)
    return mark_seen(seen, tokens, own)


def _alike(scored: ScoredBranches) -> jax.Array:
    """(rows, branches) scores; continuations of the same tokens have that of the first of them."""
    tokens = scored.branches.tokens
    same = (tokens[:, :, None] == tokens[:, None]).all(-1)
    return jnp.take_along_axis(scored.scores, jnp.argmax(same, axis=-1), axis=1)


def _best(pool: Pool, scores: jax.Array) -> Draw:
    """The candidate with the highest score; nearness is judged on normalised scores."""
    return take_largest(pool, normalise_scores(scores, pool.inside))


def _note_likely(
    kept: Likely, logits: jax.Array, length: jax.Array, after: DecodeState, plan: Plan
) -> Likely:
    """Keep what the logits say of the tokens that rows took at their ``length`` (rows,)."""
    top, tokens = largest(logits, plan.likely)
    # A log softmax of those alone that are kept: that of all is as large as the logits.
    most = top[:, :1]
    total = jnp.log(jnp.exp(logits - most).sum(-1, keepdims=True))
    last = jnp.minimum(length, plan.new_tokens - 1)[:, None]
    taken = jnp.take_along_axis(after.tokens, last, axis=1)
    own = (jnp.take_along_axis(logits, taken, axis=1) - most - total)[:, 0]
    places = jnp.where(after.length > length, length, plan.new_tokens)
    found = Likely(own, tokens, top - most - total)
    return Likely(*(_put(whole, places, part) for whole, part in zip(kept, found, strict=True)))


def _note(state: DecodeState, seen: Trace, due: jax.Array, plan: Plan) -> DecodeState:
    """Keep what the rows that are due have seen in this guided step, where that is traced.

    A score that is not finite makes its row unsound: whoever reads the row raises.
    """
    scores = jnp.where(seen.log_probs > -jnp.inf, seen.scores, 0)
    unsound = state.unsound | (due & ~jnp.isfinite(scores).all(-1))
    if not plan.traced:
        return state._replace(unsound=unsound)
    lacking = [(0, 0), (0, state.trace.scores.shape[-1] - scores.shape[-1])]
    seen = seen._replace(
        tokens=jnp.pad(seen.tokens, lacking),
        log_probs=jnp.pad(seen.log_probs, lacking, constant_values=-jnp.inf),
        scores=jnp.pad(seen.scores, lacking),
    )
    places = jnp.where(due, state.counts.guided, plan.guided_steps)
    trace = (_put(whole, places, part) for whole, part in zip(state.trace, seen, strict=True))
    return state._replace(trace=Trace(*trace), unsound=unsound)
