"""Rows that lie on several devices: where they are, and values that belong to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class RowMesh(NamedTuple):
    """Devices over which rows are split along an axis, part by part; hashable, for static fields.

    Attributes:
        mesh: of the devices.
        axes: of the mesh along which rows are split.
    """

    mesh: Mesh
    axes: tuple[str, ...]

    @property
    def parts(self) -> int:
        """Number of parts, one a device."""
        return math.prod(self.mesh.shape[axis] for axis in self.axes)


def row_mesh_of(value: Any) -> RowMesh | None:
    """Over which devices the first axis of an array is split; None where it is not.

    None as well under a caller's jit, where the compiler alone decides.
    """
    if isinstance(value, jax.core.Tracer) or not isinstance(value, jax.Array):
        return None
    sharding = value.sharding
    if not isinstance(sharding, NamedSharding) or not sharding.spec or sharding.spec[0] is None:
        return None
    first, mesh = sharding.spec[0], sharding.mesh
    if not isinstance(mesh, Mesh):
        return None
    found = RowMesh(mesh, first if isinstance(first, tuple) else (first,))
    return found if found.parts > 1 else None


def with_rows(mesh: RowMesh | None, value: jax.Array, axis: int = -1) -> jax.Array:
    """The value, whose axis of rows lies where the rows do.

    Sums over rows are then one all-reduce; without it a loop may keep what starts as zeros whole on
    every device.
    """
    if mesh is None:
        return value
    spec: list[Any] = [None] * value.ndim
    spec[axis] = mesh.axes
    return lax.with_sharding_constraint(value, NamedSharding(mesh.mesh, PartitionSpec(*spec)))


def on_each_device(
    mesh: RowMesh | None,
    function: Callable[..., tuple[jax.Array, jax.Array]],
    *rows: Any,
) -> tuple[jax.Array, jax.Array]:
    """A function of the rows of every device, which meets no others.

    Args:
        mesh: where the rows lie; None is one device.
        function: of some rows, to a value of each of them and a sum over them.
        rows: pytrees of arrays whose first axis is that of the rows.

    Returns:
        The values of all rows, and the sum over all of them, on every device.
    """
    if mesh is None:
        return function(*rows)
    by_row = PartitionSpec(mesh.axes)

    def local(*here: Any) -> tuple[jax.Array, jax.Array]:
        values, total = function(*here)
        return values, lax.psum(total, mesh.axes)

    split = jax.shard_map(
        local,
        mesh=mesh.mesh,
        in_specs=(by_row,) * len(rows),
        out_specs=(by_row, PartitionSpec()),
    )
    found: tuple[jax.Array, jax.Array] = split(*rows)
    return found
