"""The rows X of a program: whole, or kept as they came and standardised where they are used.

Whole rows are (m, D) in the solver's dtype. `CompactRows` keep what the caller gave, say bfloat16
hidden states R at 2 bytes a number, and fold the standardisation into the operator:

    X = [(R - 1 c^T) diag(1/s), 1],    X u = R (w / s) + (b - c^T (w / s)),   u = (w, b)

Of bfloat16 rows the other factor is split into three bfloat16 parts, whose 24 bits are those of a
float32 (Henry, Tang & Heinecke 2019): products of two bfloat16 are exact in float32, so that one
pass of a matrix unit, which adds in float32, is a float32 product at one read of 2 bytes a number.
The mean is taken off afterwards, so such products are off by what rounding makes of R w and not of
X u: where a column's mean is many times its deviation, by as many times more. Steps may have them;
whatever is claimed has blocks of rows that are standardised before they are multiplied.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from coala_jax._group_inputs import Arrays
from coala_jax._inputs import PairArrays
from coala_jax._row_blocks import as_bits, blocks_of, from_bits, map_blocks, max_blocks, sum_blocks
from coala_jax._row_mesh import RowMesh

Tree = TypeVar("Tree")
# Parts of bfloat16 that a float32 is split into.
_PARTS = 3


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CompactRows:
    """(m, D) rows X, those of n pairs or groups beside each other, kept as they came.

    Attributes:
        sides: (n, d) of the chosen and of the rejected responses, or (n, k, d) of groups; `as_bits`
            has them.
        counts: (n,) 1 where a pair or group has weight, else 0: it then stands as a copy of
            `stand_in`.
        stand_in: (k, d) members of the first that has some, k = 2 of pairs.
        center: (d,) subtracted from the columns.
        scale: (d,) that they are divided by.
        kind: dtype of the responses; static.
        mesh: where the rows lie, None on one device; static.
        split: whether products are those of parts, for steps; static.
    """

    sides: tuple[jax.Array, ...]
    counts: jax.Array
    stand_in: jax.Array
    center: jax.Array
    scale: jax.Array
    kind: jnp.dtype = dataclasses.field(metadata={"static": True})
    mesh: RowMesh | None = dataclasses.field(default=None, metadata={"static": True})
    split: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        """(m, D)."""
        members, width = self.stand_in.shape
        return len(self.counts) * members, width + 1

    @property
    def dtype(self) -> jnp.dtype:
        """Of the solver."""
        return self.center.dtype

    def __len__(self) -> int:
        """Number m of rows."""
        return self.shape[0]

    @property
    def members(self) -> int:
        """Rows of a pair or group."""
        return self.stand_in.shape[0]

    def standardized(self, sides: tuple[jax.Array, ...], counts: jax.Array) -> jax.Array:
        """(b k, D) rows of some pairs or groups."""
        raw = jnp.concatenate([side.reshape(len(side), -1, side.shape[-1]) for side in sides], 1)
        raw = from_bits(raw, self.kind).astype(self.dtype)
        raw = jnp.where(counts[:, None, None] > 0, raw, self.stand_in)
        scaled = (raw - self.center) / self.scale
        with_ones = jnp.concatenate([scaled, jnp.ones_like(scaled[..., :1])], axis=-1)
        return with_ones.reshape(-1, with_ones.shape[-1])


Rows: TypeAlias = jax.Array | CompactRows


def raw_rows(arrays: Arrays) -> Rows:
    """The rows of pairs or groups before they are standardised: (m, d); compact, centre 0, scale 1.

    The barrier keeps XLA from evaluating the whole solve at compile time where a caller's jit
    closes over its features.
    """
    if not arrays.compact:
        rows: jax.Array = lax.optimization_barrier(arrays.rows)
        return rows
    pairs = isinstance(arrays, PairArrays)
    kind = arrays.responses_by_side[0].dtype
    sides = lax.optimization_barrier(tuple(map(as_bits, arrays.responses_by_side)))
    dtype = arrays.weight.dtype
    counts = (arrays.weight > 0).astype(dtype)
    first = jnp.argmax(counts)
    members = len(sides) if pairs else sides[0].shape[1]

    def standing(here: jax.Array, *sides: jax.Array) -> jax.Array:
        every = jnp.stack([side if pairs else side[:, 0] for side in sides], axis=1)
        every = from_bits(every, kind).astype(dtype)
        return jnp.sum(jnp.where(here[:, None, None], every, 0), axis=0)

    here = jnp.arange(len(counts)) == first
    stand_in = sum_blocks(standing, arrays.mesh, here, *sides, width=members * arrays.width)
    stand_in = jnp.broadcast_to(stand_in, (members, arrays.width))
    width = stand_in.shape[1]
    neutral = (jnp.zeros(width, dtype), jnp.ones(width, dtype))
    return CompactRows(sides, counts, stand_in, *neutral, kind, arrays.mesh)


def for_steps(rows: Rows) -> Rows:
    """The rows with products that steps may have."""
    if not isinstance(rows, CompactRows):
        return rows
    halves = rows.kind == jnp.bfloat16 and rows.dtype == jnp.float32
    return dataclasses.replace(rows, split=True) if halves else rows


def whole_rows(rows: Rows) -> jax.Array:
    """All (m, D) rows at once, in the solver's dtype, for what needs no less."""
    if not isinstance(rows, CompactRows):
        return rows
    return rows.standardized(rows.sides, rows.counts)


