"""Checks of groups, and which features a loss takes: `prepare_for`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._advantages import advantages, behind_best, rank_levels, softmax_target
from coala_jax._errors import CoalaError
from coala_jax._inputs import (
    PairArrays,
    as_array,
    float_features,
    per_row,
    prepare_features,
    require_array,
    taken,
)
from coala_jax._relative_weights import over_their_mean
from coala_jax._row_blocks import as_bits, from_bits, map_blocks, max_blocks, sum_blocks
from coala_jax._row_mesh import RowMesh, row_mesh_of
from coala_jax._types import Config, Features, GroupFeatures, Params, float_dtype
from coala_jax.losses import LOSSES

_FEWEST_GROUPS, _FEWEST_MEMBERS = 2, 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GroupArrays:
    """`GroupFeatures` after the checks, in the solver's dtype.

    Attributes:
        responses: (n, k, d).
        scores: (n, k), less the best of each group; 0 where no member is.
        level: (n, k) how many different scores of its group are above each, which casting scores to
            the solver's dtype may not keep.
        member: (n, k) 1 or 0.
        weight: (n,) of mean 1; 0 for groups without two members of different scores.
        mesh: where the rows lie, None on one device; static.
        compact: whether the responses have the dtype that they came in; static.
    """

    responses: jax.Array
    scores: jax.Array
    level: jax.Array
    member: jax.Array
    weight: jax.Array
    mesh: RowMesh | None = dataclasses.field(default=None, metadata={"static": True})
    compact: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def width(self) -> int:
        """Number d of features."""
        return self.responses.shape[2]

    @property
    def responses_by_side(self) -> tuple[jax.Array]:
        """The responses: there are no sides."""
        return (self.responses,)

    @property
    def raw_rows(self) -> jax.Array:
        """(m, d) m = n k: the members of the first group, then those of the second, and so on."""
        return self.responses.reshape(-1, self.width)

    @property
    def rows(self) -> jax.Array:
        """`raw_rows`, where a group without weight stands as a copy of the first that has some.

        A copy has no part in the extremes of the rows; members that are missing are copies already.
        """
        counts = self.weight > 0
        first = taken(self.responses[:, 0], jnp.argmax(counts))
        return jnp.where(counts[:, None, None], self.responses, first).reshape(-1, self.width)

    @property
    def member_weight(self) -> jax.Array:
        """(n, k) weight of each member in the loss, that of its group; 0 where none is."""
        return self.weight[:, None] * self.member

    @property
    def row_weight(self) -> jax.Array:
        """(m,) weights of the rows, of mean 1."""
        weight = self.member_weight.reshape(-1)
        return weight / jnp.mean(weight)


Arrays: TypeAlias = PairArrays | GroupArrays
Tree = TypeVar("Tree")


def prepare_for(config: Config, features: Features, name: str = "features") -> Arrays:
    """`PairArrays`, or `GroupArrays`, as the Phase I loss of a configuration takes them.

    Args:
        config: `phase1_loss` and `rows` are read.
        features: what the caller passed.
        name: how the caller calls it, for messages.

    Raises:
        TypeError, ValueError: as `prepare_features` has it; groups with a loss of pairs or of
            single responses, pairs with margins and a loss of groups.
    """
    grouped, compact = config.loss.grouped, config.rows == "compact"
    if isinstance(features, GroupFeatures):
        if not grouped:
            known = ", ".join(key for key, loss in LOSSES.items() if loss.grouped)
            raise CoalaError(
                f"{name} are groups, and Config(phase1_loss={config.phase1_loss!r}) is of "
                f"{'pairs' if config.loss.pairwise else 'single responses'}: give a Config with "
                f"one of {known}"
            )
        return prepare_groups(features, name, compact=compact)
    pairs = prepare_features(features, name, compact=compact)
    if grouped and features.margin is not None:
        raise CoalaError(
            f"{name}.margin is read by losses of pairs, and phase1_loss={config.phase1_loss!r} is "
            "of groups: give GroupFeatures with scores instead"
        )
    return pairs


def prepare_both(
    config: Config, features: Features, eval_features: Features | None
) -> tuple[Arrays, Arrays | None]:
    """Training and held-out features by `prepare_for`; None where there are no held-out ones."""
    prepared = prepare_for(config, features)
    if eval_features is None:
        return prepared, None
    return prepared, prepare_for(config, eval_features, "eval_features")


def prepare_groups(
    features: GroupFeatures, name: str = "features", *, compact: bool = False
) -> GroupArrays:
    """Check shapes and dtypes, cast to the solver's dtype, fill what is missing.

    Args:
        features: what the caller passed.
        name: how the caller calls it, for messages.
        compact: whether responses keep a narrower dtype than the solver's.

    Raises:
        TypeError: arrays that are not floating point, or no arrays.
        ValueError: shapes that do not fit, fewer than two groups or members; scores and ranks, or
            neither; groups of which none says anything (where values are known).
    """
    responses = float_features(f"{name}.responses", features.responses, compact=compact)
    member, scores, level, says = require_some_group(features, name)
    if features.mask is not None:
        first = jnp.argmax(member, axis=1)
        filling = jnp.take_along_axis(responses, first[:, None, None], axis=1)
        filling = jnp.where(jnp.any(member, axis=1)[:, None, None], filling, 0)
        responses = jnp.where(member[:, :, None], responses, filling)
    groups = len(responses)
    weight = jnp.ones(groups, float_dtype())
    if features.weight is not None:
        weight = per_row(f"{name}.weight", features.weight, groups, "group")
    weight = over_their_mean(jnp.where(says, weight, 0), float_dtype())
    member, mesh = member.astype(weight.dtype), row_mesh_of(features.responses)
    return GroupArrays(responses, scores, level, member, weight, mesh, compact)


def fitted_arrays(config: Config, arrays: Arrays) -> Arrays:
    """The arrays as the loss sees them: pairs as groups of two where it is of groups."""
    return as_groups(arrays) if config.loss.grouped else arrays


def as_groups(arrays: Arrays) -> GroupArrays:
    """Groups as they are, pairs as groups of two of which the first is the better."""
    if isinstance(arrays, GroupArrays):
        return arrays
    responses = jnp.stack([arrays.chosen, arrays.rejected], axis=1)
    scores = jnp.tile(jnp.array([0, -1], arrays.weight.dtype), (len(responses), 1))
    ones = jnp.ones_like(scores)
    kind = (arrays.mesh, arrays.compact)
    return GroupArrays(responses, scores, -scores, ones, arrays.weight, *kind)


def map_arrays(function: Callable[[Arrays], Tree], arrays: Arrays) -> Tree:
    """A function of pairs or groups in the solver's dtype, block by block where they are compact.

    Args:
        function: of some n of them to a pytree of (n c, ...) arrays, for any c.
        arrays: all of them.
    """
    return _by_block(map_blocks, function, arrays, ())


def sum_arrays(function: Callable[..., Tree], arrays: Arrays, *values: jax.Array) -> Tree:
    """A function of some pairs or groups, summed over all, block by block where they are compact.

    Args:
        function: of some n of them, and of what belongs to these, to a pytree that adds up.
        arrays: all of them.
        values: arrays whose first axis is theirs.
    """
    return _by_block(sum_blocks, function, arrays, values)


def max_arrays(function: Callable[..., Tree], arrays: Arrays, *values: jax.Array) -> Tree:
    """The largest values of a function of some pairs or groups; arguments as above."""
    return _by_block(max_blocks, function, arrays, values)


def _by_block(
    over_blocks: Callable[..., Any],
    function: Callable[..., Tree],
    arrays: Arrays,
    values: tuple[jax.Array, ...],
) -> Tree:
    if not arrays.compact:
        return function(arrays, *values)
    dtype = arrays.weight.dtype

    def of_block(block: Arrays, *some: jax.Array) -> Tree:
        floats = jax.tree.map(lambda leaf, whole: from_bits(leaf, whole.dtype), block, arrays)
        wide = jax.tree.map(lambda leaf: leaf.astype(dtype), floats)
        return function(dataclasses.replace(wide, mesh=None, compact=False), *some)

    width = sum(math.prod(side.shape[1:]) for side in arrays.responses_by_side)
    blocks = jax.tree.map(as_bits, arrays)
    found: Tree = over_blocks(of_block, arrays.mesh, blocks, *values, width=width)
    return found


class ScoredGroups(NamedTuple):
    """Members of n groups and what is known of them.

    Attributes:
        member: (n, k) booleans.
        scores: (n, k), less the best of each group.
        level: (n, k) how many different scores of its group are above each.
        says: (n,) booleans, whether two of its members have different scores.
    """

    member: jax.Array
    scores: jax.Array
    level: jax.Array
    says: jax.Array

    def alone(self) -> int:
        """How many groups have fewer than two members."""
        return int((jnp.sum(self.member, axis=1) < _FEWEST_MEMBERS).sum())


def scored_groups(features: GroupFeatures, name: str = "features") -> ScoredGroups:
    """The members and scores of any number of groups, none of which need say anything.

    Raises:
        TypeError, ValueError: as `prepare_groups` has it, but for too few groups or members and
            for groups that say nothing.
    """
    shape = _shape(name, features.responses)
    mask = _mask(name, features.mask, shape)
    member, (scores, level) = jnp.asarray(mask), _scores(name, features, mask, shape)
    says = jnp.any(level > 0, axis=1) | jnp.any(jnp.isnan(scores), axis=1)
    return ScoredGroups(member, scores, level, says)


def require_some_group(features: GroupFeatures, name: str = "features") -> ScoredGroups:
    """`scored_groups` of which some say something.

    Raises:
        TypeError, ValueError: as `prepare_groups` has it. That no group says anything can be seen
            where values are known alone: under jit its weights become NaN.
    """
    _shape(name, features.responses)
    require_enough_groups(name, *features.responses.shape)
    found = scored_groups(features, name)
    if not isinstance(found.says, jax.core.Tracer):
        require_telling_groups(name, len(found.says), found.alone(), bool(found.says.any()))
    return found


def require_enough_groups(name: str, groups: int, members: int, width: int) -> None:
    """Raise a ValueError for fewer than two groups or members, or no feature."""
    if groups < _FEWEST_GROUPS or members < _FEWEST_MEMBERS or width < 1:
        raise CoalaError(
            f"{name} holds {groups} groups of {members} responses of {width} features; at least "
            f"{_FEWEST_GROUPS} groups of {_FEWEST_MEMBERS} and one feature are needed"
        )


def require_telling_groups(name: str, groups: int, alone: int, any_says: bool) -> None:
    """Raise a ValueError where no group says anything.

    Args:
        name: how the caller calls them.
        groups: how many there are.
        alone: how many of them have fewer than two members.
        any_says: whether one has two members of different scores.
    """
    if not any_says:
        raise CoalaError(
            f"{name}: nothing to learn: of {groups} groups {alone} have fewer than two members and "
            f"{groups - alone} the same score for all of theirs"
        )


def group_targets(config: Config, arrays: Arrays, params: Params) -> tuple[jax.Array, jax.Array]:
    """Labels of a loss of groups, and weights: (n, k) each.

    Of pairs the order alone is known: all of a target is on the chosen response, and advantages
    are those of the scores 1 and 0.

    Args:
        config: `phase1_loss` and `advantage` are read.
        arrays: groups, or pairs.
        params: `temperature` is read.
    """
    of_pairs = isinstance(arrays, PairArrays)
    temperature = jnp.zeros_like(params.temperature) if of_pairs else params.temperature
    arrays = as_groups(arrays)
    weight, member = arrays.member_weight, arrays.member > 0
    if config.loss.labels == "levels":
        return arrays.level, weight
    scores = -arrays.level if config.advantage == "rank" else arrays.scores
    if config.loss.labels == "shares":
        behind = behind_best(scores, member, config.advantage)
        return softmax_target(behind, arrays.level == 0, member, temperature), weight
    return advantages(scores, member, config.advantage), weight


def _shape(name: str, responses: Any) -> tuple[int, int]:
    """Numbers of groups and of their members."""
    require_array(f"{name}.responses", responses)
    if len(responses.shape) != 3:
        raise CoalaError(
            f"{name}.responses must be (n, k, d), k responses to each of n prompts; got "
            f"{responses.shape}"
        )
    groups, members, _ = responses.shape
    return groups, members


def _mask(name: str, value: Any, shape: tuple[int, ...]) -> Any:
    """(n, k) booleans."""
    if value is None:
        return np.ones(shape, bool)
    if not hasattr(value, "dtype") or value.dtype != bool:
        kind = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{name}.mask must be an array of booleans, got {kind}")
    if value.shape != shape:
        raise CoalaError(f"{name}.mask must have one value a response, {shape}; got {value.shape}")
    return as_array(f"{name}.mask", value) if isinstance(value, jax.Array) else value


def _scores(
    name: str, features: GroupFeatures, mask: Any, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Scores less the best of their group, and their levels, in the precision that they came in."""
    given = {"scores": features.scores, "ranks": features.ranks}
    known = [key for key, value in given.items() if value is not None]
    if len(known) != 1:
        raise CoalaError(
            f"{name}: give one of scores and ranks, got {' and '.join(known) or 'none'}"
        )
    value: Any = given[known[0]]
    where = f"{name}.{known[0]}"
    require_array(where, value)
    if value.shape != shape:
        raise CoalaError(f"{where} must have one value a response, {shape}; got {value.shape}")
    if not (jnp.issubdtype(value.dtype, jnp.floating) or jnp.issubdtype(value.dtype, jnp.integer)):
        some = f", such as {value.flat[0]!r}" if isinstance(value, np.ndarray) else ""
        raise TypeError(
            f"{where} has dtype {value.dtype}{some}: scores and ranks are numbers; give them as "
            "floats or integers"
        )
    wide: Any = as_array(where, value) if isinstance(value, jax.Array) else np.asarray(value)
    plain: Any = jnp if isinstance(wide, jax.Array) or isinstance(mask, jax.Array) else np
    wide = plain.asarray(wide)
    are_integers = jnp.issubdtype(wide.dtype, jnp.integer)
    if not are_integers and wide.dtype.itemsize < float_dtype().itemsize:
        wide = wide.astype(float_dtype())
    if known[0] == "ranks":
        wide = ~wide if are_integers else -wide  # the least integer has no negative
    level = plain.where(mask, rank_levels(wide, mask), 0)
    first = plain.argmin(plain.where(mask, level, shape[1]), axis=1)
    best = plain.take_along_axis(wide, first[:, None], axis=1)
    if are_integers:
        # Differences of integers may be beyond their type, but not beyond the unsigned one.
        unsigned = jnp.dtype(f"uint{8 * wide.dtype.itemsize}")
        ahead = best.astype(unsigned) - wide.astype(unsigned)
        behind = -ahead.astype(float_dtype())
    else:
        behind = wide - best
    behind = plain.where(mask, behind, 0)
    return jnp.asarray(behind, float_dtype()), jnp.asarray(level, float_dtype())
