"""The rows X of a program: whole, or kept as they came and standardised where they are used.

Whole rows are (m, D) in the solver's dtype. `CompactRows` keep what the caller gave, say bfloat16
hidden states R at 2 bytes a number, and fold the standardisation into the operator:

    X = [(R - 1 c^T) diag(1/s), 1],    X u = R (w / s) + (b - c^T (w / s)),   u = (w, b)

Of bfloat16 rows the other factor is split into three bfloat16 parts, whose 24 bits are those of a
float32 (Henry, Tang & Heinecke 2019): products of two bfloat16 are exact in float32, so that one
pass of a matrix unit, which adds in float32, is a float32 product at one read of 2 bytes a number.
So are those of two float16, whose three parts have 33 bits and a narrow range: each vector of the
other factor is put at the top of it, and each part 2^11 above the one before. Numbers of down to
2^-29 of the largest of their vector are then exact, smaller ones off by 2^-51 of that.
The mean is taken off afterwards, so such products are off by what rounding makes of R w and not of
X u: where a column's mean is many times its deviation, by as many times more. Steps may have them;
whatever is claimed has blocks of rows that are standardised before they are multiplied.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._group_inputs import Arrays
from coala_jax._row_blocks import as_bits, blocks_of, from_bits, map_blocks, max_blocks, sum_blocks
from coala_jax._row_mesh import RowMesh, reduced_over_devices

Tree = TypeVar("Tree")
# Narrow parts that a float32 is split into.
_PARTS = 3
# A vector's largest number is put below this power of 2, half of what float16 can hold, by a
# power that is a float32 itself, as is one over it.
_TOP_OF_FLOAT16, _FARTHEST = 15, 100


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CompactRows:
    """(m, D) rows X, those of n pairs or groups beside each other, kept as they came.

    Attributes:
        sides: (n, d) of the chosen and of the rejected responses, or (n, k, d) of groups; `as_bits`
            has them.
        counts: (n,) 1 where a pair or group has weight, else 0: its rows are then zero.
        center: (d,) subtracted from the columns.
        scale: (d,) that they are divided by.
        kind: dtype of the responses; static.
        mesh: where the rows lie, None on one device; static.
        split: whether products are those of parts, for steps; static.
    """

    sides: tuple[jax.Array, ...]
    counts: jax.Array
    center: jax.Array
    scale: jax.Array
    kind: jnp.dtype = dataclasses.field(metadata={"static": True})
    mesh: RowMesh | None = dataclasses.field(default=None, metadata={"static": True})
    split: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        """(m, D)."""
        return len(self.counts) * self.members, len(self.center) + 1

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
        return sum(1 if side.ndim == 2 else side.shape[1] for side in self.sides)

    def standardized(self, sides: tuple[jax.Array, ...], counts: jax.Array) -> jax.Array:
        """(b k, D) rows of some pairs or groups."""
        raw = jnp.concatenate([side.reshape(len(side), -1, side.shape[-1]) for side in sides], 1)
        scaled = (from_bits(raw, self.kind).astype(self.dtype) - self.center) / self.scale
        with_ones = jnp.concatenate([scaled, jnp.ones_like(scaled[..., :1])], axis=-1)
        found = jnp.where(counts[:, None, None] > 0, with_ones, 0)
        return found.reshape(-1, found.shape[-1])


Rows: TypeAlias = jax.Array | CompactRows


def raw_rows(arrays: Arrays) -> Rows:
    """The rows of pairs or groups before they are standardised: (m, d); compact, centre 0, scale 1.

    Whole ones without weight are copies of the first that has some; compact ones are zero.
    """
    if not arrays.compact:
        return arrays.rows
    sides = arrays.responses_by_side
    dtype = arrays.weight.dtype
    neutral = (jnp.zeros(arrays.width, dtype), jnp.ones(arrays.width, dtype))
    counts = (arrays.weight > 0).astype(dtype)
    bits = tuple(map(as_bits, sides))
    return CompactRows(bits, counts, *neutral, sides[0].dtype, arrays.mesh)


def is_there(rows: Rows) -> jax.Array:
    """Which of the rows of a program, (m, D), have weight: (m,) booleans."""
    if not isinstance(rows, CompactRows):
        return rows[:, -1] != 0
    return jnp.repeat(rows.counts > 0, rows.members)


def for_steps(rows: Rows) -> Rows:
    """The rows with products that steps may have."""
    if not isinstance(rows, CompactRows):
        return rows
    halves = rows.kind in (jnp.bfloat16, jnp.float16) and rows.dtype == jnp.float32
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
    """Products of parts, where they are allowed; a CPU, which has no units for them, has blocks.

    So has a TPU of float16, which its units round to bfloat16.
    """
    if not rows.split:
        return of_blocks(values)
    without = ("cpu", "tpu") if rows.kind == jnp.float16 else ("cpu",)
    by_platform = dict.fromkeys(without, of_blocks)
    found: jax.Array = lax.platform_dependent(values, default=of_parts, **by_platform)
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
        there, columns = x[:, -1:] != 0, x[:, :-1]
        largest, of_negative = (
            jnp.max(jnp.where(there, signed, -jnp.inf), axis=0) for signed in (columns, -columns)
        )
        return largest, of_negative

    largest, of_negative = max_blocks(*_by_group(rows, ends, ()), width=_width(rows))
    return largest, -of_negative


def gram_matrix(rows: Rows) -> jax.Array:
    """X^T X: (D, D)."""
    return sum_over_rows(rows, lambda x: x.T @ x)


def row_lengths(rows: Rows) -> jax.Array:
    """Euclidean norms of the rows, for bounds: no gradient by them, which zeros lack: (m,)."""
    return map_rows(lax.stop_gradient(rows), lambda x: jnp.linalg.norm(x, axis=1))


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
    return rows.standardized((raw[:, None],), rows.counts[group])


def split_row_products(rows: CompactRows, weights: jax.Array) -> jax.Array:
    """X times (k, D) weights by parts: (k, m)."""
    scaled = weights[:, :-1] / rows.scale
    constant = weights[:, -1] - scaled @ rows.center
    parts = _parts(scaled, rows.kind)

    def products(side: jax.Array) -> jax.Array:
        """(n, d) or (n, g, d) -> (k, n) or (k, n, g)."""
        dimensions = (((1,), (side.ndim - 1,)), ((), ()))
        return _exact_product(parts, from_bits(side, rows.kind), dimensions, rows.dtype)

    found = jnp.concatenate(
        [products(side).reshape(len(weights), len(rows.counts), -1) for side in rows.sides], axis=2
    )
    found = found + constant[:, None, None]
    found = jnp.where(rows.counts[:, None] > 0, found, 0)
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
            parts = _parts(value, rows.kind)
            found = _exact_product(parts, from_bits(side, rows.kind), dimensions, rows.dtype)
            pulled = pulled + found
        total = jnp.sum(own, axis=(1, 2))
        pulled = (pulled - total[:, None] * rows.center) / rows.scale
        return jnp.concatenate([pulled, total[:, None]], axis=1)

    known = (rows.sides, rows.counts, values)
    return reduced_over_devices(rows.mesh, here, lax.psum, *known, row_axes=(0, 0, 1))


class _Split(NamedTuple):
    """Float32 numbers, (k, ...), as sums of narrower ones.

    Attributes:
        narrow: (3 k, ...) the first parts of all, then the second ones, then the third.
        unit: (3, k) what each part of a vector is to be multiplied by.
    """

    narrow: jax.Array
    unit: jax.Array


def _exact_product(parts: _Split, side: jax.Array, dimensions: Any, dtype: Any) -> jax.Array:
    """A contraction of narrow factors, whose products are exact, added in the solver's dtype.

    The parts of a number are added last, the small ones first.
    """
    once = lax.Precision.DEFAULT  # there is nothing to split further
    found = lax.dot_general(parts.narrow, side, dimensions, once, preferred_element_type=dtype)
    by_part = found.reshape(*parts.unit.shape, *found.shape[1:])
    unit = parts.unit.reshape(*parts.unit.shape, *(1,) * (found.ndim - 1))
    first, second, third = by_part * unit
    return first + (second + third)


def _parts(numbers: jax.Array, kind: jnp.dtype) -> _Split:
    """Three bfloat16 or float16 parts of float32 numbers, (k, ...).

    `reduce_precision`, since a cast to a narrow type and back is nothing to XLA, which may keep
    excess precision. It has no subnormal numbers: those of float16 are near enough to its largest
    to matter, and are kept off.
    """
    known = jnp.finfo(kind)
    unit = jnp.ones(len(numbers), numbers.dtype)
    step = 1.0
    if kind == jnp.float16:
        step = 2.0 ** (known.nmant + 1)
        _, exponent = jnp.frexp(jnp.max(jnp.abs(numbers), axis=tuple(range(1, numbers.ndim))))
        shift = jnp.clip(_TOP_OF_FLOAT16 - exponent, -_FARTHEST, _FARTHEST)
        unit = jnp.ldexp(unit, -shift)
        up = jnp.ldexp(jnp.ones_like(unit), shift)
        numbers = numbers * up.reshape(-1, *(1,) * (numbers.ndim - 1))
    parts, units = [], []
    for number in range(_PARTS):
        part = lax.reduce_precision(numbers, known.nexp, known.nmant)
        parts.append(part.astype(kind))
        units.append(unit / step**number)
        numbers = (numbers - part) * step
    return _Split(jnp.concatenate(parts), jnp.stack(units))


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
