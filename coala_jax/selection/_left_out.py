"""Reward differences of left-out pairs, from heads that have not seen their groups.

Every fold is the whole set with the weights of its left-out pairs at zero: `solve` then takes them
for no part of the data, and all folds have one shape, and one compiled program. Where the features
are groups the pairs are those of their members. Features of which several devices have a copy have
folds on all of these at a time.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import sequential_vmap
from jax.sharding import Mesh

from coala_jax._group_inputs import Arrays, fitted_arrays, map_arrays
from coala_jax._head import term_weights
from coala_jax._inputs import PairArrays
from coala_jax._relative_weights import over_their_mean
from coala_jax._row_mesh import copies_mesh_of, on_host
from coala_jax._sharded_vmap import sharded_vmap
from coala_jax._types import Config, Params
from coala_jax.convex._coarse import (
    CoarsePath,
    coarse_advance,
    coarse_begin,
    coarse_head,
    linear_probes,
)
from coala_jax.preference._newton import newton_optimum
from coala_jax.preference._objective import problem_of
from coala_jax.preference._terms import balanced_terms, term_differences
from coala_jax.selection._judged_pairs import judged_pairs

_NEWTON_TOLERANCE = 1e-5

# One a fold: a list, or one pytree of arrays whose first axis lies over devices.
ByFold: TypeAlias = Any
Paths: TypeAlias = ByFold


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
        self._arrays, self._params, self._config, self._key = arrays, params, config, key
        self._judged = judged_pairs(arrays)
        self._devices = copies_mesh_of(arrays.responses_by_side[0])
        tests = [fold == number for number in range(fold.max() + 1)]
        self._tests = [test[self._judged.row] for test in tests]
        self._weights: ByFold = [_without(arrays, test) for test in tests]
        if self._devices is not None:
            idle = -len(tests) % self._devices.size
            self._weights = jnp.stack([*self._weights, *self._weights[-1:] * idle])

    @property
    def folds(self) -> int:
        """Number of folds."""
        return len(self._tests)

    def linear(self, ridges: Sequence[float]) -> np.ndarray:
        """Of the linear path alone at every ridge, high to low: (r, p)."""
        values = jnp.asarray(ridges, self._arrays.weight.dtype)
        with jax.default_matmul_precision("highest"):
            return self._joined(self._by_fold(_linear_margins, (), self._params, values))

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
            if start is None:
                start = self._by_fold(_begin, (), params, self._key)
            paths = self._by_fold(_advance, (start,), params)
            return paths, self._joined(self._by_fold(_margins, (paths,), params, values))

    def _by_fold(
        self, function: Callable[..., Any], paths: tuple[Paths, ...], *shared: Any
    ) -> ByFold:
        """A function of each fold's arrays and path, and of what all folds share."""
        if self._devices is None:
            return [
                function(self._config, self._arrays, *each, *shared)
                for each in zip(self._weights, *paths, strict=True)
            ]
        run = _over_devices(function, self._config, self._devices, len(paths), len(shared))
        return run(self._arrays, self._weights, *paths, *shared)

    def _joined(self, rewards: ByFold) -> np.ndarray:
        """Of every pair the margins by the fold that left it out: f times (c, n, ...) -> (c, p)."""
        found = map(on_host, rewards) if self._devices is None else on_host(rewards)[: self.folds]
        margins = [self._judged.margins(each) for each in found]
        joined = np.zeros_like(margins[0])
        for test, found in zip(self._tests, margins, strict=True):
            joined[:, test] = found[:, test]
        return joined


def _without(arrays: Arrays, test: np.ndarray) -> jax.Array:
    """(n,) weights of mean 1, those of a fold 0."""
    weight = jnp.where(test, 0, arrays.weight)
    return over_their_mean(weight, weight.dtype)


@functools.cache
def _over_devices(
    function: Callable[..., Any], config: Config, mesh: Mesh, paths: int, shared: int
) -> Callable[..., ByFold]:
    """A function of folds, each of which has a device, or its turn on one."""
    one = sequential_vmap(functools.partial(function, config))
    return sharded_vmap(one, (None, *(1 + paths) * (0,), *shared * (None,)), mesh=mesh)


def _linear_margins(
    config: Config, arrays: Arrays, weight: jax.Array, params: Params, ridges: jax.Array
) -> jax.Array:
    """Reward differences of pairs, (r, n), or rewards of members, (r, n, k)."""
    weights = linear_probes(params, dataclasses.replace(arrays, weight=weight), ridges, config)

    def margins(arrays: Arrays) -> jax.Array:
        if isinstance(arrays, PairArrays):
            return (arrays.chosen - arrays.rejected) @ weights.T
        return jnp.einsum("rd,nkd->nkr", weights, arrays.responses)

    return jnp.moveaxis(map_arrays(margins, arrays), -1, 0)


def _begin(
    config: Config, arrays: Arrays, weight: jax.Array, params: Params, key: jax.Array
) -> CoarsePath:
    return coarse_begin(params, dataclasses.replace(arrays, weight=weight), key, config)


def _advance(
    config: Config, arrays: Arrays, weight: jax.Array, path: CoarsePath, params: Params
) -> CoarsePath:
    return coarse_advance(params, path, config)


@functools.partial(jax.jit, static_argnames="config")
def _margins(
    config: Config,
    arrays: Arrays,
    weight: jax.Array,
    path: CoarsePath,
    params: Params,
    ridges: jax.Array,
) -> jax.Array:
    """Reward differences of pairs, (1 + r, n), or what members have beyond their mean."""
    arrays = dataclasses.replace(arrays, weight=weight)
    head, fitted = coarse_head(path), fitted_arrays(config, arrays)
    first = term_differences(head, arrays) @ term_weights(head)
    balanced, start = balanced_terms(head, fitted)
    problem = problem_of(params, balanced, arrays, config)
    terms = term_differences(balanced, arrays)

    def second(ridge: jax.Array) -> jax.Array:
        here = params._replace(ridge=ridge)
        return terms @ newton_optimum(here, problem, _NEWTON_TOLERANCE, start).theta2

    return jnp.concatenate([first[None], jax.lax.map(second, ridges)])
