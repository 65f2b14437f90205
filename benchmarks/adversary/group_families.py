"""Families of groups to catch the solver with: features, scores, members, weights, temperatures."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from adversary.pair_families import FAMILIES as PAIR_FAMILIES
from adversary.pair_families import Shape
from numpy.random import Generator

from coala_jax import Params


class GroupShape(NamedTuple):
    """Groups, their members, features and gates."""

    groups: int
    members: int
    width: int
    gates: int


class Draft(NamedTuple):
    """What a family makes, in float64, and what differs from the defaults.

    `params.group_lasso` is a share of lambda_max; the type of features is `dtype`, that of scores
    `score_dtype`, or that of the solver.
    """

    responses: np.ndarray
    scores: np.ndarray
    mask: np.ndarray | None = None
    weight: np.ndarray | None = None
    params: Params = Params()
    dtype: str | None = None
    score_dtype: str | None = None
    are_ranks: bool = False
    are_pairs: bool = False
    valid: bool = True


Family = Callable[[Generator, GroupShape], Draft]


def _gaussian(rng: Generator, shape: GroupShape) -> Draft:
    """Scores that a piecewise linear reward of the features explains, or none, or in part."""
    groups, members, width, _ = shape
    responses = rng.standard_normal((groups, members, width))
    scores = _scores_of(rng, responses)
    return Draft(responses, scores)


def _scores_of(rng: Generator, responses: np.ndarray) -> np.ndarray:
    share = rng.choice([0.0, 0.3, 0.9, 1.0])
    reward = abs(responses[..., 0]) + 1.5 * responses[..., -1]
    return share * reward + (1 - share) * rng.standard_normal(reward.shape)


def _of_pair_features(name: str) -> Family:
    def family(rng: Generator, shape: GroupShape) -> Draft:
        """Features of a family of pairs, half of them of either side."""
        groups, members, width, gates = shape
        draft = PAIR_FAMILIES[name](rng, Shape(groups * members, width, gates))
        sides = [side.reshape(groups, members, width) for side in draft[:2]]
        first = np.arange(members) < (members + 1) // 2
        responses = np.where(first[:, None], *sides)
        plain = _gaussian(rng, shape)
        # By the side, or by a reward of other features.
        scores = plain.scores + rng.choice([0.0, 2.0]) * first
        return plain._replace(responses=responses, scores=scores, dtype=draft.dtype)

    return family


def _weights_of(name: str) -> Family:
    def family(rng: Generator, shape: GroupShape) -> Draft:
        """Weights of a family of pairs."""
        draft = PAIR_FAMILIES[name](rng, Shape(shape.groups, shape.width, shape.gates))
        return _gaussian(rng, shape)._replace(weight=draft.weight, valid=draft.valid)

    return family


def _ties(rng: Generator, shape: GroupShape) -> Draft:
    """A few different scores, integers among them."""
    draft = _gaussian(rng, shape)
    levels = int(rng.integers(2, 5))
    scores = np.clip(np.round(draft.scores * rng.choice([0.3, 1.0])), 0, levels - 1)
    scores[0] = np.arange(shape.members) % 2
    return draft._replace(scores=scores, score_dtype=str(rng.choice(["float32", "int32", "uint8"])))


def _nothing(rng: Generator, shape: GroupShape) -> Draft:
    """Most groups, or all but one, without two different scores."""
    draft = _gaussian(rng, shape)
    says = rng.random(shape.groups) < rng.choice([0.0, 0.3])
    says[rng.integers(shape.groups)] = True
    return draft._replace(scores=np.where(says[:, None], draft.scores, draft.scores[:, :1]))


def _near_ties(rng: Generator, shape: GroupShape) -> Draft:
    """Scores that differ by 1e-12 to 1e-3 of their offset, which float32 may not tell apart."""
    draft = _gaussian(rng, shape)
    apart = 10 ** rng.uniform(-12, -3)
    scores = rng.choice([0.0, 1.0, -5.0], size=draft.scores.shape) + apart * draft.scores
    scores[0, :2] = 0, 1
    tau = float(rng.choice([0.0, 1.0, apart, 0.1 * apart]))
    params = Params(temperature=tau)
    return draft._replace(scores=scores, score_dtype="float64", params=params)


def _scaled_scores(rng: Generator, shape: GroupShape) -> Draft:
    """Of 1e-12 to 1e12, with an offset; temperatures beside them."""
    draft = _gaussian(rng, shape)
    scale, offset = 10 ** rng.uniform(-12, 12), rng.choice([0.0, 1.0, 1e3])
    params = Params(temperature=float(rng.choice([0.0, 1.0, scale, 0.1 * scale])))
    scores = scale * (draft.scores + offset)
    return draft._replace(scores=scores, params=params, score_dtype="float64")


def _outlying_scores(rng: Generator, shape: GroupShape) -> Draft:
    """One member of some groups is behind, or ahead, by 1e2 to 1e8 times the others' spread."""
    draft = _gaussian(rng, shape)
    far = rng.choice([-1, 1]) * 10 ** rng.uniform(2, 8)
    out = (rng.random((shape.groups, 1)) < 0.5) & (np.arange(shape.members) == 0)
    params = Params(temperature=float(10 ** rng.uniform(-2, 1)))
    return draft._replace(scores=np.where(out, far, draft.scores), params=params)


