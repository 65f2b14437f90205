"""Responses in the making: what a batch of rows keeps between steps, and how it begins."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax.backbones import BackboneModule
from coala_jax.backbones._attention import OPEN_END, KeyValueCache, States, TokenBatch, append
from coala_jax.decoding._candidates import SamplingArrays
from coala_jax.decoding._config import Guidance
from coala_jax.decoding._running_pool import RunningPools, RunningReward

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
        end_id: the token that closes a response as the head knows texts.
        end_ids: tokens that end one, this among them.
        penalised: whether any row has a repetition penalty.
        traced: keep candidates and scores of every guided step.
        likely: how many of the backbone's most probable tokens are kept of every step, with their
            log probabilities and that of the token taken; 0 keeps none of these.
    """

    pool: int
    new_tokens: int
    candidates: int
    guidance: Guidance
    end_id: int
    end_ids: tuple[int, ...]
    penalised: bool
    traced: bool
    likely: int = 0

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
        ahead = self.guidance.continuations or self.guidance.lookahead
        return self.candidates * self.reach if ahead else 0

    @property
    def reach(self) -> int:
        """Positions behind a row's last token that are looked at, at least for an end token."""
        return self.depth + self.closes if self.candidates else 1

    def slots(self, context: int) -> int:
        """Slots of a cache row for so many tokens of prompt and response, and branches."""
        return round_up(context + max(self.branch_slots, 1))

    def ends(self, tokens: jax.Array) -> jax.Array:
        """Booleans: which tokens end a response."""
        return functools.reduce(jnp.logical_or, (tokens == one for one in self.end_ids))

    def as_known(self, tokens: jax.Array) -> jax.Array:
        """The tokens as they run: whichever token ends a response, the head knows it by one."""
        return jnp.where(self.ends(tokens), self.end_id, tokens)

    @property
    def guided_steps(self) -> int:
        """The most guided steps of a row."""
        return -(-self.new_tokens // self.guidance.guide_every) if self.candidates else 0


class Policy(NamedTuple):
    """What gives the next tokens, the same at every step.

    Attributes:
        module: the backbone.
        reward: the head; not looked at where the plan has no candidates.
        plan: of the batch.
    """

    module: BackboneModule
    reward: RunningReward
    plan: Plan

    def run(self, batch: TokenBatch, cache: KeyValueCache | None = None) -> States:
        """A pass, with keys and values: the last hidden states, and those of the head's layers."""
        layers = (-1, *self.reward.layers)
        return self.module.states(batch, cache, layers=layers, keep=True)


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


class Counts(NamedTuple):
    """What responses took; every field is (rows,) int32, of jax or of numpy.

    Attributes:
        evaluations: tokens that the backbone ran for this row, its prompt among them, which other
            rows may share.
        guided: guided steps taken: those with more than one candidate, and blocks.
        scored: branches scored in them.
        near_ties: decisions within ``NEAR_TIE`` of another.
    """

    evaluations: Any = 0
    guided: Any = 0
    scored: Any = 0
    near_ties: Any = 0


class Likely(NamedTuple):
    """Log probabilities of the backbone, over its whole vocabulary, where a response took a token.

    They are those of its logits as they are: neither temperature nor penalty, top-k, top-p or the
    head has moved them.

    Attributes:
        own: (rows, new_tokens) float32, of the token taken.
        tokens: (rows, new_tokens, likely) int32 most probable ones, in order.
        log_probs: (rows, new_tokens, likely) float32, of these.
    """

    own: jax.Array
    tokens: jax.Array
    log_probs: jax.Array

    @classmethod
    def none_yet(cls, rows: int, plan: Plan) -> "Likely":
        """Of responses without tokens."""
        steps = rows, plan.new_tokens if plan.likely else 0
        most = (*steps, plan.likely)
        return cls(
            own=jnp.zeros(steps, jnp.float32),
            tokens=jnp.zeros(most, jnp.int32),
            log_probs=jnp.zeros(most, jnp.float32),
        )


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
        counts: of what it took.
        unsound: (rows,) booleans, a score was not finite.
        trace: of guided steps; of no steps unless it is kept.
        likely: of the tokens; of none unless it is kept.
    """

    cache: KeyValueCache
    options: SamplingArrays
    tokens: jax.Array
    length: jax.Array
    pending: jax.Array
    hidden: jax.Array
    pools: RunningPools
    seen: jax.Array
    done: jax.Array
    counts: Counts
    unsound: jax.Array
    trace: Trace
    likely: Likely

    def counted(self, rows: jax.Array, more: Counts) -> "DecodeState":
        """The state with more counted of ``rows``, booleans."""

        def add(count: jax.Array, amount: jax.Array | int) -> jax.Array:
            return count + jnp.where(rows, amount, 0)

        return self._replace(counts=Counts(*map(add, self.counts, more)))


def round_up(length: int, multiple: int = SLOT_MULTIPLE) -> int:
    """The smallest multiple that is at least the length."""
    return -(-length // multiple) * multiple


class PromptBatch(NamedTuple):
    """Prompts side by side.

    Attributes:
        tokens: (prompts, length) int32 ids, padded on the right.
        lengths: (prompts,) int32.
    """

    tokens: jax.Array
    lengths: jax.Array


def prompt_batch(prompts: Sequence[Sequence[int]], pad_id: int) -> PromptBatch:
    """Prompts as arrays, padded to a multiple of ``SLOT_MULTIPLE``."""
    lengths = np.array([len(prompt) for prompt in prompts], np.int32)
    tokens = np.full((len(prompts), round_up(int(lengths.max()))), pad_id, np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    return PromptBatch(jnp.asarray(tokens), jnp.asarray(lengths))


@functools.partial(jax.jit, static_argnames=("plan", "capacity"))
def begin(
    module: BackboneModule,
    reward: RunningReward,
    prompts: PromptBatch,
    answers: jax.Array,
    options: SamplingArrays,
    *,
    plan: Plan,
    capacity: int,
) -> DecodeState:
    """Run prompts, each once however many rows answer it.

    Args:
        module: of a backbone that generates.
        reward: the head.
        prompts: to run; a row of a prompt of length 0 is done.
        answers: (rows,) int32, which of the prompts each row answers.
        options: of the rows.
        plan: of the batch.
        capacity: slots a row; room for prompt, response and branches.
    """
    tokens, lengths = prompts
    count, length = tokens.shape
    rows, capacity = len(answers), max(capacity, length)
    slots = jnp.broadcast_to(jnp.arange(length, dtype=jnp.int32), tokens.shape)
    real = slots < lengths[:, None]
    batch = TokenBatch(tokens, slots, jnp.where(real, OPEN_END, slots + 1))
    states = Policy(module, reward, plan).run(batch)
    cache = append(module.new_cache(count, capacity), batch, states)
    # Padding becomes empty slots, which the response fills.
    ends = cache.ends.at[:, :length].set(jnp.where(real, OPEN_END, 0))
    last = jnp.maximum(lengths - 1, 0)[:, None, None]
    seen = jnp.zeros((count, module.config.vocab_size if plan.penalised else 0), bool)
    if plan.penalised:
        seen = mark_seen(seen, tokens, real)
    hidden = jnp.take_along_axis(states.hidden[0], last, axis=1)[:, 0]
    pools = reward.begin(states.hidden[1:], real)
    nothing, no = jnp.zeros(rows, jnp.int32), jnp.zeros(rows, bool)
    steps = rows, plan.guided_steps if plan.traced else 0
    return DecodeState(
        cache=KeyValueCache(
            keys=cache.keys[:, answers],
            values=cache.values[:, answers],
            positions=cache.positions[answers],
            ends=ends[answers],
            lengths=lengths[answers],
        ),
        options=options,
        tokens=jnp.full((rows, plan.new_tokens), plan.end_id, jnp.int32),
        length=nothing,
        pending=no,
        hidden=hidden[answers],
        pools=jax.tree.map(lambda kept: kept[answers], pools),
        seen=seen[answers],
        done=(lengths[answers] == 0) | (options.max_new_tokens == 0),
        counts=Counts(lengths[answers], nothing, nothing, nothing),
        unsound=no,
        trace=Trace(
            step=jnp.zeros(steps, jnp.int32),
            tokens=jnp.zeros((*steps, plan.candidates), jnp.int32),
            log_probs=jnp.full((*steps, plan.candidates), -jnp.inf, jnp.float32),
            scores=jnp.zeros((*steps, plan.candidates), jnp.float32),
            chosen=jnp.zeros(steps, jnp.int32),
            plain=jnp.zeros(steps, jnp.int32),
        ),
        likely=Likely.none_yet(rows, plan),
    )


def mark_seen(seen: jax.Array, tokens: jax.Array, own: jax.Array) -> jax.Array:
    """(rows, vocab) booleans with those tokens of (rows, n) that are their ``own``, booleans."""
    return jax.vmap(lambda row, ids, own: row.at[ids].max(own))(seen, tokens, own)
