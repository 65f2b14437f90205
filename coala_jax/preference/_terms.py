"""The terms of rewards, neurons and a linear path, as differences of what answers one prompt.

Of a pair the two sides' difference; of a group what each member has beyond the mean of its group.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._advantages import less_group_mean
from coala_jax._group_inputs import Arrays, GroupArrays, map_arrays
from coala_jax._head import Head, reward_terms, term_weights
from coala_jax._inputs import PairArrays
from coala_jax._roundoff import unit_roundoff

# A neuron is unsure where its differences are known to this share of them only (root mean square):
# a second-layer weight of t then makes the excess uncertain by (beta t 1e-3)^2 / 8, a hundredth of
# its tolerance at logits of 1. Those of usual features are known to 1e-6.
_UNSURE = 1e-3


def term_differences(head: Head, arrays: Arrays) -> jax.Array:
    """`neuron_differences` with those of a linear path: (n, k) or (n, k + 1), or (n, g, k ...)."""
    neurons = neuron_differences(head, arrays)
    if head.linear is None:
        return neurons
    return jnp.concatenate([neurons, path_difference(head, arrays)[..., None]], axis=-1)


def terms_by_side(head: Head, arrays: Arrays) -> tuple[jax.Array, ...]:
    """`reward_terms` of chosen and of rejected responses, (n, k) each, or of groups (n, g, k)."""

    def of_some(arrays: Arrays) -> tuple[jax.Array, ...]:
        return tuple(reward_terms(head, side) for side in arrays.responses_by_side)

    return map_arrays(of_some, arrays)


def path_difference(head: Head, arrays: Arrays) -> jax.Array:
    """(chosen - rejected) linear of a head that has a linear path: (n,), or (n, g) of groups."""
    linear = head.linear
    assert linear is not None

    def of_some(arrays: Arrays) -> jax.Array:
        one, other = _sides(arrays)
        return _beyond_mean(arrays, jnp.matmul(one - other, linear, precision="highest"))

    return map_arrays(of_some, arrays)


def neuron_differences(head: Head, arrays: Arrays) -> jax.Array:
    """Differences of the first-layer outputs of the sides: (n, k), or (n, g, k) of groups.

    A neuron that sees both is linear between them, and their outputs may agree in most digits: the
    difference of the features does not cancel.
    """

    def of_some(arrays: Arrays) -> jax.Array:
        one, other = _sides(arrays)
        chosen, rejected = head.neurons(one), head.neurons(other)
        step = jnp.matmul(one - other, head.theta1, precision="highest")
        both = (chosen != 0) & (rejected != 0)
        return _beyond_mean(arrays, jnp.where(both, step, chosen - rejected))

    return map_arrays(of_some, arrays)


def difference_rounding(head: Head, arrays: Arrays) -> jax.Array:
    """What one rounding of each of its terms may put `neuron_differences` off by."""
    return map_arrays(lambda some: _rounding(head, some), arrays)


def _rounding(head: Head, arrays: Arrays) -> jax.Array:
    sides = _sides(arrays)
    chosen, rejected = map(head.neurons, sides)
    theta1, bias = jnp.abs(head.theta1), jnp.abs(head.bias)
    step = jnp.abs(sides[0] - sides[1]) @ theta1
    one, other = (
        jnp.where(outputs != 0, jnp.abs(side - head.center) @ theta1 + bias, 0)
        for side, outputs in zip(sides, (chosen, rejected), strict=True)
    )
    both = (chosen != 0) & (rejected != 0)
    size = jnp.where(both, step, one + other)
    if isinstance(arrays, GroupArrays):
        size = size + jnp.mean(size, axis=1, keepdims=True)
    return unit_roundoff(step.dtype) * size


def balanced_terms(head: Head, arrays: Arrays) -> tuple[Head, jax.Array]:
    """`balance_neurons`, with a linear path of unit spread too, and the weights of the terms.

    A path whose differences over the pairs are rounding, or none, has weight 0.
    """
    head = balance_neurons(head, arrays)
    if head.linear is None:
        return head, term_weights(head)
    spread = _spread(arrays, path_difference(head, arrays)[..., None])[0]
    sizes = map_arrays(lambda some: _path_sizes(head, some), arrays)
    rounding = unit_roundoff(sizes.dtype) * lax.stop_gradient(sizes)
    sure = _spread(arrays, rounding[..., None])[0] <= _UNSURE * spread
    used = sure & (spread > 0)
    linear = jnp.where(used, head.linear / jnp.where(used, spread, 1), 0)
    return head._replace(linear=linear), jnp.append(head.theta2, jnp.where(used, spread, 0))


def _path_sizes(head: Head, arrays: Arrays) -> jax.Array:
    """Sums of the magnitudes of a path's terms: (n,), or (n, g) of groups."""
    assert head.linear is not None
    one, other = _sides(arrays)
    return jnp.abs(one - other) @ jnp.abs(head.linear)


def balance_neurons(head: Head, arrays: Arrays) -> Head:
    """The head with every neuron's reward difference at unit root mean square.

    Of groups over all pairs of members, each group as much as its weight. relu is positively
    homogeneous, so a neuron's scale can move between the layers, and the function stays the same
    but for two kinds of neurons. One without any difference over the pairs keeps its scale and gets
    theta2 = 0. One whose terms cancel until its differences are rounding is zero altogether: on the
    next device, or in a wider type, it would be another.
    """
    spread = _spread(arrays, neuron_differences(head, arrays))
    rounding = lax.stop_gradient(difference_rounding(head, arrays))
    differs = spread > 0
    unsure = differs & (_spread(arrays, rounding) > _UNSURE * spread)
    scale = jnp.where(differs, spread, 1)
    return head._replace(
        theta1=jnp.where(unsure, 0, head.theta1 / scale),
        bias=jnp.where(unsure, 0, head.bias / scale),
        theta2=jnp.where(differs & ~unsure, head.theta2 * scale, 0),
    )


def _sides(arrays: Arrays) -> tuple[jax.Array, jax.Array]:
    """Chosen and rejected responses; of groups all members and the first: (n, g, d), (n, 1, d)."""
    if isinstance(arrays, PairArrays):
        return arrays.chosen, arrays.rejected
    return arrays.responses, arrays.responses[:, :1]


def _beyond_mean(arrays: Arrays, differences: jax.Array) -> jax.Array:
    """Of groups, differences to the first member less their mean over the group: (n, g, ...)."""
    if isinstance(arrays, PairArrays):
        return differences
    return less_group_mean(differences, arrays.member)


def _spread(arrays: Arrays, differences: jax.Array) -> jax.Array:
    """Root mean square of differences of pairs, (n, k) -> (k,), with gradient zero where it is.

    Of groups, (n, g, k), that over the pairs of members: 2 / (g - 1) times the squares of what they
    have beyond the mean.
    """
    weight = arrays.weight
    if isinstance(arrays, GroupArrays):
        count = jnp.maximum(jnp.sum(arrays.member, axis=1, keepdims=True), 2)
        by_member = 2 * arrays.member.shape[1] / (count - 1) * arrays.member_weight
        weight, differences = by_member.ravel(), differences.reshape(-1, differences.shape[-1])
    weight = weight[:, None]
    # In units of the largest one no square overflows or vanishes.
    largest = jnp.max(jnp.abs(jnp.where(weight > 0, differences, 0)), axis=0)
    unit = lax.stop_gradient(jnp.where(largest > 0, largest, 1))
    square = jnp.mean(weight * (differences / unit) ** 2, axis=0)
    return jnp.where(square > 0, unit * jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