def _temperature(rng: Generator, shape: GroupShape) -> Draft:
    """Next to none to so high that targets are next to uniform."""
    tau = rng.choice([0.0, 1e-8, 10 ** rng.uniform(-8, 8), 10 ** rng.uniform(-1, 4)])
    return _gaussian(rng, shape)._replace(params=Params(temperature=float(tau)))


def _weak(rng: Generator, shape: GroupShape) -> Draft:
    """Targets near to uniform, or features that hardly tell members apart."""
    draft = _gaussian(rng, shape)
    if rng.random() < 0.5:
        return draft._replace(params=Params(temperature=float(10 ** rng.uniform(1, 3.5))))
    noise = 10 ** rng.uniform(-5, -1)
    return draft._replace(responses=draft.responses[:, :1] + noise * draft.responses)


def _masked(rng: Generator, shape: GroupShape) -> Draft:
    """Members that are missing, which may hold anything; groups of one and of none."""
    draft = _gaussian(rng, shape)
    mask = rng.random(draft.scores.shape) < rng.choice([0.3, 0.6, 0.9])
    mask[rng.integers(shape.groups), :2] = True
    filling = rng.choice([np.nan, np.inf, 1e30, 0.0])
    scores = np.where(mask, draft.scores, rng.choice([np.nan, -np.inf, 1e9]))
    responses = np.where(mask[..., None], draft.responses, filling)
    return draft._replace(responses=responses, scores=scores, mask=mask)


def _ranks(rng: Generator, shape: GroupShape) -> Draft:
    """Of all, of the first few with a tie behind them, or as fractions."""
    draft = _gaussian(rng, shape)
    order = np.argsort(np.argsort(-draft.scores, axis=1), axis=1) + 1
    kinds = (order, np.minimum(order, 2), np.minimum(order, 3), order / 3)
    dtype = rng.choice(["int32", "int64", "uint8", "float32"])
    kind = int(rng.integers(4))
    return draft._replace(
        scores=kinds[kind], are_ranks=True, score_dtype="float32" if kind == 3 else str(dtype)
    )


