"""What a problem compares, pairs or groups of answers, in float64 and with what it says of them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from adversary.losses import Array
from scipy.stats import rankdata


class Pairs(NamedTuple):
    """Preference pairs.

    Attributes:
        chosen, rejected: (n, d) raw features.
        weight: (n,) with mean 1.
        margin: (n,).
    """

    chosen: Array
    rejected: Array
    weight: Array
    margin: Array

    @property
    def rows(self) -> Array:
        """(2n, d), the two of a pair beside each other."""
        return _by_group(np.stack([self.chosen, self.rejected], axis=1))

    @property
    def row_weight(self) -> Array:
        """(2n,) weights of the rows."""
        return np.repeat(self.weight, 2)

    @property
    def steps(self) -> tuple[Array, Array]:
        """Chosen less rejected, (n, d), and weights, (n,), of sum 1."""
        return self.chosen - self.rejected, self.weight / self.weight.sum()


class Groups(NamedTuple):
    """Groups of up to k answers, or pairs under a loss of groups.

    Attributes:
        responses: (n, k, d) raw features; the first member's where one is missing.
        labels: (n, k) as the loss takes them.
        member: (n, k) booleans.
        weight: (n,) with mean 1, 0 of groups that say nothing.
        of_pairs: whether they are pairs, whose sides are copied apart.
    """

    responses: Array
    labels: Array
    member: Array
    weight: Array
    of_pairs: bool

    @property
    def rows(self) -> Array:
        """(n k, d), the members of the first group first."""
        return _by_group(self.responses)

    @property
    def row_weight(self) -> Array:
        """(n k,) weights of the rows."""
        return _by_group(self.weight[:, None] * self.member)

    @property
    def steps(self) -> tuple[Array, Array]:
        """Differences of two members of a group, (q, d), and weights, (q,), of sum 1.

        All pairs of a group together have its weight.
        """
        one, other = np.triu_indices(self.member.shape[1], 1)
        both = self.member[:, one] & self.member[:, other]
        share = self.weight / np.maximum(both.sum(axis=1), 1)
        steps = self.responses[:, one] - self.responses[:, other]
        return steps[both], (share[:, None] * both)[both] / self.weight.sum()


Answers: TypeAlias = Pairs | Groups


def answers_of(features: Any, config: Any, params: Any) -> Answers:
    """`PreferenceFeatures` or `GroupFeatures` as the loss of a configuration takes them.

    Args:
        features: with numpy leaves.
        config: `phase1_loss` and `advantage` are read.
        params: `temperature` is read.
    """
    of_pairs = hasattr(features, "chosen")
    if config.phase1_loss not in _LABELS:
        return _pairs_of(features)
    if of_pairs:
        responses = np.stack([_wide(side) for side in features[:2]], axis=1)
        scores = np.tile([1.0, 0.0], (len(responses), 1))
        member, temperature = np.ones(scores.shape, bool), 0.0
    else:
        responses = _wide(features.responses)
        given = features.mask
        member = np.ones(responses.shape[:2], bool) if given is None else np.asarray(given)
        known = features.scores if features.ranks is None else -_wide(features.ranks)
        scores, temperature = _wide(known), float(params.temperature)
        first = responses[np.arange(len(member)), member.argmax(axis=1)]
        first = np.where(member.any(axis=1)[:, None], first, 0)
        responses = np.where(member[:, :, None], responses, first[:, None])
    labels, says = np.zeros(scores.shape), np.zeros(len(scores), bool)
    for group, there in enumerate(member):
        own = scores[group, there]
        says[group] = len(np.unique(own)) > 1
        if says[group]:
            labels[group, there] = _LABELS[config.phase1_loss](own, config.advantage, temperature)
    weight = np.ones(len(says)) if features.weight is None else _wide(features.weight)
    weight = np.where(says, weight / weight.max(), 0)
    return Groups(responses, labels, member, weight / weight.mean(), of_pairs)


def raw_rows(features: Any) -> Array:
    """All responses in their own dtype, those to the first prompt first: (m, d)."""
    if hasattr(features, "chosen"):
        return _by_group(np.stack(features[:2], axis=1))
    return _by_group(np.asarray(features.responses))


def _by_group(values: Array) -> Array:
    groups, members = values.shape[:2]
    return values.reshape(groups * members, *values.shape[2:])


def _pairs_of(features: Any) -> Pairs:
    chosen, rejected = (_wide(side) for side in features[:2])
    weight, margin = (
        np.full(len(chosen), default) if given is None else _wide(given)
        for given, default in ((features.weight, 1.0), (features.margin, 0.0))
    )
    return Pairs(chosen, rejected, weight / weight.mean(), margin)


def _wide(values: Any) -> Array:
    return np.asarray(values).astype(np.float64)


def _behind(scores: Array, advantage: str, _: float = 0.0) -> Array:
    """Advantages of one group's members, (g,), less that of the best."""
    behind, members = scores - scores.max(), len(scores)
    if advantage == "rank":
        # From 1 of the best to -1 of the last, the mean of their places for those that tie.
        places = rankdata(-scores)
        return (places.min() - places) * 2 / (members - 1)
    if advantage == "leave_one_out":
        return behind * members / (members - 1)
    if advantage == "standardized":
        unit = abs(behind).max()
        return behind / unit / np.std(behind / unit, ddof=1)
    return behind


def _advantages(scores: Array, advantage: str, _: float = 0.0) -> Array:
    behind = _behind(scores, advantage)
    return behind - behind.mean()


def _target(scores: Array, advantage: str, temperature: float) -> Array:
    """softmax(A / temperature); at 0 all on the best, shared where they tie."""
    if temperature > 0:
        share = np.exp(_behind(scores, advantage) / temperature)
    else:
        share = 1.0 * (scores == scores.max())
    return share / share.sum()


def _levels(scores: Array, *_: Any) -> Array:
    """How many different scores are above each."""
    return np.searchsorted(-np.unique(scores)[::-1], -scores).astype(np.float64)


_LABELS = {"group_squared": _advantages, "listwise": _target, "plackett_luce": _levels}
