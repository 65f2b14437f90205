"""Responses in the making: what a batch of rows keeps between steps, and how it begins."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from coala_jax.backbones import BackboneModule
from coala_jax.backbones._attention import OPEN_END, KeyValueCache, TokenBatch, append
from coala_jax.decoding._candidates import SamplingOptions
from coala_jax.decoding._config import Guidance
from coala_jax.decoding._running_pool import RunningPools, begin_pools

# Slots of a cache and lengths of prompts are multiples of this: a compilation each.
SLOT_MULTIPLE = 64
# Sizes of pools, below the largest, that the scoring of candidates is compiled for.
POOL_WIDTHS = (4, 16)


class Plan(NamedTuple):
    """What decides the compiled program of a batch; hashable.

    Attributes:
        pool: the largest ``top_k`` of the rows.
        new_tokens: the largest ``max_new_tokens`` of the rows.
        candidates: how many are scored where guidance acts; 0 where no row is guided.
        guidance: of the guided rows, but for ``num_candidates``, which ``candidates`` says.
        pooling: of the head's features.
        layers: of the head's features.
        end_id: the token that closes a response.
        penalised: whether any row has a repetition penalty.
        traced: keep candidates and scores of every guided step.
    """

    pool: int
    new_tokens: int
    candidates: int
    guidance: Guidance
    pooling: str
    layers: tuple[int, ...]
    end_id: int
    penalised: bool
    traced: bool

    @property
    def widths(self) -> tuple[int, ...]:
        """How many candidates may be scored together; a step takes the first that holds its pools.

        A nucleus is mostly far smaller than the ``top_k`` it was taken from.
        """
        smaller = (width for width in POOL_WIDTHS if width < self.candidates)
        return (*smaller, self.candidates)

    @property
    def closes(self) -> int:
        """1 where an end token follows what is scored, else 0."""
        return int(self.guidance.scored == "closed")

    @property
    def depth(self) -> int:
        """The most tokens of a branch."""
        guidance = self.guidance
        return guidance.guide_every if guidance.continuations else 1 + guidance.lookahead

    @property
    def branch_slots(self) -> int:
        """Slots of the cache that all branches of a row take; candidates alone take none."""
        if not self.candidates:
            return 0
        if self.guidance.continuations or self.guidance.lookahead:
            return self.candidates * self.reach
        return 0

    @property
    def reach(self) -> int:
        """Positions behind a row's last token that a guided step looks at."""
        if not self.candidates:
            return 0
        return self.depth + self.closes

    @property
    def guided_steps(self) -> int:
        """The most guided steps of a row."""
        return -(-self.new_tokens // self.guidance.guide_every) if self.candidates else 0


class Trace(NamedTuple):
    """What every guided step of a row saw, in order; a step a row did not take is all zeros.

    Attributes:
        step: (rows, steps) int32 index of the token in the response.
        tokens: (rows, steps, candidates) int32; of a block its first token.
        log_probs: (rows, steps, candidates) float32; -inf at what was no candidate or not scored.
        scores: (rows, steps, candidates) float32 rewards.
        chosen: (rows, steps) int32 the candidate taken.
        plain: (rows, steps) int32 the one that the same noise takes without the head.
    """

    step: jax.Array
    tokens: jax.Array
    log_probs: jax.Array
    scores: jax.Array
    chosen: jax.Array
    plain: jax.Array


class DecodeState(NamedTuple):
    """Rows of responses in the making.

    Attributes:
        cache: keys and values of what has run.
        options: of every row.
        tokens: (rows, new_tokens) int32, the responses so far.
        length: (rows,) int32, how many of them there are.
        pending: (rows,) booleans, the last one has not run yet.
        hidden: (rows, width) last hidden state of the last token that has run.
        pools: of the prompt and the response tokens that have run.
        seen: (rows, vocab) booleans, tokens of prompt and response; (rows, 0) where none counts.
        done: (rows,) booleans.
        evaluations: (rows,) int32, tokens that the backbone ran for this row, its prompt among
            them, which other rows may share.
        guided: (rows,) int32, guided steps taken: those with more than one candidate, and blocks.
        scored: (rows,) int32, branches scored in them.
        near_ties: (rows,) int32, decisions within ``NEAR_TIE`` of another.
        unsound: (rows,) booleans, a score was not finite.
        trace: of guided steps; of no steps unless it is kept.
    """

    cache: KeyValueCache
    options: SamplingOptions
    tokens: jax.Array
    length: jax.Array
    pending: jax.Array
    hidden: jax.Array
    pools: RunningPools
    seen: jax.Array
    done: jax.Array
    evaluations: jax.Array
    guided: jax.Array
    scored: jax.Array
    near_ties: jax.Array
    unsound: jax.Array
    trace: Trace


def round_up(length: int, multiple: int = SLOT_MULTIPLE) -> int:
    """The smallest multiple that is at least the length."""
    return -(-length // multiple) * multiple


def prompt_batch(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, length) ids padded on the right, and (rows,) lengths."""
    lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    tokens = np.full((len(prompts), round_up(int(lengths.max()))), pad_id, np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    return tokens, lengths


@nnx.jit(static_argnames=("plan", "capacity"))
def begin(
    module: BackboneModule,
    tokens: jax.Array,
    lengths: jax.Array,
    prompt: jax.Array,
    options: SamplingOptions,
    *,
    plan: Plan,
    capacity: int,
) -> DecodeState:
    """Run prompts, each once however many rows answer it.

    Args:
        module: of a backbone that generates.
        tokens: (prompts, length) ids, padded on the right.
        lengths: (prompts,) their lengths; a row of a prompt of length 0 is done.
        prompt: (rows,) int32, which of the prompts each row answers.
        options: of the rows.
        plan: of the batch.
        capacity: slots a row; room for prompt, response and branches.
    """
    prompts, length = tokens.shape
    rows, capacity = len(prompt), max(capacity, length)
    slots = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), tokens.shape)
    real = slots < lengths[:, None]
    batch = TokenBatch(tokens, slots, jnp.where(real, OPEN_END, slots + 1))
    states = module.states(batch, layers=(-1, *plan.layers), keep=True)
    cache = append(module.new_cache(prompts, capacity), batch, states)
    # Padding becomes empty slots, which the response fills.
    ends = cache.ends.at[:, :length].set(jnp.where(real, OPEN_END, 0))
    last = jnp.maximum(lengths - 1, 0)[:, None, None]
    vocab = module.config.vocab_size if plan.penalised else 0
    seen = jnp.zeros((prompts, vocab), bool)
    if plan.penalised:
        seen = jax.vmap(lambda row, ids, own: row.at[ids].max(own))(seen, tokens, real)
    cache = cache._replace(ends=ends, lengths=lengths)
    hidden = jnp.take_along_axis(states.hidden[0], last, axis=1)[:, 0]
    pools = begin_pools(states.hidden[1:], real, plan.pooling) if plan.layers else ()
    nothing = jnp.zeros(rows, jnp.int32)
    kept = rows, plan.guided_steps if plan.traced else 0, plan.candidates
    return DecodeState(
        cache=cache._replace(
            keys=cache.keys[:, prompt],
            values=cache.values[:, prompt],
            positions=cache.positions[prompt],
            ends=cache.ends[prompt],
            lengths=cache.lengths[prompt],
        ),
        options=options,
        tokens=jnp.full((rows, plan.new_tokens), plan.end_id, jnp.int32),
        length=nothing,
        pending=jnp.zeros(rows, bool),
        hidden=hidden[prompt],
        pools=jax.tree.map(lambda kept: kept[prompt], pools),
        seen=seen[prompt],
        done=(lengths[prompt] == 0) | (options.max_new_tokens == 0),
        evaluations=lengths[prompt],
        guided=nothing,
        scored=nothing,
        near_ties=nothing,
        unsound=jnp.zeros(rows, bool),
        trace=Trace(
            step=jnp.zeros(kept[:2], jnp.int32),
            tokens=jnp.zeros(kept, jnp.int32),
            log_probs=jnp.full(kept, -jnp.inf, jnp.float32),
            scores=jnp.zeros(kept, jnp.float32),
            chosen=jnp.zeros(kept[:2], jnp.int32),
            plain=jnp.zeros(kept[:2], jnp.int32),
        ),
    )