def _equal_members(rng: Generator, shape: GroupShape) -> Draft:
    """Members that are others again, or nearly, whatever their scores."""
    draft = _gaussian(rng, shape)
    picked = rng.integers(max(1, shape.members // 2), size=draft.scores.shape)
    responses = np.take_along_axis(draft.responses, picked[..., None], axis=1)
    noise = rng.choice([0.0, 10 ** rng.uniform(-7, -2)])
    return draft._replace(responses=responses + noise * draft.responses)


def _contradictory(rng: Generator, shape: GroupShape) -> Draft:
    """Half of the groups are the others with scores the other way round."""
    draft = _gaussian(rng, shape)
    half = shape.groups // 2
    responses, scores = (array[np.arange(shape.groups) % half] for array in draft[:2])
    turn = np.where(np.arange(shape.groups) < half, 1, -1)
    turn = turn * np.where(rng.random(shape.groups) < rng.choice([0.0, 0.1]), -1, 1)
    return draft._replace(responses=responses, scores=scores * turn[:, None])


def _separable(rng: Generator, shape: GroupShape) -> Draft:
    """A feature orders all members, by a wide margin."""
    draft = _gaussian(rng, shape)
    scores = rng.standard_normal(draft.scores.shape)
    responses = draft.responses.copy()
    responses[..., 0] = 10 ** rng.uniform(0, 3) * scores
    params = Params(temperature=float(rng.choice([0.0, 0.1, 1.0])))
    return draft._replace(responses=responses, scores=scores, params=params)


def _critical(rng: Generator, shape: GroupShape) -> Draft:
    """Strengths at which the network is about to vanish."""
    strength = rng.choice([rng.uniform(0.97, 1.03), 0.999, 1 - 1e-6, 1.0])
    tau = float(rng.choice([0.0, 1.0, 100.0]))
    return _gaussian(rng, shape)._replace(
        params=Params(group_lasso=float(strength), temperature=tau)
    )


def _faint_weights(rng: Generator, shape: GroupShape) -> Draft:
    """0, 1e-20 or 1 each."""
    draft = _gaussian(rng, shape)
    weight = rng.choice([0.0, 1e-20, 1.0], size=shape.groups)
    weight[rng.integers(shape.groups)] = 1
    return draft._replace(weight=weight)


def _small_losses(rng: Generator, shape: GroupShape) -> Draft:
    """Losses next to zero, once every group is fitted."""
    strength = float(10 ** rng.uniform(-7, -3))
    params = Params(group_lasso=strength, temperature=float(rng.choice([0.0, 1.0])))
    return _gaussian(rng, shape)._replace(params=params)


def _bad(rng: Generator, shape: GroupShape) -> Draft:
    """A feature or a score of a member that is no number."""
    draft = _gaussian(rng, shape)
    place = rng.integers(shape.groups), rng.integers(shape.members)
    if rng.random() < 0.5:
        draft.responses[place][rng.integers(shape.width)] = rng.choice([np.nan, np.inf])
    else:
        draft.scores[place] = rng.choice([np.nan, np.inf, -np.inf])
    return draft._replace(valid=False)


def _pairs(rng: Generator, shape: GroupShape) -> Draft:
    """Preference pairs under a loss of groups."""
    return _gaussian(rng, shape)._replace(are_pairs=True)


def _second_phase(rng: Generator, shape: GroupShape) -> Draft:
    params = PAIR_FAMILIES["second-phase"](rng, Shape(2, 1, 1)).params
    return _gaussian(rng, shape)._replace(params=params)


def _mixed(rng: Generator, shape: GroupShape) -> Draft:
    """Features of one family with scores, members and weights of others."""
    features = ("group-offset", "group-scaled", "group-low-rank", "group-equal-members")
    scores = ("group-ties", "group-near-ties", "group-outlying-scores", "group-temperature")
    weights = ("group-weights", "group-wide-weights", "group-faint-weights")
    picked = FAMILIES[features[rng.integers(len(features))]](rng, shape)
    other = FAMILIES[scores[rng.integers(len(scores))]](rng, shape)
    weight = FAMILIES[weights[rng.integers(len(weights))]](rng, shape).weight
    mask = rng.random(other.scores.shape) < 0.8
    # Some group that has weight says something.
    mask[:, :2] = True
    scores_ = other.scores.copy()
    scores_[int(np.argmax(weight)), :2] = 0, 1
    responses = np.where(mask[..., None], picked.responses, np.nan)
    return other._replace(responses=responses, scores=scores_, mask=mask, weight=weight)


FAMILIES: dict[str, Family] = {
    "group-gaussian": _gaussian,
    **{
        f"group-{name}": _of_pair_features(name)
        for name in (
            "scaled",
            "offset",
            "constant",
            "duplicate",
            "heavy-tails",
            "one-hot",
            "low-rank",
            "near-duplicate-rows",
            "nearly-equal",
            "float16",
            "bfloat16",
        )
    },
    **{
        f"group-{name}": _weights_of(name)
        for name in ("weights", "wide-weights", "dominant-weight", "bad-weights")
    },
    "group-faint-weights": _faint_weights,
    "group-ties": _ties,
    "group-nothing": _nothing,
    "group-near-ties": _near_ties,
    "group-scaled-scores": _scaled_scores,
    "group-outlying-scores": _outlying_scores,
    "group-temperature": _temperature,
    "group-weak": _weak,
    "group-masked": _masked,
    "group-ranks": _ranks,
    "group-equal-members": _equal_members,
    "group-contradictory": _contradictory,
    "group-separable": _separable,
    "group-critical": _critical,
    "group-small-losses": _small_losses,
    "group-bad": _bad,
    "group-pairs": _pairs,
    "group-second-phase": _second_phase,
    "group-mixed": _mixed,
}
