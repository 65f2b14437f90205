"""The pool of next tokens, and the draw from it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

# Decisions closer than this are counted: another batch shape rounds otherwise and may turn them.
NEAR_TIE = 1e-4
# Tokens of a part of the vocabulary, of which the largest is compared first: near the root of a
# large vocabulary over a usual pool, where as many parts are compared as tokens in those chosen.
PART = 64


class SamplingArrays(NamedTuple):
    """What may differ from row to row, as arrays: `coala_jax.decoding.Sampling`, and keys.

    Attributes:
        key: (rows,) typed keys; a row's draws depend on its own alone.
        temperature: (rows,) float32; 0 draws without noise.
        top_p: (rows,) float32.
        top_k: (rows,) int32.
        repetition_penalty: (rows,) float32.
        scale: (rows,) float32, guidance scale.
        max_new_tokens: (rows,) int32.
    """

    key: jax.Array
    temperature: jax.Array
    top_p: jax.Array
    top_k: jax.Array
    repetition_penalty: jax.Array
    scale: jax.Array
    max_new_tokens: jax.Array


class Pool(NamedTuple):
    """Candidates for the next token, the most probable first.

    Attributes:
        tokens: (rows, size) int32.
        log_probs: (rows, size) float32, normalised over the candidates; -inf at what is none.
        on_edge: (rows, size) booleans, within ``NEAR_TIE`` of being in or out.
    """

    tokens: jax.Array
    log_probs: jax.Array
    on_edge: jax.Array

    @property
    def inside(self) -> jax.Array:
        """(rows, size) booleans, true at candidates."""
        return self.log_probs > -jnp.inf

    def first(self, count: int) -> "Pool":
        """The most probable candidates alone; probabilities are not normalised again."""
        return Pool(*(part[:, :count] for part in self))


def penalise(logits: jax.Array, seen: jax.Array, penalty: jax.Array) -> jax.Array:
    """Logits with those of seen tokens moved down (Keskar et al. 2019, section 4.1).

    Args:
        logits: (rows, vocab) float32.
        seen: (rows, vocab) booleans.
        penalty: (rows,) float32.
    """
    penalty = penalty[:, None]
    moved = jnp.where(logits > 0, logits / penalty, logits * penalty)
    return jnp.where(seen, moved, logits)


def largest(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The largest values and their places, the first of equals first, as `jax.lax.top_k` gives.

    They lie in the ``count`` parts with the largest maxima. `jax.lax.top_k` of all of a vocabulary
    goes through it value by value on a CPU, and sorts it on a GPU.

    Args:
        values: (..., n) float32; of narrower floats XLA sorts all on a CPU.
        count: how many, at most n.

    Returns:
        (..., count) values in order, and (..., count) int32 places.
    """
    *leading, size = values.shape
    # Parts that hold much of it save little; filling up the last one costs more than all of them.
    if size % PART or 4 * count * PART > size:
        return jax.lax.top_k(values, count)
    parts = values.reshape(*leading, -1, PART)
    # In their order, so that the first of equals stays the first.
    chosen = jnp.sort(jax.lax.top_k(parts.max(-1), count)[1], axis=-1)
    held = jnp.take_along_axis(parts, chosen[..., None], axis=-2).reshape(*leading, -1)
    top, at = jax.lax.top_k(held, count)
    return top, PART * jnp.take_along_axis(chosen, at // PART, axis=-1) + at % PART


def propose(logits: jax.Array, options: SamplingArrays, size: int) -> Pool:
    """The nucleus (Holtzman et al. 2020) of the ``top_k`` most probable tokens.

    Args:
        logits: (rows, vocab).
        options: of the rows.
        size: the largest ``top_k`` of the rows, at most the vocabulary's size.

    Returns:
        Pools of ``size`` entries, and one more that tells how near the edge is, where the
        vocabulary has one.
    """
    divisor = jnp.where(options.temperature > 0, options.temperature, 1)[:, None]
    scaled = logits.astype(jnp.float32) / divisor
    top, tokens = largest(scaled, min(size + 1, logits.shape[-1]))
    rank = jnp.arange(top.shape[1])
    top_k, top_p = options.top_k[:, None], options.top_p[:, None]
    probable = rank < top_k
    log_probs = jax.nn.log_softmax(jnp.where(probable, top, -jnp.inf))
    reached = jnp.cumsum(jnp.exp(log_probs), axis=-1)
    before = jnp.pad(reached[:, :-1], ((0, 0), (1, 0)))  # exactly 0 before the first
    inside = probable & ((before < top_p) | (top_p >= 1))
    log_probs = jax.nn.log_softmax(jnp.where(inside, log_probs, -jnp.inf))
    on_nucleus_edge = probable & (rank > 0) & (jnp.abs(before - top_p) < NEAR_TIE) & (top_p < 1)
    return Pool(tokens, log_probs, on_nucleus_edge | _on_rank_edge(top, rank, top_k))


def _on_rank_edge(top: jax.Array, rank: jax.Array, top_k: jax.Array) -> jax.Array:
    """The last of the ``top_k`` and the one after it, where they are nearly equal."""
    last = jnp.take_along_axis(top, jnp.minimum(top_k - 1, top.shape[1] - 1), axis=1)
    after = jnp.take_along_axis(top, jnp.minimum(top_k, top.shape[1] - 1), axis=1)
    near = (last - after < NEAR_TIE) & (top_k < top.shape[1])
    return near & ((rank == top_k - 1) | (rank == top_k))


def token_noise(keys: jax.Array, tokens: jax.Array) -> jax.Array:
    """Gumbel noise of tokens: a token's own, whatever its rank.

    Args:
        keys: (rows,) typed keys of this draw.
        tokens: (rows, size) int32.

    Returns:
        (rows, size) float32.
    """

    def noise(key: jax.Array, token: jax.Array) -> jax.Array:
        return jax.random.gumbel(jax.random.fold_in(key, token), (), jnp.float32)

    return jax.vmap(jax.vmap(noise, (None, 0)))(keys, tokens)


class Draw(NamedTuple):
    """What was drawn from pools.

    Attributes:
        place: (rows,) int32, of what was drawn in its pool.
        near_tie: (rows,) booleans: the decision is within ``NEAR_TIE`` of another.
    """

    place: jax.Array
    near_tie: jax.Array


def draw(pool: Pool, log_weights: jax.Array, noise: jax.Array, temperature: jax.Array) -> Draw:
    """Draw in proportion to weights: the largest sum of log weight and Gumbel noise.

    Args:
        pool: the candidates.
        log_weights: (rows, size) float32, of any normalisation.
        noise: (rows, size) float32 from `token_noise`.
        temperature: (rows,) float32; rows of 0 take the largest weight.
    """
    noise = jnp.where(temperature[:, None] > 0, noise, 0)
    return take_largest(pool, log_weights + noise)


def take_largest(pool: Pool, values: jax.Array) -> Draw:
    """The candidate with the largest value, the most probable one of equals.

    Args:
        pool: the candidates.
        values: (rows, size) float32.
    """
    held = jnp.where(pool.inside, values, -jnp.inf)
    index = jnp.argmax(held, axis=-1)
    won = jnp.take_along_axis(held, index[:, None], axis=1)
    is_index = jnp.arange(held.shape[1]) == index[:, None]
    # Of exactly equal ones the order decides, not the floats.
    rivals = jnp.where(is_index | (held == won), -jnp.inf, held).max(-1)
    near = won[:, 0] - rivals < NEAR_TIE
    # A token on the edge matters where it won, or would have.
    edge_won = (is_index & pool.on_edge).any(-1)
    edge_lost = (pool.on_edge & ~pool.inside & (values > won - NEAR_TIE)).any(-1)
    return Draw(index.astype(jnp.int32), near | edge_won | edge_lost)