def sum_over_rows(rows: Rows, function: Callable[..., Tree], *values: jax.Array) -> Tree:
    """A function of some rows, summed over all.

    Args:
        rows: X.
        function: of (b, D) rows and what belongs to them to a pytree of arrays that add up; the
            members of a pair or group are never apart.
        values: arrays whose first axis is that of the rows, or of pairs or groups.
    """
    if not isinstance(rows, CompactRows):
        return function(rows, *values)
    return sum_blocks(*_by_group(rows, function, values), width=_width(rows))


def map_rows(rows: Rows, function: Callable[..., Tree], *values: jax.Array) -> Tree:
    """A function of some rows that gives (b, ...) for b of them, of all; arguments as above."""
    if not isinstance(rows, CompactRows):
        return function(rows, *values)
    return map_blocks(*_by_group(rows, function, values), width=_width(rows))


def _by_group(
    rows: CompactRows, function: Callable[..., Tree], values: tuple[jax.Array, ...]
) -> tuple[Any, ...]:
    """What `map_blocks` and `sum_blocks` take."""
    groups = len(rows.counts)

    def of_block(sides: tuple[jax.Array, ...], counts: jax.Array, *given: jax.Array) -> Tree:
        flat = [value.reshape(-1, *value.shape[2:]) for value in given]
        return function(rows.standardized(sides, counts), *flat)

    grouped = [value.reshape(groups, -1, *value.shape[1:]) for value in values]
    return of_block, rows.mesh, rows.sides, rows.counts, *grouped


def row_products(rows: Rows, weights: jax.Array) -> jax.Array:
    """X times every block: (m, D), (..., D) -> (..., m)."""
    if not isinstance(rows, CompactRows):
        return weights @ rows.T
    flat = weights.reshape(-1, weights.shape[-1])

    def of_blocks(flat: jax.Array) -> jax.Array:
        return map_rows(rows, lambda x: x @ flat.T).T

    def of_parts(flat: jax.Array) -> jax.Array:
        return split_row_products(rows, flat)

    found = _where_it_pays(rows, of_parts, of_blocks, flat)
    return found.reshape(*weights.shape[:-1], len(rows))


def column_products(rows: Rows, values: jax.Array) -> jax.Array:
    """X^T times every block: (m, D), (..., m) -> (..., D)."""
    if not isinstance(rows, CompactRows):
        return values @ rows
    flat = values.reshape(-1, values.shape[-1])

    def of_blocks(flat: jax.Array) -> jax.Array:
        return sum_over_rows(rows, lambda x, value: value.T @ x, flat.T)

    def of_parts(flat: jax.Array) -> jax.Array:
        return split_column_products(rows, flat)

    found = _where_it_pays(rows, of_parts, of_blocks, flat)
    return found.reshape(*values.shape[:-1], rows.shape[1])


