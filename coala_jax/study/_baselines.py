"""What a reward head has to beat: a linear pairwise probe, and the length of the response."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from coala_jax._accuracy import TIE, margin_accuracy, pairwise_accuracy
from coala_jax._errors import CoalaError
from coala_jax._folds import fold_parts
from coala_jax._group_inputs import map_arrays
from coala_jax._inputs import PairArrays
from coala_jax._row_mesh import on_host
from coala_jax._types import Params
from coala_jax.preference import LogisticProblem, newton_optimum
from coala_jax.preference._differences import unit_differences
from coala_jax.study._on_devices import OnDevices
from coala_jax.study._pair_set import PairSet

# Ridge on the mean loss; scikit-learn's C is 1 / (n ridge). From a fit that hardly feels it to one
# that is the mean difference in all but scale, half a decade a step.
RIDGE_GRID = tuple(float(10.0**exponent) for exponent in np.arange(-4.0, 1.5, 0.5))
# Near the rounding of a float32 gradient of some thousand rows; Newton's last step jumps below.
GRADIENT_TOLERANCE = 1e-5


class LinearProbe(NamedTuple):
    """A linear reward on raw features.

    Attributes:
        weights: (d,) reward of a response is its features times these.
        ridge: the strength that cross-validation chose.
        validation: accuracy on left-out training rows for every strength of `RIDGE_GRID`.
    """

    weights: np.ndarray
    ridge: float
    validation: tuple[float, ...]

    def correct(self, pairs: PairSet, rows: OnDevices | None = None) -> np.ndarray:
        """(n,) 1 where the chosen response has the higher reward, 0.5 for a tie, else 0.

        Args:
            pairs: the pairs.
            rows: their features where they are worked on; None for those of the pairs.
        """
        rows = OnDevices(pairs.as_pairs()) if rows is None else rows
        return pairwise_accuracy(*rows.of_sides(_rewards, self.weights))


class LengthRule(NamedTuple):
    """Prefer the longer response, or the shorter one: what holds on the training rows."""

    longer: bool

    def correct(self, pairs: PairSet) -> np.ndarray:
        """(n,) 1 where the rule picks the chosen response, 0.5 for a tie, else 0.

        Raises:
            CoalaError: pairs without text.
        """
        if pairs.lengths is None:
            raise CoalaError(f"{pairs.source}: no text, so no lengths")
        chosen, rejected = pairs.lengths.T
        right = pairwise_accuracy(chosen, rejected)
        return right if self.longer else 1 - right


def weighted_mean(values: np.ndarray, weight: np.ndarray | None) -> float:
    """Mean of (n,) values, by (n,) weights where there are any."""
    return float(np.average(values, weights=None if weight is None else np.float64(weight)))


def fit_length_rule(train: PairSet) -> LengthRule | None:
    """The direction that is right more often on the training rows; None without text."""
    if train.lengths is None:
        return None
    right = LengthRule(longer=True).correct(train)
    return LengthRule(longer=weighted_mean(right, train.weight) >= TIE)


def fit_linear_probe(
    train: PairSet, seed: int, rows: OnDevices | None = None
) -> LinearProbe | None:
    """Ridge logistic regression on standardised feature differences, without intercept.

    The strength is the one of `RIDGE_GRID` with the best accuracy on left-out training rows, folds
    by key; the stronger one of a tie.

    Args:
        train: training pairs; their weights count, margins do not.
        seed: of the folds.
        rows: their features where they are worked on; None for those of the pairs.

    Returns:
        The probe; None where the rows have a single key, so that nothing can be left out.
    """
    parts = fold_parts(train.keys, seed)
    if not parts:
        return None
    rows = OnDevices(train.as_pairs()) if rows is None else rows
    arrays = rows.pairs()
    weight = np.ones(len(train.keys), np.float32) if train.weight is None else train.weight
    correct = np.zeros((len(RIDGE_GRID), len(weight)))
    for part in parts:
        if not weight[part.train].any():
            continue
        thetas = _fit(arrays, rows.to_places(weight * part.train), RIDGE_GRID)
        margins = rows.of_rows(_margins(arrays, thetas))[part.test].T
        correct[:, part.test] = margin_accuracy(margins)
    validation = [weighted_mean(row, weight) for row in correct]
    best = max(range(len(RIDGE_GRID)), key=lambda index: (validation[index], index))
    (theta,) = _fit(arrays, rows.to_places(weight), RIDGE_GRID[best : best + 1])
    return LinearProbe(theta, RIDGE_GRID[best], tuple(validation))


def _rewards(weights: jax.Array, features: jax.Array) -> jax.Array:
    """Rewards of features, in their full precision on devices too (a GPU's default is TF32)."""
    return jnp.matmul(features, weights, precision=lax.Precision.HIGHEST)


@jax.jit
def _margins(pairs: PairArrays, weights: np.ndarray) -> jax.Array:
    """Reward differences of pairs by (r, d) weights: (n, r)."""
    columns = jnp.asarray(weights).T

    def of_some(some: Any) -> jax.Array:
        return _rewards(columns, some.chosen - some.rejected)

    return map_arrays(of_some, pairs)


def _fit(pairs: PairArrays, weight: np.ndarray, ridges: Sequence[float]) -> np.ndarray:
    """(r, d) weights on raw features; rows of weight 0 do not count, for the scale neither.

    Args:
        pairs: n pairs; their own weights do not count.
        weight: (n,) weights of the pairs.
        ridges: r strengths in rising order.
    """
    dtype = pairs.weight.dtype
    # In float64 the sum of weights does not overflow.
    weight = weight.astype(np.float64)
    weight = (weight / weight.mean()).astype(dtype)
    return on_host(_optima(pairs, weight, np.asarray(ridges, dtype)))


@jax.jit
def _optima(pairs: PairArrays, weight: np.ndarray, ridges: np.ndarray) -> jax.Array:
    """`_fit`, each optimum found from that of the next stronger one; weights have mean 1."""
    weights = jnp.asarray(weight)
    # A column without any difference decides nothing: its weight stays 0.
    design = unit_differences(dataclasses.replace(pairs, weight=weights))
    problem = LogisticProblem(design, jnp.zeros_like(weights), weights)

    def weaker(theta: jax.Array, ridge: Any) -> tuple[jax.Array, jax.Array]:
        found = newton_optimum(Params(ridge=ridge), problem, GRADIENT_TOLERANCE, theta).theta2
        return found, found

    with jax.default_matmul_precision("highest"):
        zero = jnp.zeros_like(design.scale)
        thetas: jax.Array = lax.scan(weaker, zero, ridges, reverse=True)[1]
    return thetas / design.scale
