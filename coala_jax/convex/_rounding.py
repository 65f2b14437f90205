"""Sums whose rounding is bounded, so that a bound of program (3) is one in floating point too.

A sum of k terms in any order is off by at most gamma_k = k u / (1 - k u) times the sum of their
magnitudes, u the unit roundoff (Higham 2002, section 4.2). In plain order k is the number of terms,
and gamma_k is too large to be of use in float32; in chunks that are added pairwise it is the
length of a chunk plus a logarithm. Products whose sum cancels are split besides, so that most of it
is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._roundoff import relative_error
from coala_jax.convex._program import sides
from coala_jax.convex._rows import CompactRows, Rows, block_count, row_lengths, sum_over_rows

_CHUNK = 32
# Roundings of a feature: of the difference from the centre, and of its quotient by the scale.
_ROUNDINGS_OF_A_FEATURE = 2
# Roundings of a product of two sums, or differences, of the sides of a pair.
_ROUNDINGS_OF_SIDES = 2
# Roundings of the sum over a chunk, beside those on its way to the total: of its two parts, of the
# total of both sides, and of magnitudes.
_ROUNDINGS_OF_A_CHUNK = 4
# Roundings of a sum of blocks beside one a block: of the bound's own sums.
_ROUNDINGS_OF_BLOCKS = 4
# Roundings of a term beside those of its sum: products, quotients, logarithms, the sum of
# magnitudes itself, and the few operations that make a bound of sums.
_ROUNDINGS_OF_A_TERM = 16


def sum_error(rows: int, dtype: jnp.dtype, parts: int = 1) -> jax.Array:
    """Relative error of a sum by chunks of `rows` terms, to the sum of their magnitudes.

    Args:
        rows: number of terms.
        dtype: of the sum.
        parts: in which the terms lie on devices.
    """
    levels = _levels(_chunks(rows, parts), parts)
    return relative_error(_CHUNK + levels + _ROUNDINGS_OF_A_TERM, dtype)


def chunked_sum(terms: Callable[..., jax.Array], *columns: jax.Array, parts: int = 1) -> jax.Array:
    """A sum over rows, from a function that sums over some of them: scalar.

    Args:
        terms: (..., one array a column) -> scalar sum over their rows; rows of zeros add nothing.
        columns: (m,) arrays.
        parts: in which they lie on devices.
    """
    return _pairwise(jax.vmap(terms)(*(_by_chunks(column, parts) for column in columns)), parts)


class ColumnProducts(NamedTuple):
    """X^T times every block, with a bound of what rounding made of it.

    Attributes:
        products: (..., D).
        error: (...), bound of the norm of the distance from the product with features that were
            standardised without rounding.
    """

    products: jax.Array
    error: jax.Array


def bounded_column_products(rows: Rows, values: jax.Array, parts: int = 1) -> ColumnProducts:
    """X^T times every block, by chunks of rows: (m, D), (..., m) -> (..., D) and (...).

    The leading bits of the factors, of a chunk, are integers whose products float arithmetic sums
    without rounding (Rump, Ogita & Oishi 2008; Ozaki et al. 2012); what they leave is a few
    hundred times smaller, and so is its rounding.

    The two sides of a pair, which stand beside each other, are summed as a x + b y =
    (a + b)(x + y)/2 + (a - b)(x - y)/2: where they are nearly equal and pull against each other,
    nothing cancels that was not subtracted exactly.

    Nothing may under- or overflow: features are standardised, and the largest value is near one.
    Whole rows are in `parts` on devices, and no chunk has rows of two.
    """
    flat = values.reshape(-1, values.shape[-1])
    if isinstance(rows, CompactRows):
        found = _sum_of_blocks(rows, flat)
    else:
        found = _bounded_sums(rows, flat, parts)
    shape = values.shape[:-1]
    return ColumnProducts(found.products.reshape(*shape, -1), found.error.reshape(shape))


def _sum_of_blocks(rows: CompactRows, values: jax.Array) -> ColumnProducts:
    """The sums of blocks of rows, whose own sum is rounded too: (m, D), (k, m)."""

    def of_block(x: jax.Array, values: jax.Array) -> tuple[ColumnProducts, jax.Array]:
        found = _bounded_sums(x, values.T)
        return found, lax.stop_gradient(jnp.linalg.norm(found.products, axis=-1))

    (products, error), lengths = sum_over_rows(rows, of_block, values.T)
    of_sums = relative_error(block_count(rows) + _ROUNDINGS_OF_BLOCKS, rows.dtype)
    return ColumnProducts(products, error * (1 + of_sums) + of_sums * lengths)


def _bounded_sums(features: jax.Array, flat: jax.Array, parts: int = 1) -> ColumnProducts:
    """`bounded_column_products` of whole rows: (m, D), (k, m)."""
    of_a_feature = relative_error(_ROUNDINGS_OF_A_FEATURE, features.dtype)
    of_sides = relative_error(_ROUNDINGS_OF_SIDES, features.dtype)

    def side(sign: jax.Array) -> ColumnProducts:
        rows, value = 0.5 * _by_sides(features, sign, parts), _by_sides(flat.T, sign, parts)
        chunks, of_values = _by_chunks(rows, parts), _by_chunks(value, parts)
        found = _sums_of_chunks(chunks, jnp.moveaxis(of_values, 2, 1), parts)
        return found._replace(error=found.error + of_sides * _magnitude(rows, value.T))

    # One after the other: there is room for one.
    sums, errors = lax.map(side, jnp.array([1, -1], features.dtype))
    error = lax.stop_gradient(errors[0] + errors[1] + of_a_feature * _magnitude(features, flat))
    return ColumnProducts(sums[0] + sums[1], error)


def _sums_of_chunks(rows: jax.Array, values: jax.Array, parts: int) -> ColumnProducts:
    """Sums over all rows: (chunks, _CHUNK, D), (chunks, k, _CHUNK) -> (k, D) and (k,)."""
    leading, first = _leading_bits(rows, 1), _leading_bits(values, 2)
    rest, second = rows - leading, values - first

    def times(values: jax.Array, rows: jax.Array) -> jax.Array:
        return jnp.matmul(values, rows, precision=lax.Precision.HIGHEST)

    def magnitude(values: jax.Array, rows: jax.Array) -> jax.Array:
        return jnp.einsum("ckr,cr->k", jnp.abs(values), jnp.linalg.norm(rows, axis=-1))

    sums = times(first, leading) + (times(second, leading) + times(values, rest))
    of_rests = sum_error(len(rows) * _CHUNK, rows.dtype, parts)
    error = of_rests * (magnitude(second, leading) + magnitude(values, rest))
    levels = _levels(len(rows), parts)
    of_chunks = relative_error(levels + _ROUNDINGS_OF_A_CHUNK, rows.dtype)
    error = error + of_chunks * jnp.sum(jnp.linalg.norm(sums, axis=-1), axis=0)
    return ColumnProducts(_pairwise(sums, parts), error)


def _leading_bits(numbers: jax.Array, axis: int) -> jax.Array:
    """The numbers rounded to multiples of a power of two that is common to those along an axis.

    So coarse that sums over _CHUNK products of two of them are exact, in any order.
    """
    bits = (jnp.finfo(numbers.dtype).nmant + 1 - (_CHUNK - 1).bit_length()) // 2
    largest = jnp.max(jnp.abs(lax.stop_gradient(numbers)), axis=axis, keepdims=True)
    _, exponent = jnp.frexp(largest)
    # Far from underflow: products of two such powers are floats.
    least = jnp.finfo(numbers.dtype).minexp // 2 + 2 * bits
    common = jnp.ldexp(jnp.ones_like(largest), jnp.maximum(exponent, least) - bits)
    return lax.stop_gradient(jnp.round(numbers / common) * common)


def plain_products_error(features: Rows, values: jax.Array) -> jax.Array:
    """Bound of the norm of what a plain product by chunks is off by: (m, D), (..., m) -> (...)."""
    error = sum_error(len(features), features.dtype)
    if isinstance(features, CompactRows):  # whose blocks are added one after another
        error = error + relative_error(block_count(features), features.dtype)
    return error * _magnitude(features, values)


def _magnitude(features: Rows, values: jax.Array) -> jax.Array:
    """sum_j |values_j| ||x_j||: (m, D), (..., m) -> (...)."""
    return jnp.abs(values) @ row_lengths(features)


def _by_sides(rows: jax.Array, sign: jax.Array, parts: int) -> jax.Array:
    """Every other row plus `sign` times the one behind it, part by part: (m, ...) -> (m/2, ...)."""
    chosen, rejected = sides(_filled(rows, parts, 2))
    return chosen + sign * rejected


def _chunks(rows: int, parts: int) -> int:
    return parts * -(-rows // parts // _CHUNK)


def _by_chunks(column: jax.Array, parts: int) -> jax.Array:
    """(m, ...) -> (chunks, _CHUNK, ...), the last one of every part filled with zeros."""
    return _filled(column, parts, _CHUNK).reshape(-1, _CHUNK, *column.shape[1:])


def _filled(rows: jax.Array, parts: int, multiple: int) -> jax.Array:
    """Every part with rows of zeros up to a multiple: (m, ...) -> (m', ...)."""
    missing = -(len(rows) // parts) % multiple
    if not missing:
        return rows
    by_part = rows.reshape(parts, -1, *rows.shape[1:])
    filled = jnp.pad(by_part, ((0, 0), (0, missing), *((0, 0),) * (rows.ndim - 1)))
    return filled.reshape(-1, *rows.shape[1:])


def _levels(chunks: int, parts: int) -> int:
    """Roundings on the way from a chunk to the total of `_pairwise`."""
    return (chunks // parts).bit_length() + (parts - 1).bit_length()


def _pairwise(values: jax.Array, parts: int) -> jax.Array:
    """Sum over the first axis, neighbours first, of every part and then of all: (k, ...) -> (...).

    No device meets another before it has one sum.
    """
    by_part = values.reshape(parts, -1, *values.shape[1:])
    return _halved(jax.vmap(_halved)(by_part))


def _halved(values: jax.Array) -> jax.Array:
    while values.shape[0] > 1:
        half = values.shape[0] // 2
        one, other = sides(values[: 2 * half])
        values = jnp.concatenate([one + other, values[2 * half :]])
    return values[0]
