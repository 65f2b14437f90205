"""Sums whose rounding is bounded, so that a bound of program (3) is one in floating point too.

A sum of k terms in any order is off by at most gamma_k = k u / (1 - k u) times the sum of their
magnitudes, u the unit roundoff (Higham 2002, section 4.2). In plain order k is the number of terms,
and gamma_k is too large to be of use in float32; in chunks that are added pairwise it is the
length of a chunk plus a logarithm.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

_CHUNK = 32
# Roundings of a feature: of the difference from the centre, and of its quotient by the scale.
_ROUNDINGS_OF_A_FEATURE = 2
# Roundings of a term beside those of its sum: products, quotients, logarithms, the sum of
# magnitudes itself, and the few operations that make a bound of sums.
_ROUNDINGS_OF_A_TERM = 16


def gamma(rows: int, dtype: jnp.dtype) -> float:
    """Relative error of a sum by chunks of `rows` terms, to the sum of their magnitudes."""
    k = _CHUNK + _chunks(rows).bit_length() + _ROUNDINGS_OF_A_TERM
    return k * float(jnp.finfo(dtype).eps) / 2 * 1.001


def chunked_sum(terms: Callable[..., jax.Array], *columns: jax.Array) -> jax.Array:
    """A sum over rows, from a function that sums over some of them: scalar.

    Args:
        terms: (..., one array a column) -> scalar sum over their rows; rows of zeros add nothing.
        columns: (m,) arrays.
    """
    return _pairwise(jax.vmap(terms)(*(_by_chunks(column) for column in columns)))


def chunked_column_products(features: jax.Array, values: jax.Array) -> jax.Array:
    """X^T times every block, summed by chunks of rows: (m, D), (..., m) -> (..., D).

    The two sides of a pair, a half of the rows apart, are summed as a x + b y =
    (a + b)(x + y)/2 + (a - b)(x - y)/2: where they are nearly equal and pull against each other,
    nothing cancels that was not subtracted exactly.
    """
    flat = values.reshape(-1, values.shape[-1]).T
    sums = jnp.zeros((), features.dtype)
    for rows, value in zip(_by_sides(features, 0.5), _by_sides(flat), strict=True):
        chunks = jnp.moveaxis(_by_chunks(value), 2, 1)
        products = jnp.matmul(chunks, _by_chunks(rows), precision=jax.lax.Precision.HIGHEST)
        sums = sums + _pairwise(products)
    return sums.reshape(*values.shape[:-1], features.shape[1])


def column_products_error(features: jax.Array, values: jax.Array) -> jax.Array:
    """Bound of the norm of what `chunked_column_products` is off by, block by block.

    From the product with features that were standardised without rounding, by the triangle
    inequality over rows: (m, D), (..., m) -> (...).
    """
    of_sums = gamma(len(features), features.dtype)
    of_a_feature = _ROUNDINGS_OF_A_FEATURE * float(jnp.finfo(features.dtype).eps) / 2
    error = of_a_feature * _magnitude(features, values)
    for rows, value in zip(
        _by_sides(features, 0.5), _by_sides(jnp.moveaxis(values, -1, 0)), strict=True
    ):
        error = error + of_sums * _magnitude(rows, jnp.moveaxis(value, 0, -1))
    return error


def plain_products_error(features: jax.Array, values: jax.Array) -> jax.Array:
    """As `column_products_error`, where the sides of a pair are not combined."""
    return gamma(len(features), features.dtype) * _magnitude(features, values)


def _magnitude(features: jax.Array, values: jax.Array) -> jax.Array:
    """sum_j |values_j| ||x_j||: (m, D), (..., m) -> (...)."""
    return jnp.abs(values) @ jnp.linalg.norm(features, axis=1)


def _by_sides(rows: jax.Array, scale: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """Sums and differences of rows a half apart, times `scale`: (m, ...) -> two of (m/2, ...)."""
    if len(rows) % 2:
        rows = jnp.pad(rows, ((0, 1), *((0, 0),) * (rows.ndim - 1)))
    chosen, rejected = jnp.split(rows, 2)
    return scale * (chosen + rejected), scale * (chosen - rejected)


def _chunks(rows: int) -> int:
    return -(-rows // _CHUNK)


def _by_chunks(column: jax.Array) -> jax.Array:
    """(m, ...) -> (chunks, _CHUNK, ...), the last one filled with zeros."""
    chunks = _chunks(column.shape[0])
    missing = chunks * _CHUNK - column.shape[0]
    padded = jnp.pad(column, ((0, missing), *((0, 0),) * (column.ndim - 1)))
    return padded.reshape(chunks, _CHUNK, *column.shape[1:])


def _pairwise(values: jax.Array) -> jax.Array:
    """Sum over the first axis by halves: (k, ...) -> (...)."""
    while values.shape[0] > 1:
        half = values.shape[0] // 2
        rest = values[2 * half :]
        values = jnp.concatenate([values[:half] + values[half : 2 * half], rest])
    return values[0]
