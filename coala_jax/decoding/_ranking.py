"""The responses of each prompt in order of their reward, with the probability of each pair.

The probability that response i is preferred to response j is that of the Bradley-Terry model whose
likelihood Phase II maximises (eq 6 with its offset at 0):

    P(i preferred to j) = sigmoid(beta (r_i - r_j))

with the beta that the head was trained with (1 unless it was set otherwise). The offset gamma of
eq 6 and the margins of the rows have no part in it: they say by how much a preferred response was
asked to win in training, and with them P(i, j) and P(j, i) would not add up to 1. Phase II on eq 9
instead models each response alone, sigmoid(beta r) being the probability that it is a good one;
there the same formula is the probability that i is the good one, given that one of the two is.
The probability is as good as the head: it is calibrated where the loss on held-out pairs says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coala_jax._progress import Progress
from coala_jax.data import ResponseRow
from coala_jax.data._responses import CHUNK_RESPONSES, RESPONSE, ResponseStream
from coala_jax.decoding._inputs import usable_rows
from coala_jax.decoding._reward_model import TextRewardModel, score
from coala_jax.decoding._set_aside import SetAside

# Rewards that differ by less are ordered by the rounding of float32, which follows the batches that
# ran together.
NEAR_TIE = 1e-4


class ResponseGroup(NamedTuple):
    """The responses to one prompt.

    Attributes:
        id: name of the row that gave the first of them.
        prompt: what they answer.
        responses: in the order of the file.
    """

    id: str
    prompt: str
    responses: tuple[ResponseRow, ...]


class RankedResponse(NamedTuple):
    """A response and its place.

    Attributes:
        rank: from 1; equal rewards share a rank, and the next one counts them all (1, 2, 2, 4).
        position: its place among the responses of its prompt, from 0.
        row: the response.
        reward: under the head.
    """

    rank: int
    position: int
    row: ResponseRow
    reward: float


class Ranking(NamedTuple):
    """The responses of a prompt, ordered.

    Attributes:
        group: the prompt and its responses.
        ranked: by falling reward; of equal rewards, in the order of the file.
        probabilities: (n, n) float64, in the order of the group: entry (i, j) is the probability
            that response i is preferred to response j; 0.5 on the diagonal and for equal rewards.
        ties: pairs of equal rewards, each of probability 0.5. Equal texts are always among them.
        near_ties: other pairs whose rewards differ by less than ``NEAR_TIE``.
    """

    group: ResponseGroup
    ranked: tuple[RankedResponse, ...]
    probabilities: np.ndarray
    ties: int
    near_ties: int


def group_by_prompt(rows: Iterable[ResponseRow]) -> list[ResponseGroup]:
    """Rows to groups, in the order in which they are first met.

    A row that lists its responses is a group of its own; all other rows of one prompt text are a
    group together, wherever they stand.
    """
    groups: dict[tuple[str, str], list[ResponseRow]] = {}
    for row in rows:
        listed = row.side.startswith(f"{RESPONSE}-")
        groups.setdefault((row.id if listed else "", row.prompt), []).append(row)
    return [ResponseGroup(each[0].id, each[0].prompt, tuple(each)) for each in groups.values()]


class RankedFile(NamedTuple):
    """What `rank_stream` did.

    Attributes:
        rankings: one a prompt, in the order of the file.
        set_aside: rows that cannot be ranked, by reason.
        rejected: where they are; None where there are none.
    """

    rankings: tuple[Ranking, ...]
    set_aside: Mapping[str, int]
    rejected: Path | None


def rank_stream(
    model: TextRewardModel,
    stream: ResponseStream,
    rejected: Path | None = None,
) -> RankedFile:
    """Rank the responses of each prompt. All rows are read first: a prompt may come again.

    Args:
        model: of the rewards.
        stream: the rows, from ``stream_responses``.
        rejected: where rows that are set aside go; None only counts them.

    Raises:
        FeatureError: as `score` does, or another chat template than the head's.
        DataError: no usable row.
    """
    aside = SetAside(rejected)
    try:
        rows = [row for entry in usable_rows(stream, model, aside) for row in entry]
        aside.require_usable(stream.name, len(rows))
        rankings = rank_groups(model, group_by_prompt(rows))
        return RankedFile(tuple(rankings), dict(sorted(aside.counts.items())), aside.finish())
    finally:
        aside.close()


def rank_groups(model: TextRewardModel, groups: Sequence[ResponseGroup]) -> list[Ranking]:
    """Rank the responses of each group. Equal texts of a group are run once, so that they tie.

    Args:
        model: of the rewards.
        groups: from `group_by_prompt`.

    Returns:
        A ranking for each group, in order.

    Raises:
        FeatureError: as `score` does.
    """
    distinct = [
        {row.response: row for row in reversed(group.responses)} for group in groups
    ]  # the first row of each text
    rows = [row for each in distinct for row in each.values()]
    rewards: list[float] = []
    with Progress(len(rows), "rank") as progress:
        for start in range(0, len(rows), CHUNK_RESPONSES):
            chunk = rows[start : start + CHUNK_RESPONSES]
            rewards.extend(score(model, chunk, progress=progress).rewards)
    each_reward = map(float, rewards)
    rankings = []
    for group, texts in zip(groups, distinct, strict=True):
        by_text = {text: next(each_reward) for text in texts}
        found = [by_text[row.response] for row in group.responses]
        rankings.append(rank_responses(group, found, model.beta))
    return rankings


def rank_responses(group: ResponseGroup, rewards: Sequence[float], beta: float) -> Ranking:
    """Rank responses whose rewards are known.

    Args:
        group: of n responses.
        rewards: (n,) finite rewards in the order of the group.
        beta: reward scale of the Bradley-Terry model.
    """
    order = sorted(range(len(rewards)), key=lambda index: (-rewards[index], index))
    ranked = tuple(
        RankedResponse(
            1 + sum(other > rewards[index] for other in rewards),
            index,
            group.responses[index],
            rewards[index],
        )
        for index in order
    )
    differences = [abs(one - other) for one, other in itertools.combinations(rewards, 2)]
    return Ranking(
        group,
        ranked,
        preference_probabilities(rewards, beta),
        ties=sum(difference == 0 for difference in differences),
        near_ties=sum(0 < difference < NEAR_TIE for difference in differences),
    )


def preference_probabilities(rewards: Sequence[float], beta: float = 1.0) -> np.ndarray:
    """The Bradley-Terry probability of each pair: sigmoid(beta (r_i - r_j)).

    Args:
        rewards: (n,) finite rewards.
        beta: reward scale.

    Returns:
        (n, n) float64; entries (i, j) and (j, i) add up to 1.
    """
    reward = np.asarray(rewards, np.float64)
    advantage = beta * (reward[:, None] - reward[None, :])
    # exp of what is never positive: no overflow however far rewards are apart.
    weaker = np.exp(-np.abs(advantage))
    return np.where(advantage >= 0, 1.0, weaker) / (1.0 + weaker)


def ranking_line(ranking: Ranking) -> dict[str, Any]:
    """A ranking as JSON can say it: one line of the command's output."""
    pairs = [
        {
            "first": first.position,
            "second": second.position,
            "probability": float(ranking.probabilities[first.position, second.position]),
        }
        for first, second in itertools.combinations(ranking.ranked, 2)
    ]
    ranked: list[Mapping[str, Any]] = [
        {
            "rank": each.rank,
            "position": each.position,
            "id": each.row.id,
            "side": each.row.side,
            "reward": each.reward,
        }
        for each in ranking.ranked
    ]
    return {
        "id": ranking.group.id,
        "ranking": ranked,
        "pairs": pairs,
        "ties": ranking.ties,
        "near_ties": ranking.near_ties,
    }
