"""Why a response has its reward: the share of each neuron, and the responses that move it most.

The reward of features x is sum_k h_k(x) theta2_k (eq 2), h_k being the first layer's output: 0
where neuron k is off. Its k-th term is the share of neuron k. The linear path of a head that has
one comes last, as if it were a neuron of theta2 = 1. A share is computed in float64 from
the float32 h_k(x) and theta2_k, where the product is exact; the reward of an explanation is the
correctly rounded sum of its shares (`math.fsum`), which does not depend on their order. So

    math.fsum(shares) == reward

holds exactly, to the last bit, and ``head(x)``, which adds up in float32, agrees with it to 1e-5
of the sum of the shares' sizes.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._head import Head, reward_terms, term_weights
from coala_jax._progress import Progress
from coala_jax.data import DataError, ResponseRow
from coala_jax.data._responses import CHUNK_RESPONSES
from coala_jax.decoding._reward_model import (
    TextRewardModel,
    require_reward_model,
    require_scores_responses,
)
from coala_jax.features import FeatureError
from coala_jax.features._responses import features_of_responses


class Explanation(NamedTuple):
    """The reward of one response, neuron by neuron.

    Attributes:
        reward: ``math.fsum(shares)``.
        neurons: (a,) columns of the head's ``theta1`` whose share is not 0; the number after the
            last one is the linear path.
        shares: (a,) float64, theirs, by falling size; of equal sizes the lower neuron first.
    """

    reward: float
    neurons: np.ndarray
    shares: np.ndarray


class Moved(NamedTuple):
    """A response that a neuron moves.

    Attributes:
        row: the response.
        share: of the neuron in its reward, in units of the reward.
    """

    row: ResponseRow
    share: float


class NeuronAccount(NamedTuple):
    """What a neuron does on some responses.

    Attributes:
        neuron: a column of the head's ``theta1``, or the number after the last: the linear path.
        theta2: its weight in the reward; every share has its sign or is 0 in a `ConvexHead`.
        active: on how many of them its share is not 0.
        mean_size: mean of |share| over all of them.
        raises: those on which its share is largest, falling; none whose share is not positive.
        lowers: those on which it is smallest, rising; none whose share is not negative.
    """

    neuron: int
    theta2: float
    active: int
    mean_size: float
    raises: tuple[Moved, ...]
    lowers: tuple[Moved, ...]


def neuron_shares(head: Head, features: np.ndarray) -> np.ndarray:
    """Shares of all neurons in rewards (COALA, eq 2), each an exact product.

    Args:
        head: with k neurons.
        features: (n, d) raw features.

    Returns:
        (n, k) float64; (n, k + 1) of a head with a linear path, whose shares are the last.

    Raises:
        FeatureError: a share that is not finite.
        ValueError: features of another width than the head's.

    Example:
        >>> import numpy as np
        >>> from coala_jax import ConvexHead
        >>> from coala_jax.decoding import neuron_shares
        >>> head = ConvexHead(np.eye(4), np.zeros(4), np.array([1.0, 1, -1, -1]), np.zeros(4))
        >>> neuron_shares(head, np.array([[1.0, -2, 3, 0]])).tolist()
        [[1.0, 0.0, -3.0, -0.0]]
    """
    terms = np.asarray(reward_terms(head, features), np.float64)
    shares: np.ndarray = terms * np.asarray(term_weights(head), np.float64)
    if not np.isfinite(shares).all():
        row, neuron = np.argwhere(~np.isfinite(shares))[0]
        raise FeatureError(
            f"shares: that of neuron {neuron} in row {row} is not finite; the head's weights "
            "overflow on these features"
        )
    return shares


def explain_shares(shares: np.ndarray) -> Explanation:
    """The explanation of a reward with these (k,) shares."""
    order = np.argsort(-np.abs(shares), kind="stable")
    active = order[shares[order] != 0]
    return Explanation(math.fsum(shares), active, shares[active])


class Explained(NamedTuple):
    """What `explain` found.

    Attributes:
        linear_path: the number that stands for the linear path; None of a head without one.
        explanations: of the wanted responses, with their rows, in the order of the rows.
        neurons: accounts of the neurons that have the largest shares in them.
        responses: how many responses the accounts are of.
    """

    linear_path: int | None
    explanations: tuple[tuple[ResponseRow, Explanation], ...]
    neurons: tuple[NeuronAccount, ...]
    responses: int


def explain(
    model: TextRewardModel,
    rows: Iterable[ResponseRow],
    ids: Sequence[str] = (),
    *,
    neurons: int = 5,
    examples: int = 3,
) -> Explained:
    """Explain some responses, and find those of all rows that move each neuron most.

    Args:
        model: of the rewards.
        rows: gone through once; `CHUNK_RESPONSES` are in memory at a time.
        ids: of the rows to explain; none means the first one.
        neurons: how many neurons get an account: those whose share in an explained response is
            largest in size.
        examples: how many responses an account names on either side; equal ones once.

    Returns:
        The explanations, and accounts of the neurons.

    Raises:
        HeadError: no `TextRewardModel`.
        FeatureError: as ``features_of_responses`` does; a share that is not finite.
        DataError: an id that no row has.
    """
    require_reward_model(model)
    require_scores_responses(model.scores)
    head = model.head
    explanations: list[tuple[ResponseRow, Explanation]] = []
    weights = np.asarray(term_weights(head))
    extremes = _Extremes(len(weights), examples)
    wanted, rows = set(ids), iter(rows)
    with Progress(None, "explain") as progress:
        while chunk := list(itertools.islice(rows, CHUNK_RESPONSES)):
            made = features_of_responses(chunk, model.backbone, model.settings, progress)
            shares = neuron_shares(head, made.features)
            extremes.add(chunk, shares)
            wanted = wanted or {chunk[0].id}
            explanations.extend(
                (row, explain_shares(each))
                for row, each in zip(chunk, shares, strict=True)
                if row.id in wanted
            )
    if lost := wanted - {row.id for row, _ in explanations}:
        raise DataError(
            f"no usable row has the id {sorted(lost)[0]!r}; give the id of one "
            "(line-<number> where rows have none)"
        )
    top = _top_neurons([each for _, each in explanations], neurons)
    return Explained(
        None if head.linear is None else len(weights) - 1,
        tuple(explanations),
        tuple(extremes.account(neuron, float(weights[neuron])) for neuron in top),
        extremes.rows,
    )


def _top_neurons(explanations: Iterable[Explanation], most: int) -> list[int]:
    """The neurons with the largest share in any of these explanations, by falling size."""
    size: dict[int, float] = {}
    for each in explanations:
        for neuron, share in zip(each.neurons.tolist(), np.abs(each.shares).tolist(), strict=True):
            size[neuron] = max(size.get(neuron, 0.0), share)
    return sorted(size, key=lambda neuron: (-size[neuron], neuron))[:most]


class _Extremes:
    """Of every neuron the responses with its largest and smallest shares, as rows pass by."""

    def __init__(self, neurons: int, examples: int) -> None:
        self.rows, self._examples = 0, examples
        self._active = np.zeros(neurons, np.int64)
        self._size = np.zeros(neurons)
        self._raises: list[list[Moved]] = [[] for _ in range(neurons)]
        self._lowers: list[list[Moved]] = [[] for _ in range(neurons)]

    def add(self, rows: Sequence[ResponseRow], shares: np.ndarray) -> None:
        """Take in (n, k) shares of n rows."""
        self.rows += len(rows)
        self._active += np.count_nonzero(shares, axis=0)
        self._size += np.abs(shares).sum(axis=0)
        for kept, signed in ((self._raises, shares), (self._lowers, -shares)):
            order = np.argsort(-signed, axis=0, kind="stable")
            moving = np.count_nonzero(signed > 0, axis=0)
            for neuron, best in enumerate(order.T):
                falling = (Moved(rows[n], float(shares[n, neuron])) for n in best[: moving[neuron]])
                kept[neuron] = self._largest(kept[neuron], falling)

    def _largest(self, kept: list[Moved], falling: Iterable[Moved]) -> list[Moved]:
        """The largest of both by size, each text once; what was kept comes first among equals."""
        texts: set[tuple[str, str]] = set()
        largest: list[Moved] = []
        for moved in heapq.merge(kept, falling, key=lambda moved: -abs(moved.share)):
            if len(largest) == self._examples:
                break
            text = (moved.row.prompt, moved.row.response)
            if text not in texts:
                texts.add(text)
                largest.append(moved)
        return largest

    def account(self, neuron: int, theta2: float) -> NeuronAccount:
        """What was seen of a neuron."""
        return NeuronAccount(
            neuron,
            theta2,
            int(self._active[neuron]),
            float(self._size[neuron] / max(self.rows, 1)),
            tuple(self._raises[neuron]),
            tuple(self._lowers[neuron]),
        )
