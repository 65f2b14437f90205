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
    """X^T times every block, summed by chunks of rows: (m, D), (..., m) -> (..., D)."""
    rows = _by_chunks(features)
    flat = jnp.moveaxis(_by_chunks(values.reshape(-1, values.shape[-1]).T), 2, 1)
    sums = _pairwise(jnp.matmul(flat, rows, precision=jax.lax.Precision.HIGHEST))
    return sums.reshape(*values.shape[:-1], features.shape[1])


def column_products_error(features: jax.Array, values: jax.Array) -> jax.Array:
    """Bound of the norm of what `chunked_column_products` is off by, block by block.

    By the triangle inequality over rows: (m, D), (..., m) -> (...).
    """
    return gamma(len(features), features.dtype) * (
        jnp.abs(values) @ jnp.linalg.norm(features, axis=1)
    )


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
