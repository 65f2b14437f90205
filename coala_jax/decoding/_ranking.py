"""The responses of each prompt in order of their reward, with the probability of each pair.

The probability that response i is preferred to response j is that of the Bradley-Terry model (eq 6
with its offset at 0):

    P(i preferred to j) = sigmoid(beta (r_i - r_j))

with one over the temperature that left-out pairs have fitted as beta, or the beta that the head was
trained with where there were none (1 unless it was set otherwise). The offset gamma of
eq 6 and the margins of the rows have no part in it: they say by how much a preferred response was
asked to win in training, and with them P(i, j) and P(j, i) would not add up to 1. Phase II on eq 9
instead models each response alone, sigmoid(beta r) being the probability that it is a good one;
there the same formula is the probability that i is the good one, given that one of the two is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._head import HeadError
from coala_jax._progress import Progress
from coala_jax.data import ResponseRow
from coala_jax.data._responses import CHUNK_RESPONSES, RESPONSE
from coala_jax.decoding._prompts import Prompt, answered_texts
from coala_jax.decoding._reward_model import TextRewardModel, require_reward_model, require_several
from coala_jax.decoding._rewards import score

# Rewards that differ by less are ordered by the rounding of float32, which follows the batches that
# ran together.
NEAR_TIE = 1e-4


class RankedResponse(NamedTuple):
    """A response and its place.

    Attributes:
        rank: from 1; equal rewards share a rank, and the next one counts them all (1, 2, 2, 4).
        position: its place among the responses that were given, from 0.
        reward: under the head.
    """

    rank: int
    position: int
    reward: float


class Ranking(NamedTuple):
    """The n responses to a prompt, ordered.

    Attributes:
        ranked: (n,) by falling reward; of equal rewards, in the order that was given.
        probabilities: (n, n) float64, in the order that was given: entry (i, j) is the probability
            that response i is preferred to response j; 0.5 on the diagonal and for equal rewards.
        ties: pairs of equal rewards, each of probability 0.5. Equal texts are always among them.
        near_ties: other pairs whose rewards differ by less than ``NEAR_TIE``.
    """

    ranked: tuple[RankedResponse, ...]
    probabilities: np.ndarray
    ties: int
    near_ties: int


def rank(model: TextRewardModel, prompt: Prompt, responses: Sequence[str]) -> Ranking:
    """Rank the responses to a prompt by their rewards.

    Args:
        model: of the rewards, and of the beta in the probabilities.
        prompt: what they answer: a text, or the messages of a conversation.
        responses: (n,) texts; equal ones are run once, so that they tie.

    Returns:
        Their order, and the probability of each pair.

    Raises:
        HeadError, FeatureError: as `score` does.
        GenerationError: messages that are none, or that the chat template refuses.
    """
    require_several("responses", responses)
    require_reward_model(model)
    prompt, responses = answered_texts(model, prompt, responses, "prompt")
    rows = [
        ResponseRow("prompt", f"{RESPONSE}-{number}", prompt, text)
        for number, text in enumerate(responses)
    ]
    return rank_groups(model, [rows])[0]


def rank_groups(model: TextRewardModel, groups: Sequence[Sequence[ResponseRow]]) -> list[Ranking]:
    """Rank the responses of each group, as `rank` does; they run together.

    Args:
        model: of the rewards, and of the beta in the probabilities.
        groups: each to one prompt, from `group_by_prompt`.
    """
    require_reward_model(model)
    distinct = [{row.response: row for row in reversed(group)} for group in groups]
    rows = [row for each in distinct for row in each.values()]
    rewards: list[float] = []
    with Progress(len(rows), "rank") as progress:
        for start in range(0, len(rows), CHUNK_RESPONSES):
            chunk = rows[start : start + CHUNK_RESPONSES]
            rewards.extend(score(model, chunk, progress=progress).rewards.tolist())
    each_reward = iter(rewards)
    rankings = []
    for group, texts in zip(groups, distinct, strict=True):
        by_text = {text: next(each_reward) for text in texts}
        rankings.append(rank_rewards([by_text[row.response] for row in group], model.beta))
    return rankings


def group_by_prompt(rows: Iterable[ResponseRow]) -> list[list[ResponseRow]]:
    """Rows to groups, in the order in which they are first met.

    A row that lists its responses is a group of its own; all other rows of one prompt text are a
    group together, wherever they stand.
    """
    groups: dict[tuple[str, str], list[ResponseRow]] = {}
    for row in rows:
        listed = row.side.startswith(f"{RESPONSE}-")
        groups.setdefault((row.id if listed else "", row.prompt), []).append(row)
    return list(groups.values())


def rank_rewards(rewards: Sequence[float] | np.ndarray, beta: float = 1.0) -> Ranking:
    """Rank responses whose rewards are known.

    Args:
        rewards: (n,) finite rewards.
        beta: reward scale of the Bradley-Terry model.

    Returns:
        Their order, and the probability of each pair.

    Raises:
        HeadError: a reward that is not finite.

    Example:
        >>> from coala_jax.decoding import rank_rewards
        >>> [each.position for each in rank_rewards([0.1, 2.0, -1.0]).ranked]
        [1, 0, 2]
    """
    given = np.asarray(rewards, np.float64)
    if not np.isfinite(given).all():
        raise HeadError(f"rewards: {given.tolist()} are not all finite; they have no order")
    rewards = given.tolist()
    order = sorted(range(len(rewards)), key=lambda position: -rewards[position])
    ranked = tuple(
        RankedResponse(1 + sum(other > rewards[at] for other in rewards), at, rewards[at])
        for at in order
    )
    differences = [abs(one - other) for one, other in itertools.combinations(rewards, 2)]
    return Ranking(
        ranked,
        preference_probabilities(rewards, beta),
        ties=sum(difference == 0 for difference in differences),
        near_ties=sum(0 < difference < NEAR_TIE for difference in differences),
    )


def preference_probabilities(
    rewards: Sequence[float] | np.ndarray, beta: float = 1.0
) -> np.ndarray:
    """The probability of each pair: sigmoid(beta (r_i - r_j)) (Bradley & Terry 1952; COALA, eq 6).

    Args:
        rewards: (n,) finite rewards.
        beta: reward scale.

    Returns:
        (n, n) float64; entries (i, j) and (j, i) add up to 1.

    Example:
        >>> from coala_jax.decoding import preference_probabilities
        >>> preference_probabilities([0.0, 1.0]).round(2).tolist()
        [[0.5, 0.27], [0.73, 0.5]]
    """
    reward = np.asarray(rewards, np.float64)
    advantage = beta * (reward[:, None] - reward[None, :])
    # exp of what is never positive: no overflow however far rewards are apart.
    weaker = np.exp(-np.abs(advantage))
    return np.where(advantage >= 0, 1.0, weaker) / (1.0 + weaker)
