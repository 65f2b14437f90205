"""Gates: the hyperplanes whose activation patterns D_i the convex program is built on."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax._types import GateDistribution
from coala_jax.convex._rows import Rows, column_products, is_there, row_products

# Spare draws for each gate wanted, to replace duplicates and empty ones. They occur where there
# are few rows: of 16 gates on 8 points in the plane about a third are duplicates.
_SPARE_DRAWS = 3
# Of the key of an isotropic draw, for the combinations of rows beside it.
_COMBINED = 1 << 16


class Gates(NamedTuple):
    """Gates with their patterns on the rows.

    Attributes:
        vectors: (P, D) h_i.
        patterns: (P, m) booleans, D_i = 1(X h_i >= 0).
        distinct: scalar int32, gates with a pattern of their own that is not empty.
    """

    vectors: jax.Array
    patterns: jax.Array
    distinct: jax.Array


def sample_gates(
    key: jax.Array,
    n_gates: int,
    features: Rows,
    *,
    open_first: bool = False,
    distribution: GateDistribution = "isotropic",
    weight: jax.Array | None = None,
    members: int = 1,
) -> Gates:
    """Gaussian gate vectors with distinct patterns that are not empty (Pilanci & Ergen 2020).

    A duplicate adds nothing to the program, and an empty pattern is a block that the output never
    sees. Both are replaced by spare draws, as far as these go.

    Args:
        key: typed key.
        n_gates: P.
        features: (m, D) rows X, the last column being ones.
        open_first: whether the first gate is open on every row, so that linear networks are among
            the gated ones.
        distribution: as `Config.gate_distribution` has it.
        weight: (m,) weights of the rows in their covariance; None where all have the same.
        members: rows of a pair or group, which stand beside each other.
    """
    width = features.shape[1]

    def draw(number: jax.Array) -> jax.Array:
        isotropic = jax.random.normal(number, (n_gates, width), features.dtype)
        if distribution == "isotropic":
            return isotropic
        of_rows = jax.random.fold_in(number, _COMBINED)
        combined = _combinations(of_rows, n_gates, features, weight, members)
        if distribution == "covariance":
            return combined
        return jnp.where(jnp.arange(n_gates)[:, None] % 2 == 0, combined, isotropic)

    # Spare draws have keys of their own: without duplicates the gates are those of the key alone.
    numbers = (key, *(jax.random.fold_in(key, i) for i in range(_SPARE_DRAWS)))
    everywhere = jnp.zeros((int(open_first), width), features.dtype).at[:, -1].set(1)
    return distinct_gates(jnp.concatenate([everywhere, *map(draw, numbers)]), n_gates, features)


def _combinations(
    key: jax.Array, n_gates: int, features: Rows, weight: jax.Array | None, members: int
) -> jax.Array:
    """Gaussian combinations of the rows, scaled to length sqrt(D): of covariance X^T W X before.

    Numbers are drawn for the first members of all groups, then for the second ones, as they were
    when rows stood in that order: a key gives the gates that it always gave.
    """
    rows, width = features.shape
    share = jax.random.normal(key, (n_gates, rows), features.dtype)
    share = jnp.swapaxes(share.reshape(n_gates, members, -1), 1, 2).reshape(n_gates, rows)
    if weight is not None:
        share = share * jnp.sqrt(weight)
    vectors = column_products(features, share)
    length = jnp.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors * (jnp.sqrt(width) / jnp.where(length == 0, 1, length)).astype(vectors.dtype)


def distinct_gates(vectors: jax.Array, n_gates: int, features: Rows) -> Gates:
    """The first P candidates that select a row and do not repeat an earlier pattern.

    They are moved away from the rows (`widen_margins`). Where there are fewer, the gates left over
    select no row: their blocks stay zero.

    Args:
        vectors: (K, D) candidates, K >= P, in order of preference.
        n_gates: P.
        features: (m, D) rows X, the last column being ones.
    """
    useful = _is_new(activation_patterns(features, vectors))
    order = jnp.argsort(~useful, stable=True)[:n_gates]
    useful = useful[order]
    kept = closed_unless(useful, widen_margins(vectors[order], features))
    patterns = activation_patterns(features, kept)
    return Gates(kept, patterns, jnp.sum(useful, dtype=jnp.int32))


def widen_margins(vectors: jax.Array, features: Rows) -> jax.Array:
    """The same patterns by hyperplanes halfway between the nearest rows on either side.

    Only the bias moves. No row is then so near to a hyperplane that rounding decides its side,
    unless two rows are that near to each other; nor is any row on it, where a cone has no interior.

    Args:
        vectors: (P, D) gates h_i.
        features: (m, D) rows X, the last column being ones.
    """
    products = row_products(features, vectors)
    opened = products >= 0
    # A side without rows counts as beginning where the farthest row of the other one is.
    farthest = jnp.max(jnp.abs(products), axis=1, keepdims=True)
    there = is_there(features)
    above = jnp.min(jnp.where(opened & there, products, farthest), axis=1)
    below = jnp.max(jnp.where(opened | ~there, -farthest, products), axis=1)
    return vectors.at[:, -1].add(-(above + below) / 2)


def closed_unless(used: jax.Array, vectors: jax.Array) -> jax.Array:
    """Gates that select no row in place of those not used: (P,) booleans, (P, D) -> (P, D)."""
    nowhere = jnp.zeros_like(vectors[0]).at[-1].set(-1)
    return jnp.where(used[:, None], vectors, nowhere)


def given_gates(vectors: jax.Array, features: Rows) -> Gates:
    """Gates as a caller gives them, duplicates and all: (P, D) and (m, D) rows."""
    patterns = activation_patterns(features, vectors)
    return Gates(vectors, patterns, jnp.sum(_is_new(patterns), dtype=jnp.int32))


def activation_patterns(features: Rows, gates: jax.Array) -> jax.Array:
    """D_i = 1(X h_i >= 0) as booleans, closed on rows without weight: (m, D), (P, D) -> (P, m)."""
    return (row_products(features, gates) >= 0) & is_there(features)


def _is_new(patterns: jax.Array) -> jax.Array:
    """Whether a pattern selects a row and none before it is the same: (P, m) -> (P,)."""
    ones = patterns.astype(jnp.float32)
    # Rows where two patterns differ; counts are exact below 2^24 rows.
    differing = jnp.sum(ones, axis=1)[:, None] + jnp.sum(ones, axis=1) - 2 * (ones @ ones.T)
    repeated = jnp.any(jnp.tril(differing == 0, k=-1), axis=1)
    return jnp.any(patterns, axis=1) & ~repeated
