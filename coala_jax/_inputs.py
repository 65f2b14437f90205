"""Checks of what a caller passes in: shapes and dtypes raise, bad values give a status."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from coala_jax._errors import CoalaError
from coala_jax._relative_weights import over_their_mean
from coala_jax._row_mesh import RowMesh, row_mesh_of
from coala_jax._status import Status
from coala_jax._types import Params, PreferenceFeatures, float_dtype

# Standardisation needs a spread, and a held-out pair something to be held out from.
_FEWEST_PAIRS = 2
_DEFAULT_SEED = 0

_POSITIVE_LEAVES = ("rho", "linear_ridge", "beta", "ridge", "learning_rate")
_NON_NEGATIVE_LEAVES = (
    "group_lasso",
    "weight_decay",
    "gap_tolerance",
    "violation_tolerance",
    "residual_tolerance",
    "explained_minimum",
    "excess_tolerance",
    "temperature",
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairArrays:
    """`PreferenceFeatures` after the checks: (n, d), (n, d), (n,), (n,) in the solver's dtype.

    Attributes:
        chosen, rejected, weight, margin: of the pairs.
        mesh: where the rows lie, None on one device; static.
        compact: whether the responses have the dtype that they came in; static.
    """

    chosen: jax.Array
    rejected: jax.Array
    weight: jax.Array
    margin: jax.Array
    mesh: RowMesh | None = dataclasses.field(default=None, metadata={"static": True})
    compact: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def width(self) -> int:
        """Number d of features."""
        return self.chosen.shape[1]

    @property
    def responses_by_side(self) -> tuple[jax.Array, jax.Array]:
        """Chosen and rejected responses."""
        return self.chosen, self.rejected

    @property
    def raw_rows(self) -> jax.Array:
        """(m, d) rows as they came, those of pairs without weight too."""
        return beside(self.chosen, self.rejected)

    @property
    def rows(self) -> jax.Array:
        """(m, d) the chosen response of every pair, and behind each the rejected one.

        A pair without weight stands as a copy of the first one that has some: of extremes of the
        rows it then has no part, of sums its weight has none.
        """
        counts = self.weight > 0
        first = jnp.argmax(counts)
        sides = (self.chosen, self.rejected)
        return beside(*(jnp.where(counts[:, None], x, taken(x, first)) for x in sides))

    @property
    def row_weight(self) -> jax.Array:
        """(m,) weight of each of the rows, that of its pair."""
        return jnp.repeat(self.weight, 2)


def taken(values: jax.Array, place: jax.Array) -> jax.Array:
    """`values[place]` as a sum, to which every device adds its own part: (n, ...) -> (...)."""
    here = jnp.arange(len(values)) == place
    return jnp.sum(jnp.where(here.reshape(-1, *(1,) * (values.ndim - 1)), values, 0), axis=0)


def beside(chosen: jax.Array, rejected: jax.Array) -> jax.Array:
    """What belongs to the rows of a pair beside each other: (n, ...) twice -> (2n, ...).

    Pairs that are split over devices then stay where they are.
    """
    return jnp.stack([chosen, rejected], axis=1).reshape(-1, *chosen.shape[1:])


def prepare_features(
    features: PreferenceFeatures, name: str = "features", *, compact: bool = False
) -> PairArrays:
    """Check shapes and dtypes and cast to the solver's dtype, filling weight and margin.

    Args:
        features: what the caller passed.
        name: how the caller calls it, for messages.
        compact: whether features keep a narrower dtype than the solver's.

    Returns:
        All four arrays in float32 (float64 under x64); weights divided by their mean, all NaN
        where one is below zero or none above it.

    Raises:
        TypeError: not `PreferenceFeatures`, or arrays that are not floating point.
        ValueError: shapes that do not fit, no features, or fewer than two pairs; arrays that are
            split over explicit axes of a mesh.
    """
    if not isinstance(features, PreferenceFeatures):
        raise TypeError(
            f"{name} must be coala_jax.PreferenceFeatures(chosen, rejected) or GroupFeatures, "
            f"got {type(features).__name__}"
        )
    chosen = float_features(f"{name}.chosen", features.chosen, compact=compact)
    rejected = float_features(f"{name}.rejected", features.rejected, compact=compact)
    if chosen.dtype != rejected.dtype:  # compact rows have one
        both = jnp.promote_types(chosen.dtype, rejected.dtype)
        chosen, rejected = chosen.astype(both), rejected.astype(both)
    if chosen.ndim != 2 or chosen.shape != rejected.shape:
        raise CoalaError(
            f"{name}.chosen and {name}.rejected must both be (n, d) with row j of each answering "
            f"the same prompt; got {chosen.shape} and {rejected.shape}"
        )
    pairs, width = chosen.shape
    if pairs < _FEWEST_PAIRS or width < 1:
        raise CoalaError(
            f"{name} holds {pairs} pairs of {width} features; at least {_FEWEST_PAIRS} pairs and "
            "one feature are needed"
        )
    weight, margin = jnp.ones(pairs, float_dtype()), jnp.zeros(pairs, float_dtype())
    if features.weight is not None:
        weight = over_their_mean(per_row(f"{name}.weight", features.weight, pairs), weight.dtype)
    if features.margin is not None:
        margin = per_row(f"{name}.margin", features.margin, pairs).astype(margin.dtype)
    mesh = row_mesh_of(features.chosen)
    return PairArrays(chosen, rejected, weight, margin, mesh, compact)


def input_status(params: Params, features: Any, others: Any = None) -> jax.Array:
    """int32 `Status` of prepared features and parameters: SOLVED where nothing is wrong.

    Args:
        params: prepared.
        features: prepared.
        others: arrays that must be finite too: gates or a head.
    """
    finite = jnp.array(True)
    for array in jax.tree.leaves((features, others)):
        finite = finite & jnp.isfinite(array).all()
    positive, bounded = (
        np.array([name in names for name in Params._fields])
        for names in (_POSITIVE_LEAVES, _POSITIVE_LEAVES + _NON_NEGATIVE_LEAVES)
    )
    leaves = jnp.stack(params)
    valid = jnp.isfinite(leaves) & ((leaves > 0) | ~positive) & ((leaves >= 0) | ~bounded)
    status = jnp.where(valid.all(), Status.SOLVED, Status.INVALID_PARAMETER)
    return jnp.where(finite, status, Status.NOT_FINITE_INPUT).astype(jnp.int32)


def prepare_params(params: Params) -> Params:
    """Every leaf as a scalar in the solver's dtype.

    Raises:
        TypeError: not `Params`, or a leaf that is no number.
        ValueError: a leaf that is not a scalar, naming it.
    """
    require_kind("params", params, Params)
    leaves = []
    for name, leaf in params._asdict().items():
        if leaf is None or isinstance(leaf, str | dict):
            raise TypeError(f"params.{name} must be a number, got {leaf!r}")
        array = jnp.asarray(leaf, float_dtype())
        if array.ndim:
            raise CoalaError(
                f"params.{name} must be a scalar, got shape {array.shape}: use jax.vmap over "
                "solve to sweep it"
            )
        leaves.append(array)
    return Params(*leaves)


def require_kind(name: str, value: Any, kind: type) -> None:
    """Raise a TypeError where an argument is not of a class that `coala_jax` has."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be coala_jax.{kind.__name__}, got {type(value).__name__}")


