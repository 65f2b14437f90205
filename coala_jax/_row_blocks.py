"""Rows read block by block, so that no more of them than a block is held in a wider dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from coala_jax._row_mesh import RowMesh, parts_of, reduced_over_devices

Tree = TypeVar("Tree")

# Numbers of a block, 16 MB in float32: next to nothing of what rows take that are worth it, and
# enough for a product.
BLOCK_NUMBERS = 1 << 22
# Bytes of a float that is read as an integer.
BIT_BYTES = 2
NO_GRADIENT = (
    "a solve with Config(rows='compact') has no gradients: it reads rows as bits, block by block; "
    "solve with rows='full'"
)


def map_blocks(
    function: Callable[..., Tree], mesh: RowMesh | None, *arrays: Any, width: int
) -> Tree:
    """A function of some groups of rows, on all of them: what it gives of each stands together.

    Args:
        function: of the arrays' blocks, (b, ...) each, to a pytree of arrays (b c, ...) for any c.
        mesh: where the groups lie, None on one device.
        arrays: pytrees of (n, ...) arrays, n groups of rows.
        width: numbers of a group.

    Returns:
        The pytree of (n c, ...).
    """

    def here(*arrays: Any) -> Tree:
        groups = _groups(arrays)
        length = _length(groups, width)
        if groups <= length:
            return function(*arrays)
        count = -(-groups // length)
        # The last block begins early enough to be whole: some groups are then in two.
        begins = jnp.minimum(jnp.arange(count) * length, groups - length)
        found = lax.map(lambda begin: function(*_block(arrays, begin, length)), begins)
        twice = count * length - groups

        def joined(blocks: jax.Array) -> jax.Array:
            share = blocks.shape[1] // length
            whole = blocks.reshape(-1, *blocks.shape[2:])
            if not twice:
                return whole
            before = (count - 1) * length * share
            return jnp.concatenate([whole[:before], whole[before + twice * share :]])

        return jax.tree.map(joined, found)

    if mesh is None:
        return here(*arrays)
    by_row = PartitionSpec(mesh.axes)
    return jax.shard_map(here, mesh=mesh.mesh, in_specs=by_row, out_specs=by_row)(*arrays)


def sum_blocks(
    function: Callable[..., Tree], mesh: RowMesh | None, *arrays: Any, width: int
) -> Tree:
    """A function of some groups of rows, summed over all of them.

    Args:
        function: of the arrays' blocks, (b, ...) each, to a pytree of arrays, which add up.
        mesh: where the groups lie, None on one device.
        arrays: pytrees of (n, ...) arrays, n groups of rows.
        width: numbers of a group.
    """
    return _reduced(function, jnp.add, lax.psum, mesh, arrays, width)


def max_blocks(
    function: Callable[..., Tree], mesh: RowMesh | None, *arrays: Any, width: int
) -> Tree:
    """The largest values that a function of some groups of rows has; arguments as above."""
    return _reduced(function, jnp.maximum, lax.pmax, mesh, arrays, width)


def _reduced(
    function: Callable[..., Tree],
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    across: Callable[[Tree, tuple[str, ...]], Tree],
    mesh: RowMesh | None,
    arrays: tuple[Any, ...],
    width: int,
) -> Tree:
    def here(*arrays: Any) -> Tree:
        groups = _groups(arrays)
        length = _length(groups, width)
        if groups <= length:
            return function(*arrays)
        whole = groups // length

        def add(total: Tree, number: jax.Array) -> tuple[Tree, None]:
            found = function(*_block(arrays, number * length, length))
            return jax.tree.map(combine, total, found), None

        first = function(*_block(arrays, 0, length))
        total, _ = lax.scan(add, first, jnp.arange(1, whole))
        if rest := groups - whole * length:
            found = function(*_block(arrays, groups - rest, rest))
            total = jax.tree.map(combine, total, found)
        return total

    return reduced_over_devices(mesh, here, across, *arrays)


def blocks_of(groups: int, width: int, mesh: RowMesh | None) -> int:
    """How many terms `sum_blocks` adds, those of other devices among them."""
    parts = parts_of(mesh)
    here = groups // parts
    return -(-here // _length(here, width)) + parts


def _groups(arrays: tuple[Any, ...]) -> int:
    groups: int = jax.tree.leaves(arrays)[0].shape[0]
    return groups


def _length(groups: int, width: int) -> int:
    """Groups of a block."""
    return max(1, min(groups, BLOCK_NUMBERS // width))


def _block(arrays: Any, begin: jax.Array | int, length: int) -> Any:
    """Some groups, behind a barrier: a cast of theirs is not to be moved out of the loop."""
    some = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, begin, length), arrays)
    return lax.optimization_barrier(some)


@jax.custom_jvp
def as_bits(values: jax.Array) -> jax.Array:
    """Floats of 2 bytes as integers: XLA's CPU, which slices no bfloat16, would widen them all.

    Raises:
        TypeError: a derivative by them was asked for, which integers do not have.
    """
    narrow = jnp.issubdtype(values.dtype, jnp.floating) and values.dtype.itemsize == BIT_BYTES
    return lax.bitcast_convert_type(values, jnp.uint16) if narrow else values


@as_bits.defjvp
def _as_bits_jvp(values: Any, moves: Any) -> Any:
    raise TypeError(NO_GRADIENT)


def from_bits(values: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The floats that `as_bits` had."""
    return values if values.dtype == dtype else lax.bitcast_convert_type(values, dtype)
