"""Elements of a sweep on several devices: `sharded_vmap`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from coala_jax._errors import CoalaError
from coala_jax._row_mesh import SPLIT_ONE, SPLIT_TWICE, row_mesh_of


def sharded_vmap(
    function: Callable[..., Any],
    in_axes: int | Sequence[int | None] | None = 0,
    *,
    mesh: Mesh | None = None,
) -> Callable[..., Any]:
    """`jax.vmap` along first axes, its elements split over devices that do not wait for each other.

    `jax.shard_map` of the `vmap` of each device's elements, or of a single one alone: each runs its
    own loops to their own ends, and nothing is exchanged. (Under `jax.jit` of a plain `vmap` of
    split arguments a loop ends on no device before it has ended on all, and results come back whole
    on every one.) For values of `Params`, keys of gates, or targets on the same features.

    Args:
        function: of arrays and pytrees of them; jitted. What it closes over becomes a constant of
            its program: give features as an argument with `in_axes` None.
        in_axes: 0 for an argument whose leaves have the batch as their first axis, None for one
            that every device gets a copy of; of all arguments, or of each.
        mesh: devices, over all of which the batch is split; None for all that there are.

    Returns:
        A function of as many positional arguments, whose results have the batch as first axis,
        split over the mesh. Where the devices do not divide the batch they get copies of its last
        element; their results are cut off, and what is left is copied to every device.
        Differentiable as `function` is, and to be jitted or not.

    Raises:
        TypeError: a mesh of another kind.
        CoalaError: axes other than 0 and None. Of the returned function: no argument is mapped, or
            a batch is empty or of another size; an argument that is not mapped, or what the
            function closes over, has its first axis split over devices.

    Example:
        >>> import coala_jax, jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> head = coala_jax.ConvexHead(np.eye(4), np.ones(4), np.ones(4), np.zeros(4))
        >>> def one(beta, features):  # or `solve`, with a key or a strength of each element
        ...     return coala_jax.evaluate(coala_jax.Params(beta=beta), head, features).loss
        >>> betas = jax.numpy.array([0.5, 1.0, 2.0])
        >>> coala_jax.sharded_vmap(one, in_axes=(0, None))(betas, features).shape
        (3,)
    """
    axes = in_axes if in_axes is None or isinstance(in_axes, int) else tuple(in_axes)
    for axis in axes if isinstance(axes, tuple) else (axes,):
        if isinstance(axis, bool) or axis not in (0, None):
            raise CoalaError(
                f"in_axes={in_axes!r}: give 0, of arguments whose first axis is the batch, and "
                "None, of those that every device gets whole; for all together or for each"
            )
    if not isinstance(mesh, Mesh | None):
        raise TypeError(f"mesh must be a jax.sharding.Mesh or None, got {type(mesh).__name__}")
    # Automatic axes, whatever the caller's are: `solve` takes what is split over such alone.
    line = Mesh(jax.devices(), ("batch",)) if mesh is None else Mesh(mesh.devices, mesh.axis_names)
    by_element, whole = PartitionSpec(line.axis_names), PartitionSpec()
    specs = jax.tree.map(
        lambda axis: whole if axis is None else by_element, axes, is_leaf=lambda axis: axis is None
    )
    # Loops that start from zeros, as those of `solve` do, are beyond the check of what varies.
    run = jax.jit(
        jax.shard_map(
            _of_elements(function, axes),
            mesh=line,
            in_specs=specs,
            out_specs=by_element,
            check_vma=False,
        )
    )

    def over_devices(*arguments: Any) -> Any:
        each = axes if isinstance(axes, tuple) else (axes,) * len(arguments)
        if len(each) != len(arguments):
            raise CoalaError(
                f"in_axes={in_axes!r} is for {len(each)} arguments, and {len(arguments)} were given"
            )
        batch = _batch_of(arguments, each)
        missing = -batch % line.size
        placed = [
            _placed(number, argument, NamedSharding(line, whole))
            if axis is None
            else jax.device_put(_filled(argument, missing), NamedSharding(line, by_element))
            for number, (argument, axis) in enumerate(zip(arguments, each, strict=True))
        ]
        results = run(*placed)
        return jax.tree.map(lambda leaf: leaf[:batch], results) if missing else results

    return over_devices


def _of_elements(
    function: Callable[..., Any], axes: int | tuple[int | None, ...] | None
) -> Callable[..., Any]:
    """`jax.vmap`, but of a single element the function itself.

    A product with a batch axis of one rounds otherwise, and epochs and steps may be others.
    """

    def of_elements(*arguments: Any) -> Any:
        each = axes if isinstance(axes, tuple) else (axes,) * len(arguments)
        if _batch_of(arguments, each) > 1:
            return jax.vmap(function, axes)(*arguments)
        alone = [
            argument if axis is None else jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], argument)
            for argument, axis in zip(arguments, each, strict=True)
        ]
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], function(*alone))

    return of_elements


def _batch_of(arguments: Sequence[Any], axes: Sequence[int | None]) -> int:
    """The length of the first axis of all leaves that are mapped."""
    shapes = {
        jnp.shape(leaf)[:1]
        for argument, axis in zip(arguments, axes, strict=True)
        if axis == 0
        for leaf in jax.tree.leaves(argument)
    }
    if len(shapes) != 1 or shapes <= {(), (0,)}:
        found = ", ".join(sorted(map(str, shapes))) or "no argument"
        raise CoalaError(
            "arguments that are mapped must have a batch of one size, at least 1, as the first "
            f"axis of each array; got {found}"
        )
    return int(shapes.pop()[0])


def _filled(argument: Any, missing: int) -> Any:
    """A batch with so many copies of its last element."""
    if not missing:
        return argument
    return jax.tree.map(
        lambda leaf: leaf[np.minimum(np.arange(len(leaf) + missing), len(leaf) - 1)], argument
    )


def _placed(number: int, argument: Any, sharding: NamedSharding) -> Any:
    """An argument on every device; an error where that would gather rows."""
    if any(row_mesh_of(leaf) for leaf in jax.tree.leaves(argument)):
        raise CoalaError(f"argument {number}: {SPLIT_TWICE}; {SPLIT_ONE}")
    return jax.device_put(argument, sharding)
