"""Families of pairs to catch the solver with: features, weights, margins and parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from coala_jax import Params


class Shape(NamedTuple):
    """Pairs, features and gates."""

    pairs: int
    width: int
    gates: int


class Draft(NamedTuple):
    """What a family makes: features in float64, and what differs from the defaults.

    `params.group_lasso` is a share of lambda_max; the float type is `dtype`, or that of the solver.
    """

    chosen: np.ndarray
    rejected: np.ndarray
    weight: np.ndarray | None = None
    margin: np.ndarray | None = None
    params: Params = Params()
    dtype: str | None = None
    valid: bool = True


def gaussian(rng: Generator, shape: Shape) -> Draft:
    """Both sides from a normal distribution; the chosen one may be ahead in every feature."""
    size = shape.pairs, shape.width
    shift = rng.choice([0.0, 0.3, 1.0])
    return Draft(rng.standard_normal(size) + shift, rng.standard_normal(size))


def _columns(rng: Generator, shape: Shape) -> np.ndarray:
    """Some of the columns, at least one."""
    chosen = rng.random(shape.width) < 0.5
    chosen[rng.integers(shape.width)] = True
    return chosen


def both(draft: Draft, change: Callable[[np.ndarray], np.ndarray]) -> Draft:
    """A change of both sides."""
    return draft._replace(chosen=change(draft.chosen), rejected=change(draft.rejected))


def _scaled(rng: Generator, shape: Shape) -> Draft:
    scale = 10 ** rng.uniform(-30, 30, shape.width)
    return both(gaussian(rng, shape), lambda side: side * scale)


def _offset(rng: Generator, shape: Shape) -> Draft:
    """Means of 1e2 to 1e8 deviations, beyond what the dtype can tell apart."""
    size = 10 ** rng.uniform(2, 8, shape.width) * rng.choice([-1, 1], shape.width)
    offset = np.where(_columns(rng, shape), size, 0)
    scale = 10 ** rng.uniform(-2, 2)
    return both(gaussian(rng, shape), lambda side: scale * (side + offset))


def _constant(rng: Generator, shape: Shape) -> Draft:
    value = rng.choice([-1, 1], shape.width) * 10 ** rng.uniform(-20, 20, shape.width)
    fixed = _columns(rng, shape)
    return both(gaussian(rng, shape), lambda side: np.where(fixed, value, side))


def _duplicate(rng: Generator, shape: Shape) -> Draft:
    source = rng.integers(max(1, shape.width // 2), size=shape.width)
    factor = rng.choice([1.0, -1.0, 2.0, 1e3], shape.width)
    return both(gaussian(rng, shape), lambda side: side[:, source] * factor)


def _heavy_tails(rng: Generator, shape: Shape) -> Draft:
    size = shape.pairs, shape.width
    freedom = rng.choice([0.5, 1.0, 2.0])
    return Draft(rng.standard_t(freedom, size) + 0.5, rng.standard_t(freedom, size))


def _one_hot(rng: Generator, shape: Shape) -> Draft:
    eye = np.eye(max(shape.width, 2))[:, : shape.width]
    sides = [eye[rng.integers(len(eye), size=shape.pairs)] for _ in range(2)]
    return Draft(*sides)


def _low_rank(rng: Generator, shape: Shape) -> Draft:
    rank = int(rng.integers(1, max(2, shape.width // 2 + 1)))
    mixing = rng.standard_normal((rank, shape.width))
    return both(gaussian(rng, shape._replace(width=rank)), lambda side: side @ mixing)


def _near_duplicate_rows(rng: Generator, shape: Shape) -> Draft:
    """A few rows, again and again, with noise of 1e-7 to 1e-2 or none."""
    kinds = int(rng.integers(1, 5))
    noise = rng.choice([0.0, 10 ** rng.uniform(-7, -2)])
    base = rng.standard_normal((2, kinds, shape.width))
    picked = rng.integers(kinds, size=shape.pairs)
    return Draft(*(base[:, picked] + noise * rng.standard_normal((2, shape.pairs, shape.width))))


def _nearly_equal(rng: Generator, shape: Shape) -> Draft:
    """Chosen as rejected, up to noise of 1e-7 to 1e-2."""
    noise = 10 ** rng.uniform(-7, -2)
    draft = gaussian(rng, shape)
    return draft._replace(rejected=draft.chosen + noise * rng.standard_normal(draft.chosen.shape))


def _equal(rng: Generator, shape: Shape) -> Draft:
    """All, or all but one or a few pairs, without any difference."""
    draft = gaussian(rng, shape)
    differ = rng.random(shape.pairs) < rng.choice([0.0, 0.1])
    return draft._replace(rejected=np.where(differ[:, None], draft.rejected, draft.chosen))


def _contradictory(rng: Generator, shape: Shape) -> Draft:
    """Half of the pairs, or all but a few, are others the other way round."""
    draft = gaussian(rng, shape)
    half = shape.pairs // 2
    order = np.r_[np.arange(half), np.arange(half), np.arange(shape.pairs - 2 * half)]
    swap = np.r_[np.zeros(half), np.ones(half), np.zeros(shape.pairs - 2 * half)]
    swap = np.where(rng.random(shape.pairs) < rng.choice([0.0, 0.1]), 1 - swap, swap) > 0
    chosen, rejected = draft.chosen[order], draft.rejected[order]
    return Draft(
        np.where(swap[:, None], rejected, chosen), np.where(swap[:, None], chosen, rejected)
    )


def _separable(rng: Generator, shape: Shape) -> Draft:
    draft = gaussian(rng, shape)
    return draft._replace(chosen=draft.chosen + 10 ** rng.uniform(0.5, 3))


def _weights(rng: Generator, shape: Shape) -> Draft:
    """Zeros, and ordinary ones from exponential to two orders apart."""
    weight = rng.exponential(size=shape.pairs) * 10 ** rng.uniform(-1, 1, shape.pairs)
    weight[rng.random(shape.pairs) < 0.3] = 0
    weight[rng.integers(shape.pairs)] = 1
    return gaussian(rng, shape)._replace(weight=weight)


def _wide_weights(rng: Generator, shape: Shape) -> Draft:
    """From 1e-30 to 1e30, or all of one extreme size."""
    spread = 10 ** rng.uniform(-30, 30, shape.pairs)
    same = rng.uniform(0.5, 1, shape.pairs) * rng.choice([1e-37, 1e-30, 1e30, 1e37, 3e38])
    return gaussian(rng, shape)._replace(weight=spread if rng.random() < 0.5 else same)


def _dominant_weight(rng: Generator, shape: Shape) -> Draft:
    weight = np.ones(shape.pairs)
    weight[rng.integers(shape.pairs)] = 10 ** rng.uniform(1, 8)
    return gaussian(rng, shape)._replace(weight=weight)


def _bad_weights(rng: Generator, shape: Shape) -> Draft:
    """Negative ones, logarithms, none above zero, no numbers: none may be taken."""
    positive = rng.uniform(0.1, 1, shape.pairs)
    one = np.where(np.arange(shape.pairs) == rng.integers(shape.pairs), 1.0, 0.0)
    kinds = (
        -positive,
        np.log(positive),
        0 * positive,
        positive - 2 * one,
        np.where(one, np.inf, positive),
    )
    kinds += (np.where(one, np.nan, positive), -1e37 * positive)
    return gaussian(rng, shape)._replace(weight=kinds[rng.integers(len(kinds))], valid=False)


def _bad_features(rng: Generator, shape: Shape) -> Draft:
    """One entry that is no number, or none that is finite."""
    draft = gaussian(rng, shape)
    place = rng.integers(shape.pairs), rng.integers(shape.width)
    side = draft[int(rng.integers(2))]
    side[place] = rng.choice([np.nan, np.inf, -np.inf])
    return draft._replace(valid=False)


def _margins(rng: Generator, shape: Shape) -> Draft:
    margin = rng.standard_normal(shape.pairs) * 10 ** rng.uniform(-1, 1.5)
    params = Params(gamma=float(rng.choice([0.0, rng.normal(), 5 * rng.normal()])))
    return gaussian(rng, shape)._replace(margin=margin, params=params)


def _small_losses(rng: Generator, shape: Shape) -> Draft:
    """Losses that are next to zero: at the start by their gamma, or once every row is fitted."""
    low = Params(gamma=-float(10 ** rng.uniform(0.5, 1.7)))
    weak = Params(group_lasso=float(10 ** rng.uniform(-7, -3)))
    return gaussian(rng, shape)._replace(params=low if rng.random() < 0.5 else weak)


def _second_phase(rng: Generator, shape: Shape) -> Draft:
    """Scales, ridges and steps of Phase II."""
    params = Params(
        beta=float(10 ** rng.uniform(-5, 2)),
        ridge=float(10 ** rng.uniform(-9, 1)),
        learning_rate=float(10 ** rng.uniform(-3, -0.5)),
    )
    return gaussian(rng, shape)._replace(params=params)


def _half(dtype: str) -> Callable[[Generator, Shape], Draft]:
    def family(rng: Generator, shape: Shape) -> Draft:
        """Means of up to 1e2 deviations in half precision."""
        offset = rng.choice([0, 1], shape.width) * 10 ** rng.uniform(0, 2, shape.width)
        scale = 10 ** rng.uniform(-2, 2)
        draft = both(gaussian(rng, shape), lambda side: scale * (side + offset))
        return draft._replace(dtype=dtype)

    return family


def _mixed(rng: Generator, shape: Shape) -> Draft:
    """Columns of one family with weights and margins of others."""
    columns = (_offset, _scaled, _heavy_tails, _low_rank, _duplicate, _constant, _contradictory)
    draft = columns[rng.integers(len(columns))](rng, shape)
    weights = (_weights, _dominant_weight, _margins)[rng.integers(3)](rng, shape)
    return draft._replace(weight=weights.weight, margin=weights.margin, params=weights.params)


FAMILIES: dict[str, Callable[[Generator, Shape], Draft]] = {
    "gaussian": gaussian,
    "scaled": _scaled,
    "offset": _offset,
    "constant": _constant,
    "duplicate": _duplicate,
    "heavy-tails": _heavy_tails,
    "one-hot": _one_hot,
    "low-rank": _low_rank,
    "near-duplicate-rows": _near_duplicate_rows,
    "nearly-equal": _nearly_equal,
    "equal": _equal,
    "contradictory": _contradictory,
    "separable": _separable,
    "weights": _weights,
    "wide-weights": _wide_weights,
    "dominant-weight": _dominant_weight,
    "bad-weights": _bad_weights,
    "bad-features": _bad_features,
    "margins": _margins,
    "second-phase": _second_phase,
    "float16": _half("float16"),
    "bfloat16": _half("bfloat16"),
    "mixed": _mixed,
    "small-losses": _small_losses,
}
