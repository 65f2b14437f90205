"""Reward differences of left-out pairs, from heads that have not seen their groups.

Every fold is the whole set with the weights of its left-out pairs at zero: `solve` then takes them
for no part of the data, and all folds have one shape, and one compiled program. Where the features
are groups the pairs are those of their members.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._group_inputs import Arrays, fitted_arrays
from coala_jax._head import term_weights
from coala_jax._inputs import PairArrays
from coala_jax._relative_weights import over_their_mean
from coala_jax._types import Config, Params
from coala_jax.convex._coarse import (
    CoarsePath,
    coarse_advance,
    coarse_begin,
    coarse_head,
    linear_probes,
)
from coala_jax.preference._newton import newton_optimum
from coala_jax.preference._objective import preference_problem
from coala_jax.preference._terms import balanced_terms, term_differences
from coala_jax.selection._judged_pairs import judged_pairs

_NEWTON_TOLERANCE = 1e-5

# One a fold.
Paths: TypeAlias = list[CoarsePath]


class LeftOut:
    """Folds of pairs, and what heads of the others say of each.

    Args:
        arrays: prepared pairs, or groups.
        fold: (n,) number of each one's fold, from 0.
        params: of every solve.
        config: of every solve.
        key: of the gates.
    """

    def __init__(
        self, arrays: Arrays, fold: np.ndarray, params: Params, config: Config, key: jax.Array
    ) -> None:
        self._params, self._config, self._key = params, config, key
        self._judged = judged_pairs(arrays)
        tests = [fold == number for number in range(fold.max() + 1)]
        self._folds = [_without(arrays, test) for test in tests]
        self._tests = [test[self._judged.row] for test in tests]

    @property
    def folds(self) -> int:
        """Number of folds."""
        return len(self._folds)

    def linear(self, ridges: Sequence[float]) -> np.ndarray:
        """Of the linear path alone at every ridge, high to low: (r, p)."""
        values = jnp.asarray(ridges, self._folds[0].weight.dtype)

        def one(arrays: Arrays) -> np.ndarray:
            weights = linear_probes(self._params, arrays, values, self._config)
            if isinstance(arrays, PairArrays):
                return np.asarray(weights @ (arrays.chosen - arrays.rejected).T)
            return np.asarray(jnp.einsum("rd,nkd->rnk", weights, arrays.responses))

        with jax.default_matmul_precision("highest"):
            return self._joined([one(arrays) for arrays in self._folds])

    def network(
        self,
        start: Paths | None,
        group_lasso: float,
        linear_ridge: float | None,
        ridges: Sequence[float],
    ) -> tuple[Paths, np.ndarray]:
        """Of the network at a strength, after Phase I and after Phase II.

        Args:
            start: what another call gave, at a strength near to this one; None for the first.
            group_lasso: as `Params` has it.
            linear_ridge: the same in every call; None without a linear path.
            ridges: values of `Params.ridge` for Phase II, of the objective that the config has.

        Returns:
            Where the folds have come to, and their margins (1 + r, p).
        """
        params = self._params._replace(group_lasso=jnp.asarray(group_lasso, float))
        if linear_ridge is not None:
            params = params._replace(linear_ridge=jnp.asarray(linear_ridge, float))
        values = jnp.asarray(ridges, float)
        with jax.default_matmul_precision("highest"):
            paths = start or [
                coarse_begin(params, arrays, self._key, self._config) for arrays in self._folds
            ]
            paths = [coarse_advance(params, path, self._config) for path in paths]
            found = [
                np.asarray(_margins(params, path, arrays, values, self._config))
                for path, arrays in zip(paths, self._folds, strict=True)
            ]
        return paths, self._joined(found)

    def _joined(self, rewards: Sequence[np.ndarray]) -> np.ndarray:
        """Of every pair the margins by the fold that left it out: f times (c, n, ...) -> (c, p)."""
        margins = [self._judged.margins(each) for each in rewards]
        joined = np.zeros_like(margins[0])
        for test, found in zip(self._tests, margins, strict=True):
            joined[:, test] = found[:, test]
        return joined


def _without(arrays: Arrays, test: np.ndarray) -> Arrays:
    weight = jnp.where(jnp.asarray(test), 0, arrays.weight)
    return dataclasses.replace(arrays, weight=over_their_mean(weight, weight.dtype))


@functools.partial(jax.jit, static_argnames="config")
def _margins(
    params: Params, path: CoarsePath, arrays: Arrays, ridges: jax.Array, config: Config
) -> jax.Array:
    """Reward differences of pairs, (1 + r, n), or what members have beyond their mean."""
    head, fitted = coarse_head(path), fitted_arrays(config, arrays)
    first = term_differences(head, arrays) @ term_weights(head)
    balanced, start = balanced_terms(head, fitted)
    problem = preference_problem(config, balanced, arrays, params)
    terms = term_differences(balanced, arrays)

    def second(ridge: jax.Array) -> jax.Array:
        here = params._replace(ridge=ridge)
        return terms @ newton_optimum(here, problem, _NEWTON_TOLERANCE, start).theta2

    return jnp.concatenate([first[None], jax.lax.map(second, ridges)])
