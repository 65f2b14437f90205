"""Differences of the features of pairs, as a design matrix that is made where it is used."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from coala_jax._group_inputs import map_arrays, max_arrays, sum_arrays
from coala_jax._inputs import PairArrays


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Differences:
    """(n, d) features of chosen less rejected responses over a scale, never there as a whole.

    Of compact pairs a block of them at a time is in the solver's dtype.

    Attributes:
        pairs: n pairs of d features.
        scale: (d,) that the columns are divided by.
    """

    pairs: PairArrays
    scale: jax.Array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return len(self.pairs.weight), self.pairs.width

    @property
    def dtype(self) -> jnp.dtype:
        """Of the solver."""
        return self.pairs.weight.dtype

    def __matmul__(self, weights: jax.Array) -> jax.Array:
        """Products with weights, which alone have derivatives: (d,) -> (n,)."""
        return _products(self, weights)

    def gram(self, weight: jax.Array) -> jax.Array:
        """Sum of outer products of the rows with (n,) weights: (d, d)."""

        def of_some(pairs: PairArrays, weight: jax.Array) -> jax.Array:
            rows = self._of(pairs)
            return (weight[:, None] * rows).T @ rows

        found: jax.Array = sum_arrays(of_some, self.pairs, weight)
        return found

    def _of(self, pairs: PairArrays) -> jax.Array:
        return (pairs.chosen - pairs.rejected) / self.scale


def unit_differences(pairs: PairArrays) -> Differences:
    """Differences with columns of unit root mean square, by the weights of the pairs.

    A column without any difference is divided by infinity.
    """
    weight = pairs.weight

    def ends(some: PairArrays) -> jax.Array:
        there = some.weight[:, None] > 0
        return jnp.max(jnp.where(there, jnp.abs(some.chosen - some.rejected), 0), axis=0)

    # In units of the largest difference no square overflows.
    largest = max_arrays(ends, pairs)
    unit = jnp.where(largest > 0, largest, 1)

    def squares(some: PairArrays) -> jax.Array:
        differences = (some.chosen - some.rejected) / unit
        return jnp.sum(some.weight[:, None] * differences**2, axis=0)

    scale = unit * jnp.sqrt(sum_arrays(squares, pairs) / len(weight))
    return Differences(pairs, jnp.where(scale > 0, scale, jnp.inf))


@jax.custom_vjp
def _products(design: Differences, weights: jax.Array) -> jax.Array:
    def of_some(some: Any) -> jax.Array:
        return design._of(some) @ weights

    return map_arrays(of_some, design.pairs)


def _products_forwards(design: Differences, weights: jax.Array) -> tuple[jax.Array, Differences]:
    return _products(design, weights), design


def _products_backwards(design: Differences, values: jax.Array) -> tuple[Any, jax.Array]:
    found = sum_arrays(lambda some, value: value @ design._of(some), design.pairs, values)
    return None, found


_products.defvjp(_products_forwards, _products_backwards)
