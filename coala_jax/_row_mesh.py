"""Rows that lie on several devices: where they are, and values that belong to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from coala_jax._errors import CoalaError

Tree = TypeVar("Tree")
# Errors of rows that are split over devices where each of them has a solve of its own.
SPLIT_TWICE = "features are split over devices by their first axis"
SPLIT_ONE = (
    "split either the sweep or the rows; for both, call solve for each element with its rows over "
    "a part of the devices"
)


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

    Raises:
        CoalaError: it is so within a `jax.shard_map`, whose devices have their own rows to work on.
    """
    mesh = _mesh_of(value)
    if mesh is None or not value.sharding.spec or value.sharding.spec[0] is None:
        return None
    first = value.sharding.spec[0]
    found = RowMesh(mesh, first if isinstance(first, tuple) else (first,))
    if found.parts == 1:
        return None
    if AxisType.Manual in jax.sharding.get_abstract_mesh().axis_types:
        raise CoalaError(f"{SPLIT_TWICE}, within a shard_map; {SPLIT_ONE}")
    return found


def copies_mesh_of(value: Any) -> Mesh | None:
    """The devices of which each has all of an array; None on one device, or under jit."""
    mesh = _mesh_of(value)
    return mesh if mesh is not None and value.is_fully_replicated and mesh.size > 1 else None


def _mesh_of(value: Any) -> Mesh | None:
    """The devices that an array has been put on by name."""
    if isinstance(value, jax.core.Tracer) or not isinstance(value, jax.Array):
        return None
    mesh = value.sharding.mesh if isinstance(value.sharding, NamedSharding) else None
    return mesh if isinstance(mesh, Mesh) else None


def parts_of(mesh: RowMesh | None) -> int:
    """In how many parts rows lie: one without a mesh."""
    return 1 if mesh is None else mesh.parts


def on_host(value: jax.Array) -> np.ndarray:
    """All of an array, in every process: for numbers of which there is one a pair, not features."""
    if value.is_fully_addressable or value.is_fully_replicated:
        return np.asarray(value)
    return np.asarray(multihost_utils.process_allgather(value, tiled=True))


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


def reduced_over_devices(
    mesh: RowMesh | None,
    function: Callable[..., Tree],
    across: Callable[[Tree, tuple[str, ...]], Tree],
    *arrays: Any,
    row_axes: Sequence[int] | None = None,
) -> Tree:
    """A function of the rows of every device, reduced over all of them, the same on each.

    Args:
        mesh: where the rows lie; None is one device.
        function: of the arrays, to a pytree.
        across: `lax.psum` or another reduction over the axes of a mesh.
        arrays: pytrees of arrays.
        row_axes: of each of them, the axis of its rows; None for the first of all.
    """
    if mesh is None:
        return function(*arrays)
    axes = mesh.axes
    specs = [PartitionSpec(*[None] * axis, axes) for axis in row_axes or [0] * len(arrays)]

    def everywhere(*here: Any) -> Tree:
        return across(function(*here), axes)

    split = jax.shard_map(
        everywhere, mesh=mesh.mesh, in_specs=tuple(specs), out_specs=PartitionSpec()
    )
    return split(*arrays)


def among_largest(mesh: RowMesh | None, largest: jax.Array, count: int) -> jax.Array:
    """Which of a device's largest values are among those of all, within `on_each_device`.

    As `lax.top_k` has it of all values on one device, the earlier of equal ones.

    Args:
        mesh: where the values lie; None is one device.
        largest: (k,) by `lax.top_k` of those of this device, k <= count.
        count: how many of all count.

    Returns:
        (k,) booleans.
    """
    if mesh is None:
        return jnp.ones(largest.shape, bool)
    everywhere = lax.all_gather(largest, mesh.axes, tiled=True)
    _, places = lax.top_k(everywhere, min(len(everywhere), count))
    among = jnp.zeros(len(everywhere), bool).at[places].set(True)
    return among.reshape(mesh.parts, -1)[lax.axis_index(mesh.axes)]