def require_array(name: str, value: Any) -> None:
    """Raise a TypeError where an argument is no array."""
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise TypeError(f"{name} must be a jax or numpy array, got {type(value).__name__}")


def key_or_default(key: jax.Array | None) -> jax.Array:
    """The key as it is; `jax.random.key(0)` for None.

    Raises:
        TypeError: a number, which is the seed of a key.
    """
    if key is not None and not hasattr(key, "dtype"):
        raise TypeError(f"key must be a typed key, got {key!r}: give jax.random.key({key!r})")
    return jax.random.key(_DEFAULT_SEED) if key is None else key


def float_features(name: str, value: Any, *, compact: bool = False) -> jax.Array:
    """An array of floats in the solver's dtype; a TypeError for what is none.

    Args:
        name: how the caller calls it.
        value: the array.
        compact: whether it keeps a narrower dtype.
    """
    require_array(name, value)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(
            f"{name} has dtype {value.dtype}: features are floating point; "
            f"cast with .astype('float32') if these numbers are features"
        )
    array = as_array(name, value)
    narrower = array.dtype.itemsize < float_dtype().itemsize
    return array if compact and narrower else array.astype(float_dtype())


def as_array(name: str, value: Any, dtype: Any = None) -> jax.Array:
    """The value as a jax array, of its own dtype if none is given.

    Raises:
        ValueError: it is split over an explicit axis of a mesh. What such an axis wants, the
            sharding of every operation's result by name, the solver leaves to the compiler.
    """
    if isinstance(value, jax.Array):
        sharding = jax.typeof(value).sharding
        types = dict(zip(sharding.mesh.axis_names, sharding.mesh.axis_types, strict=True))
        axes = [
            axis for part in sharding.spec for axis in (part if type(part) is tuple else [part])
        ]
        if explicit := [axis for axis in axes if types.get(axis) == AxisType.Explicit]:
            raise CoalaError(
                f"{name} is split over the mesh axis {explicit[0]!r}, which is explicit: make the "
                "mesh with axis_types=(jax.sharding.AxisType.Auto,) for each of its axes"
            )
    return jnp.asarray(value, dtype)


def gate_vectors(name: str, value: Any, width: int) -> jax.Array:
    """(P, width) gates in the solver's dtype, P >= 1; a ValueError for another shape."""
    array = as_array(name, value, float_dtype())
    if array.ndim != 2 or array.shape[1] != width or not array.size:
        raise CoalaError(
            f"{name} must be (P, {width}): one column a standardised feature and one for the bias; "
            f"got {array.shape}"
        )
    return array


def per_row(name: str, value: Any, rows: int, row: str = "pair") -> jax.Array:
    """(rows,) values; a ValueError for another shape, which says of what a row is."""
    array = as_array(name, value)
    if array.shape != (rows,):
        raise CoalaError(f"{name} must have one value a {row}, ({rows},); got {array.shape}")
    return array
