"""The reward heads: two-layer networks on raw backbone features."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._errors import CoalaError


class HeadError(CoalaError):
    """A head that cannot be used."""


class ConvexHead(NamedTuple):
    """Reward head relu(c theta1 + bias) theta2 + c linear, c = x - center (eq 2); a pytree.

    The centre is subtracted and not folded into the bias: the product with it is large where a
    column's mean is many times its spread, and its rounding would be the reward.

    Attributes:
        theta1: (d, k) first layer, the scale of the features folded in.
        bias: (k,) first-layer bias.
        theta2: (k,) second layer. A zero neuron has zeros in all three.
        center: (d,) where the features are centred; zeros in a head of no centre.
        linear: (d,) weights of the linear path; None in a head without one.

    Arrays of one floating dtype: of the solver where `solve` gave them, of the file, in numpy,
    where `load_head` did.

    Raises:
        CoalaError: where it is called, features of another width than d.

    Example:
        >>> import numpy as np
        >>> from coala_jax import ConvexHead
        >>> head = ConvexHead(np.eye(4), np.zeros(4), np.array([1.0, 1, -1, -1]), np.zeros(4))
        >>> head(np.array([[1.0, -2, 3, 0], [2, 2, 0, 0]])).tolist()
        [-2.0, 4.0]
        >>> head.neurons(np.array([1.0, -2, 3, 0])).tolist()
        [1.0, 0.0, 3.0, 0.0]
    """

    theta1: jax.Array | np.ndarray
    bias: jax.Array | np.ndarray
    theta2: jax.Array | np.ndarray
    center: jax.Array | np.ndarray
    linear: jax.Array | np.ndarray | None = None

    def neurons(self, features: jax.Array | np.ndarray) -> jax.Array:
        """First-layer outputs of raw features: (..., d) -> (..., k)."""
        return jax.nn.relu(_layer(_centred(features, self), self.theta1, self.bias))

    def __call__(self, features: jax.Array | np.ndarray) -> jax.Array:
        """Rewards of raw features: (..., d) -> (...). Computed in the head's own dtype."""
        return _reward(self, features)


class GatedHead(NamedTuple):
    """Reward head (1(c gates + gate_bias >= 0) * (c theta1 + bias)) theta2 + c linear.

    A gated neuron (Mishkin et al. 2022) is switched by its gate and not by its own sign, so its
    weights are not those of a ReLU network; `coala_jax.decompose_gated` makes one of them.

    Attributes:
        theta1, bias, theta2: as a `ConvexHead` has them.
        gates: (d, k) gate vectors, the scale of the features folded in.
        gate_bias: (k,) their offsets.
        center, linear: as a `ConvexHead` has them; c = x - center.

    Raises:
        CoalaError: where it is called, features of another width than d.

    Example:
        >>> import numpy as np
        >>> from coala_jax import GatedHead
        >>> zeros = np.zeros(4)
        >>> head = GatedHead(np.eye(4), zeros, np.ones(4), -np.eye(4), zeros, zeros)
        >>> head(np.array([1.0, -2, 3, 0])).tolist()  # open where the feature is below 0
        -2.0
    """

    theta1: jax.Array | np.ndarray
    bias: jax.Array | np.ndarray
    theta2: jax.Array | np.ndarray
    gates: jax.Array | np.ndarray
    gate_bias: jax.Array | np.ndarray
    center: jax.Array | np.ndarray
    linear: jax.Array | np.ndarray | None = None

    def neurons(self, features: jax.Array | np.ndarray) -> jax.Array:
        """First-layer outputs of raw features, 0 behind a closed gate: (..., d) -> (..., k)."""
        centred = _centred(features, self)
        opened = _layer(centred, self.gates, self.gate_bias) >= 0
        return jnp.where(opened, _layer(centred, self.theta1, self.bias), 0)

    def __call__(self, features: jax.Array | np.ndarray) -> jax.Array:
        """Rewards, as those of a `ConvexHead`."""
        return _reward(self, features)


Head: TypeAlias = ConvexHead | GatedHead
KINDS = (ConvexHead, GatedHead)


def _centred(features: jax.Array | np.ndarray, head: Head) -> jax.Array:
    """Features less the head's centre, in the dtype of its weights: (..., d) -> (..., d)."""
    width = head.theta1.shape[-2]
    if features.shape[-1] != width:
        raise CoalaError(
            f"features have {features.shape[-1]} columns, the head was made for {width}: "
            "use the backbone, layer and pooling that it was trained on"
        )
    # The wider dtype of the two subtracts: what is left may be small beside the features.
    centred = jnp.asarray(features) - jnp.asarray(head.center)
    return centred.astype(jnp.asarray(head.theta1).dtype)


def _reward(head: Head, features: jax.Array | np.ndarray) -> jax.Array:
    rewards = _product(head.neurons(features), head.theta2)
    return rewards if head.linear is None else rewards + linear_reward(head, features)


def linear_reward(head: Head, features: jax.Array | np.ndarray) -> jax.Array:
    """What the linear path of a head that has one adds to the reward: (..., d) -> (...)."""
    assert head.linear is not None
    return _product(_centred(features, head), head.linear)


def reward_terms(head: Head, features: jax.Array | np.ndarray) -> jax.Array:
    """What `term_weights` add up to the reward: the neurons, then the linear path if there is one.

    (..., d) -> (..., k) or (..., k + 1).
    """
    neurons = head.neurons(features)
    if head.linear is None:
        return neurons
    return jnp.concatenate([neurons, linear_reward(head, features)[..., None]], axis=-1)


def term_weights(head: Head) -> jax.Array:
    """theta2, and 1 for a linear path: (k,) or (k + 1,)."""
    theta2 = jnp.asarray(head.theta2)
    return theta2 if head.linear is None else jnp.append(theta2, jnp.ones_like(theta2, shape=()))


def with_term_weights(head: Head, weights: jax.Array) -> Head:
    """The head whose terms are weighted so: (k,) or (k + 1,)."""
    if head.linear is None:
        return head._replace(theta2=weights)
    return head._replace(theta2=weights[:-1], linear=head.linear * weights[-1])


def _layer(
    centred: jax.Array, weights: jax.Array | np.ndarray, bias: jax.Array | np.ndarray
) -> jax.Array:
    """Centred weights + bias: (..., d), (d, k), (k,) -> (..., k)."""
    return _product(centred, weights) + bias


def _product(rows: jax.Array, weights: jax.Array | np.ndarray) -> jax.Array:
    """A matrix product that GPUs do not round to TF32."""
    return jnp.matmul(rows, jnp.asarray(weights), precision=jax.lax.Precision.HIGHEST)


def require_one_head(head: Head) -> None:
    """Raise where it is no head, or one of a sweep's, with leading axes."""
    if not isinstance(head, KINDS):
        raise TypeError(
            f"head must be a ConvexHead or a GatedHead, as `solution.head` is; got "
            f"{type(head).__name__}"
        )
    if np.ndim(head.theta2) != 1:
        raise HeadError(
            f"head: its theta2 is {np.shape(head.theta2)}, a batch of heads; take one of them, "
            "jax.tree.map(lambda leaf: leaf[k], head)"
        )
