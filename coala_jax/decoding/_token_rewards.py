"""What every token of a response adds to its reward: the rewards of all prefixes, in one pass."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax.backbones import Backbone, BackboneModule, TokenBatch
from coala_jax.decoding._config import GenerationError
from coala_jax.decoding._plan import require_generates
from coala_jax.decoding._reward_model import (
    TextRewardModel,
    require_reward_model,
    require_scores_responses,
)
from coala_jax.decoding._running_pool import RunningPools, RunningReward
from coala_jax.decoding._state import SLOT_MULTIPLE
from coala_jax.features import FeatureError

# Texts that run together.
BATCH_SIZE = 32


def token_rewards(
    model: TextRewardModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
) -> list[np.ndarray]:
    """Rewards of every prefix of responses, each closed by the end token as the head knows texts.

    A text is one token tree: prompt and response, and behind the prompt and every response token
    an end token that sees what stands before it. All of it runs once.

    Args:
        model: on a causal backbone that jax runs.
        prompts: (n,) token ids, start token included; none empty.
        responses: (n,) token ids, with or without their end token; they may be empty.

    Returns:
        For every response (len(response) + 1,) float32: entry k is the reward of its first k
        tokens, entry 0 that of the empty response, so token k adds entry k + 1 less entry k. An end
        token adds 0: what stands before it was closed already.

    Raises:
        GenerationError: a text that with its end token is longer than the model's context. Nothing
            is cut: prefixes that lose their beginning would differ by more than a token. An empty
            prompt, or a backbone that does not generate; no `TextRewardModel`, or one of
            beginnings of responses.
        FeatureError: a reward that is not finite.
    """
    require_reward_model(model, GenerationError)
    require_scores_responses(model.scores, GenerationError)
    backbone = model.backbone
    require_generates(backbone)
    end_ids = backbone.tokenizer.end_ids
    texts = []
    for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        ended = len(response) > 0 and response[-1] in end_ids
        open_response = list(response[:-1] if ended else response)
        _require_fits(backbone, number, len(prompt), len(open_response))
        texts.append((list(prompt), open_response))
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    # Texts of like length run together.
    order = sorted(range(len(texts)), key=lambda number: -_slots(*texts[number]))
    for start in range(0, len(order), BATCH_SIZE):
        numbers = order[start : start + BATCH_SIZE]
        rewards = _run(model, [texts[number] for number in numbers])
        for number, row in zip(numbers, rewards, strict=True):
            count = len(responses[number]) + 1
            own = row[: len(texts[number][1]) + 1]
            found[number] = np.pad(own, (0, count - len(own)), mode="edge")
    bad = [number for number, rewards in enumerate(found) if not np.isfinite(rewards).all()]
    if bad:
        raise FeatureError(
            f"rewards: {len(bad)} of {len(found)} texts have prefixes whose reward is not finite, "
            f"the first is text {bad[0]}; the head's weights overflow on it: solve it again with a "
            "larger ridge"
        )
    return found


def _require_fits(backbone: Backbone, number: int, prompt: int, response: int) -> None:
    most = backbone.config.max_length
    if not prompt:
        raise GenerationError(f"text {number}: its prompt is empty; give at least one token")
    if prompt + response + 1 > most:
        raise GenerationError(
            f"text {number} has {prompt + response + 1} tokens with its end token, more than the "
            f"model's context of {most}; shorten its prompt or response"
        )


def _slots(prompt: Sequence[int], response: Sequence[int]) -> int:
    """Tokens of a text's tree: an end token behind the prompt and every response token."""
    return len(prompt) + 2 * len(response) + 1


def _run(model: TextRewardModel, texts: Sequence[tuple[list[int], list[int]]]) -> np.ndarray:
    """(texts, most) rewards of their prefixes; what is beyond a response means nothing."""
    largest = max(_slots(*text) for text in texts)
    length = SLOT_MULTIPLE  # doubled, not rounded up: a compilation each
    while length < largest:
        length *= 2
    rows = min(1 << (len(texts) - 1).bit_length(), BATCH_SIZE)
    tokens = np.full((rows, length), model.end_id, np.int32)
    sizes = np.zeros((rows, 2), np.int32)
    for row, (prompt, response) in enumerate(texts):
        tokens[row, : len(prompt)] = prompt
        tokens[row, len(prompt) + 1 : len(prompt) + 2 * len(response) : 2] = response
        sizes[row] = len(prompt), len(response)
    module, reward = model.backbone.module, RunningReward.of(model)
    rewards = _prefix_rewards(module, reward, jnp.asarray(tokens), jnp.asarray(sizes))
    return np.asarray(rewards)[: len(texts)]


@jax.jit
def _prefix_rewards(
    module: BackboneModule, reward: RunningReward, tokens: jax.Array, sizes: jax.Array
) -> jax.Array:
    """(rows, 1 + length // 2) rewards of the prefixes of responses, the empty one first.

    Args:
        module: the backbone.
        reward: the head.
        tokens: (rows, length) trees: a prompt, an end token, and every response token with an end
            token behind it.
        sizes: (rows, 2) tokens of every prompt and of its response.
    """
    prompt, response = sizes[:, :1], sizes[:, 1:]
    total = prompt + 2 * response + 1
    slots = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
    behind = slots - prompt
    closing = (behind >= 0) & (behind % 2 == 0)
    depth = jnp.where(behind < 0, slots, prompt + behind // 2)
    real = slots < total
    batch = TokenBatch(
        tokens,
        positions=jnp.where(real, depth, 0),
        ends=jnp.where(real & ~closing, total, slots + 1),
    )
    states = module.states(batch, layers=reward.layers).hidden
    steps = tokens.shape[1] // 2

    def each(first: int) -> tuple[jax.Array, ...]:
        """States of every second slot from so far behind the prompt: (steps, rows, width)."""
        at = jnp.minimum(prompt + first + 2 * jnp.arange(steps), tokens.shape[1] - 1)
        taken = [jnp.take_along_axis(layer, at[..., None], axis=1) for layer in states]
        return tuple(jnp.swapaxes(layer, 0, 1) for layer in taken)

    def closed(pools: RunningPools, end: tuple[jax.Array, ...]) -> jax.Array:
        return reward.score(reward.add(pools, end))

    def lengthen(
        pools: RunningPools, run: tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]
    ) -> tuple[RunningPools, jax.Array]:
        token, end = run
        pools = reward.add(pools, token)
        return pools, closed(pools, end)

    pools = reward.begin(states, behind < 0)
    empty = closed(pools, tuple(layer[0] for layer in each(0)))
    rewards = jax.lax.scan(lengthen, pools, (each(1), each(2)))[1]
    return jnp.concatenate([empty[None], rewards]).T