def _where_it_pays(
    rows: CompactRows,
    of_parts: Callable[[jax.Array], jax.Array],
    of_blocks: Callable[[jax.Array], jax.Array],
    values: jax.Array,
) -> jax.Array:
    """Products of parts, where they are allowed; a CPU, which has no units for them, has blocks."""
    if not rows.split:
        return of_blocks(values)
    found: jax.Array = lax.platform_dependent(values, cpu=of_blocks, default=of_parts)
    return found


def linear_products(rows: Rows, linear: jax.Array) -> jax.Array:
    """X w of the linear path, in which the column of ones has no part: (d,) -> (m,)."""
    if not isinstance(rows, CompactRows):
        return rows[:, :-1] @ linear
    return row_products(rows, jnp.append(linear, 0))


def linear_adjoint(rows: Rows, values: jax.Array) -> jax.Array:
    """X^T y without the column of ones: (m,) -> (d,)."""
    if not isinstance(rows, CompactRows):
        return values @ rows[:, :-1]
    return column_products(rows, values)[:-1]


def column_ends(rows: Rows) -> tuple[jax.Array, jax.Array]:
    """Largest and smallest value of the columns, the last of compact rows left out: (d,) twice."""
    if not isinstance(rows, CompactRows):
        return jnp.max(rows, axis=0), jnp.min(rows, axis=0)

    def ends(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.max(x[:, :-1], axis=0), jnp.max(-x[:, :-1], axis=0)

    largest, of_negative = max_blocks(*_by_group(rows, ends, ()), width=_width(rows))
    return largest, -of_negative


def gram_matrix(rows: Rows) -> jax.Array:
    """X^T X: (D, D)."""
    return sum_over_rows(rows, lambda x: x.T @ x)


def row_lengths(rows: Rows) -> jax.Array:
    """Euclidean norms of the rows: (m,)."""
    return map_rows(rows, lambda x: jnp.linalg.norm(x, axis=1))


def rows_at(rows: Rows, index: jax.Array) -> jax.Array:
    """Some rows: (k,) places -> (k, D)."""
    if not isinstance(rows, CompactRows):
        return rows[index]
    group, member = index // rows.members, index % rows.members
    if len(rows.sides) > 1:
        chosen, rejected = (side[group] for side in rows.sides)
        raw = jnp.where((member == 0)[:, None], chosen, rejected)
    else:
        raw = rows.sides[0][group, member]
    # No index: on a part of the rows, within shard_map, what is the same on every device has none.
    own = (member[:, None] == jnp.arange(rows.members))[..., None]
    stand_in = jnp.sum(jnp.where(own, rows.stand_in, 0), axis=1, keepdims=True)
    each = dataclasses.replace(rows, stand_in=stand_in)
    return each.standardized((raw[:, None],), rows.counts[group])


def split_row_products(rows: CompactRows, weights: jax.Array) -> jax.Array:
    """X times (k, D) weights by parts: (k, m)."""
    scaled = weights[:, :-1] / rows.scale
    constant = weights[:, -1] - scaled @ rows.center
    parts = _parts(scaled)

    def products(side: jax.Array) -> jax.Array:
        """(n, d) or (n, g, d) -> (k, n) or (k, n, g)."""
        dimensions = (((1,), (side.ndim - 1,)), ((), ()))
        return _sum_of_parts(
            _exact_product(parts, from_bits(side, rows.kind), dimensions, rows.dtype)
        )

    found = jnp.concatenate(
        [products(side).reshape(len(weights), len(rows.counts), -1) for side in rows.sides], axis=2
    )
    found = found + constant[:, None, None]
    of_stand_in = weights[:, :-1] @ ((rows.stand_in - rows.center) / rows.scale).T
    of_stand_in = of_stand_in + weights[:, -1:]
    found = jnp.where(rows.counts[:, None] > 0, found, of_stand_in[:, None])
    return found.reshape(len(weights), -1)


def split_column_products(rows: CompactRows, values: jax.Array) -> jax.Array:
    """X^T times (k, m) values by parts: (k, D)."""

    def here(sides: tuple[jax.Array, ...], counts: jax.Array, values: jax.Array) -> jax.Array:
        by_group = values.reshape(len(values), len(counts), -1)
        own = jnp.where(counts[:, None] > 0, by_group, 0)
        each = [own] if len(sides) == 1 else [own[..., side] for side in range(len(sides))]
        pulled = jnp.zeros((len(values), rows.shape[1] - 1), rows.dtype)
        for side, value in zip(sides, each, strict=True):
            summed = tuple(range(1, value.ndim))
            dimensions = ((summed, tuple(range(side.ndim - 1))), ((), ()))
            parts = _parts(value)
            found = _exact_product(parts, from_bits(side, rows.kind), dimensions, rows.dtype)
            pulled = pulled + _sum_of_parts(found)
        total = jnp.sum(own, axis=(1, 2))
        pulled = (pulled - total[:, None] * rows.center) / rows.scale
        copies = jnp.sum(by_group - own, axis=1)
        pulled = pulled + copies @ ((rows.stand_in - rows.center) / rows.scale)
        total = total + jnp.sum(copies, axis=1)
        return jnp.concatenate([pulled, total[:, None]], axis=1)

    if rows.mesh is None:
        return here(rows.sides, rows.counts, values)
    axes = rows.mesh.axes
    by_row = PartitionSpec(axes)

    def everywhere(*arrays: Any) -> jax.Array:
        found: jax.Array = lax.psum(here(*arrays), axes)
        return found

    split = jax.shard_map(
        everywhere,
        mesh=rows.mesh.mesh,
        in_specs=(by_row, by_row, PartitionSpec(None, axes)),
        out_specs=PartitionSpec(),
    )
    return split(rows.sides, rows.counts, values)


def _exact_product(parts: jax.Array, side: jax.Array, dimensions: Any, dtype: Any) -> jax.Array:
    """A contraction of bfloat16 factors, whose products are exact, added in the solver's dtype."""
    once = lax.Precision.DEFAULT  # there is nothing to split further
    return lax.dot_general(parts, side, dimensions, once, preferred_element_type=dtype)


def _parts(numbers: jax.Array) -> jax.Array:
    """Three bfloat16 parts of float32 numbers, whose sum they are: (k, ...) -> (3 k, ...).

    `reduce_precision`, since a cast to bfloat16 and back is nothing to XLA, which may keep excess
    precision.
    """
    parts = []
    for _ in range(_PARTS):
        part = lax.reduce_precision(numbers, exponent_bits=8, mantissa_bits=7)
        parts.append(part.astype(jnp.bfloat16))
        numbers = numbers - part
    return jnp.concatenate(parts)


def _sum_of_parts(products: jax.Array) -> jax.Array:
    """Products of the parts together, the small ones first: (3 k, ...) -> (k, ...)."""
    first, second, third = products.reshape(_PARTS, -1, *products.shape[1:])
    return first + (second + third)


def block_count(rows: CompactRows) -> int:
    """How many terms a sum over rows has."""
    return blocks_of(len(rows.counts), _width(rows), rows.mesh)


def _width(rows: CompactRows) -> int:
    """Numbers of a pair or group."""
    return rows.members * rows.shape[1]


def local_rows(rows: Rows) -> tuple[Any, Callable[[Any], Rows]]:
    """What of the rows lies by row, for `on_each_device`, and the rows that it is the whole of."""
    if not isinstance(rows, CompactRows):
        return rows, lambda array: array
    return (rows.sides, rows.counts), lambda arrays: dataclasses.replace(
        rows, sides=arrays[0], counts=arrays[1], mesh=None
    )
