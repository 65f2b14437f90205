"""Rows put over devices, of one process or of many: `shard_rows`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from coala_jax._errors import CoalaError
from coala_jax._processes import together, told_by_all
from coala_jax._stored_rows import StoredRows
from coala_jax._types import GroupFeatures, PreferenceFeatures, float_dtype

FeaturesT = TypeVar("FeaturesT", PreferenceFeatures, GroupFeatures)
# Features that lie in files are read where they are put on a device.
Columns: TypeAlias = dict[str, Any]
# Name of the axis that rows are split over.
ROWS = "rows"
_FEWEST = 2
# Numbers of rows that may be None, and what they stand for then.
NEUTRAL = {"weight": 1.0, "margin": 0.0}
_FILLED = {**NEUTRAL, "mask": True}


class Holding(NamedTuple):
    """What a process has of the features.

    Attributes:
        rows: pairs or groups.
        devices: of the mesh that are its own.
        columns: shape of a row and dtype of every column, None where it has none.
        first: number of its first row with weight, of which those behind its last are copies.
    """

    rows: int
    devices: int
    columns: Mapping[str, tuple[tuple[int, ...], str] | None]
    first: int = 0


def shard_rows(features: FeaturesT, mesh: Mesh | None = None) -> FeaturesT:
    """Preference features with their pairs, or groups, split over devices, for `solve` and others.

    Every device gets as many: behind the last of a process's own stand copies of its first one with
    weight, with a weight of 0, which `solve` takes for no part of the data. The program, its
    certificate and Phase II on all pairs at once are those of the features as they were given; what
    draws a number a pair draws others: gates of a covariance (`Config.gate_distribution`) and
    minibatches (`Config.batch_size`).

    With several processes (`jax.distributed.initialize`) each gives its own pairs, as many as it
    likes, none among them, and all of them call this together.

    Args:
        features: numpy or jax arrays of this process: (n, d) pairs, or (n, k, d) groups, where k
            may differ between processes.
        mesh: of one axis, `AxisType.Auto`; None for all `jax.devices()` under the name "rows".

    Returns:
        The same kind of features as global arrays, split along their first axis. Weights are there
        where pairs were added or any process has some, margins and masks where any has.

    Raises:
        TypeError: neither `PreferenceFeatures` nor `GroupFeatures`, or no arrays in them.
        ValueError: fewer than two pairs in all; columns whose lengths, widths or dtypes do not fit,
            here or between processes; a mesh of another kind. What is wrong in one of several
            processes is raised in all of them, a TypeError as a ValueError.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (65, 4)), rng.normal(0, 1, (65, 4))
        >>> features = coala_jax.shard_rows(coala_jax.PreferenceFeatures(chosen, rejected))
        >>> features.chosen.shape[0] >= 65  # filled up to a multiple of the devices; for `solve`
        True
    """
    return split_rows(features, mesh).features


class SplitRows(NamedTuple):
    """What `split_rows` gives.

    Attributes:
        features: global arrays, split along their first axis.
        place: (n,) of the rows of all processes, in their order, where they stand in the arrays.
        copy_of: of every place of the arrays the number of the row there, or of one that it is a
            copy of, of weight 0.
    """

    features: Any
    place: np.ndarray
    copy_of: np.ndarray


def split_rows(features: PreferenceFeatures | GroupFeatures, mesh: Mesh | None) -> SplitRows:
    """`shard_rows`, and where the rows are."""
    mesh, columns, own = together(lambda: _own(features, mesh))
    devices, parts = own.devices, _told_by_all(own)
    columns = agreed_columns(columns, own.rows, parts)
    each = max(-(-part.rows // part.devices) for part in parts)
    total = sum(part.rows for part in parts)
    if total < _FEWEST:
        raise CoalaError(
            f"features hold {total} pairs or groups for {mesh.size} devices: at least {_FEWEST} "
            "are needed, whatever the number of devices"
        )
    if each * mesh.size > total:
        columns = filled_columns(columns, own.rows, each * devices)
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))

    here = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]

    def put(value: np.ndarray | StoredRows) -> jax.Array:
        shape = (each * mesh.size, *value.shape[1:])
        if isinstance(value, StoredRows):
            begins = range(0, len(value), each)
            placed = [
                value[begin : begin + each].on_device(device)
                for begin, device in zip(begins, here, strict=True)
            ]
            return jax.make_array_from_single_device_arrays(shape, sharding, placed)
        return jax.make_array_from_process_local_data(sharding, value, shape)

    split: Any = {name: None if value is None else put(value) for name, value in columns.items()}
    place, copy_of = _places(mesh, parts, each)
    return SplitRows(type(features)(**split), place, copy_of)


def _own(features: Any, mesh: Mesh | None) -> tuple[Mesh, Columns, Holding]:
    """What this process brings, checked by itself."""
    if not isinstance(features, PreferenceFeatures | GroupFeatures):
        raise TypeError(
            "features must be coala_jax.PreferenceFeatures(chosen, rejected) or GroupFeatures, "
            f"got {type(features).__name__}"
        )
    mesh = all_devices() if mesh is None else _one_axis(mesh)
    columns = {name: _on_host(name, value) for name, value in features._asdict().items()}
    devices = sum(device.process_index == jax.process_index() for device in mesh.devices.flat)
    return mesh, columns, holding_of(columns, devices)


def _places(mesh: Mesh, parts: Sequence[Holding], each: int) -> tuple[np.ndarray, np.ndarray]:
    """`SplitRows.place` and `copy_of`, of the rows of the processes and so many a device."""
    owners = np.repeat([device.process_index for device in mesh.devices.flat], each)
    before = np.cumsum([0, *(part.rows for part in parts)])
    place, copy_of = np.zeros(before[-1], np.int64), np.zeros(len(owners), np.int64)
    for number, part in enumerate(parts):
        own = np.flatnonzero(owners == number)
        place[before[number] : before[number + 1]] = own[: part.rows]
        copies = np.full(max(len(own) - part.rows, 0), part.first)
        standing = before[number] + np.concatenate([np.arange(part.rows), copies])
        # Those of a process without rows are zero, and no copies.
        copy_of[own] = np.minimum(standing, before[-1] - 1)
    return place, copy_of


def all_devices() -> Mesh:
    """All devices of all processes along one axis, `ROWS`."""
    return Mesh(np.array(jax.devices()), (ROWS,), axis_types=(AxisType.Auto,))


def holding_of(columns: Columns, devices: int) -> Holding:
    """What this process has.

    Raises:
        ValueError: columns of different lengths.
    """
    there = {name: value for name, value in columns.items() if value is not None}
    lengths = {value.shape[:1] for value in there.values()}
    if len(lengths) != 1 or () in lengths:
        shapes = ", ".join(f"features.{name} {value.shape}" for name, value in there.items())
        raise CoalaError(f"features must have one row a pair or group in every array; got {shapes}")
    kinds = {
        name: None if value is None else (value.shape[1:], value.dtype.name)
        for name, value in columns.items()
    }
    rows = lengths.pop()[0]
    return Holding(rows, devices, kinds, _first_with_weight(columns["weight"], rows))


def _first_with_weight(weight: np.ndarray | None, rows: int) -> int:
    """Number of the first row with weight; 0 where none has any."""
    return 0 if weight is None or not rows else int(np.argmax(weight > 0))


def agreed_columns(columns: Columns, rows: int, parts: Sequence[Holding]) -> Columns:
    """The columns that any process has, with as many members of a group in all.

    Args:
        columns: of this process.
        rows: how many it has.
        parts: of all processes, in whose order nothing depends on which of them this is.

    Raises:
        ValueError: columns that only some have, or of different widths or dtypes; the same in all
            processes.
    """
    for number, part in enumerate(parts):
        if not part.devices:
            raise CoalaError(
                f"mesh has no device of process {number} of {len(parts)}: every process takes "
                "part; give a mesh of jax.devices()"
            )
    found, members = dict(columns), _members(parts)
    if len(members) > 1:
        found = {name: _with_members(name, value, max(members)) for name, value in found.items()}
        if found["mask"] is None:
            own = columns["responses"]
            assert own is not None  # as it is in all processes
            found["mask"] = _with_members("mask", np.ones(own.shape[:2], bool), max(members))
    for name, value in found.items():
        kinds = [part.columns[name] for part in parts]
        known = {kind for kind in kinds if kind is not None}
        if not known:
            continue
        if len(known) < len(set(kinds)) and name not in _FILLED:
            raise CoalaError(
                f"features.{name} is None in some of the {len(parts)} processes: give all of them "
                "the same columns"
            )
        alike = {(shape[1:] if members else shape, dtype) for shape, dtype in known}
        if len(alike) > 1:
            listed = " and ".join(sorted(f"{dtype} rows of {shape}" for shape, dtype in known))
            raise CoalaError(
                f"features.{name} is not alike in all {len(parts)} processes: {listed}; give all "
                "of them arrays of one width and dtype"
            )
        if value is None:
            shape = (rows, max(members)) if name == "mask" else (rows,)
            dtype = bool if name == "mask" else float_dtype()
            found[name] = np.full(shape, _FILLED[name], dtype)
    return found


def filled_columns(columns: Columns, rows: int, length: int) -> Columns:
    """The rows, and behind them copies of the first with weight up to a length, of weight 0.

    Args:
        columns: of this process.
        rows: how many it has; of none, what stands behind them is zero.
        length: how many it needs.
    """
    weight = columns["weight"]
    first = _first_with_weight(weight, rows)
    if weight is None:
        weight = np.ones(rows, float_dtype())

    def longer(value: Any) -> Any:
        shape = (length - rows, *value.shape[1:])
        if rows and isinstance(value, StoredRows):
            return value[np.concatenate([np.arange(rows), np.full(length - rows, first)])]
        copies = np.broadcast_to(value[first], shape) if rows else np.zeros(shape, value.dtype)
        return np.concatenate([value, copies])

    filled = {name: None if value is None else longer(value) for name, value in columns.items()}
    return {**filled, "weight": np.concatenate([weight, np.zeros(length - rows, weight.dtype)])}


def _one_axis(mesh: Mesh) -> Mesh:
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}")
    if mesh.axis_types != (AxisType.Auto,):
        axes = zip(mesh.axis_names, mesh.axis_types, strict=True)
        raise CoalaError(
            f"mesh has the axes {', '.join(f'{name!r} ({kind})' for name, kind in axes)}: rows are "
            "split over one axis of AxisType.Auto; give jax.sharding.Mesh(devices, ('rows',), "
            "axis_types=(jax.sharding.AxisType.Auto,))"
        )
    return mesh


def _on_host(name: str, value: Any) -> np.ndarray | StoredRows | None:
    if value is None or isinstance(value, StoredRows):
        return value
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise TypeError(f"features.{name} must be a jax or numpy array, got {type(value).__name__}")
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        raise CoalaError(
            f"features.{name} lies on devices of other processes already: give the rows of this "
            "process alone"
        )
    host = np.asarray(value)
    return host.astype(float_dtype()) if name in ("weight", "margin") else host


def _told_by_all(own: Holding) -> list[Holding]:
    """The parts of all processes; all get the same, and so raise the same errors.

    Raises:
        ValueError: pairs in some and groups in others; the same in all.
    """
    told = told_by_all([own.rows, own.devices, own.columns, own.first])
    if len({frozenset(columns) for _, _, columns, _ in told}) > 1:
        raise CoalaError(
            f"features are pairs in some of the {len(told)} processes and groups in others: give "
            "all of them PreferenceFeatures, or all of them GroupFeatures"
        )
    parts = []
    for rows, devices, columns, first in told:
        kinds = {name: kind and (tuple(kind[0]), kind[1]) for name, kind in columns.items()}
        parts.append(Holding(rows, devices, kinds, first))
    return parts


def _members(parts: Sequence[Holding]) -> set[int]:
    """How many members groups have in the processes; nothing of pairs.

    Raises:
        ValueError: groups of another shape than (n, k, d).
    """
    shapes = [kind[0] for part in parts if (kind := part.columns.get("responses"))]
    for shape in shapes:
        if len(shape) != 2:
            raise CoalaError(
                "features.responses must be (n, k, d), k responses to each of n prompts; got rows "
                f"of {shape}"
            )
    return {shape[0] for shape in shapes}


def _with_members(name: str, value: np.ndarray | None, members: int) -> np.ndarray | None:
    """As many members a group as any process has; those added are masked out."""
    if value is None or value.ndim == 1:
        return value
    missing = members - value.shape[1]
    return np.pad(value, [(0, 0), (0, missing), *[(0, 0)] * (value.ndim - 2)])
