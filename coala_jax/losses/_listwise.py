"""Listwise softmax loss log sum_j exp(z_j) - q^T z of a group: cross-entropy to a target q.

Of the policies over a group's members, softmax(A / tau) is the one that maximises the mean
advantage less tau times its relative entropy to the uniform one: the closed form of what GRPO's
penalised update aims at (Shao et al. 2024, arXiv 2402.03300). Fitting it is convex. GRPO's own
clipped ratio exp(z - z_old) A is not: where A > 0 its negative is concave. With all of q on one
member of two this is the Bradley-Terry loss.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._roundoff import relative_error
from coala_jax.losses._base import Loss, scaled_dual
from coala_jax.losses._best_scale import best_scale

# Newton on the scalar L of the prox: nine reach the arithmetic in float64, for steps of 1e-4 to
# 1e6, outputs to 1e5 and 2 to 64 members.
_PROX_STEPS = 12
# Newton on the logarithms at each: errors of 2e-9 after four, of the arithmetic after five.
_LOG_STEPS = 5
# Roundings of a probability, beside those of the sum over the group.
_ROUNDINGS = 4


def _top(z: jax.Array, weight: jax.Array) -> jax.Array:
    """(n, k) booleans, the first of the largest members of every group."""
    member = weight > 0
    place = jnp.argmax(jnp.where(member, z, -jnp.inf), axis=1)
    return member & (jnp.arange(z.shape[1]) == place[:, None])


def _softmax(z: jax.Array, weight: jax.Array) -> jax.Array:
    """(n, k) shares of the exponentials of every group."""
    member = weight > 0
    largest = jnp.sum(jnp.where(_top(z, weight), z, 0), axis=1, keepdims=True)
    terms = jnp.where(member, jnp.exp(jnp.where(member, z - largest, 0)), 0)
    total = jnp.sum(terms, axis=1, keepdims=True)
    return terms / jnp.where(total > 0, total, 1)


def _value(z: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """Of terms that are not negative, by the distances from the largest: nothing cancels."""
    top = _top(z, weight)
    behind = jnp.sum(jnp.where(top, z, 0), axis=1, keepdims=True) - z
    others = (weight > 0) & ~top
    rest = jnp.sum(jnp.where(others, jnp.exp(jnp.where(others, -behind, 0)), 0), axis=1)
    missed = jnp.sum(jnp.where(weight > 0, target * behind, 0), axis=1)
    return jnp.sum(jnp.max(weight, axis=1) * (missed + jnp.log1p(rest)))


def _negative_gradient(z: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """Of the largest it is what the others' sums to: 1 - p loses its digits where p is near 1."""
    top = _top(z, weight)
    others = jnp.where(top, 0, target - _softmax(z, weight))
    return weight * jnp.where(top, -jnp.sum(others, axis=1, keepdims=True), others)


def _prox(z: jax.Array, target: jax.Array, step: jax.Array) -> jax.Array:
    """Z + step (q - p), p = softmax of the result.

    With b = z + step q and L the log of the result's sum, w_j = step p_j is omega(b_j + log step -
    L), the Wright omega function: L is where these sum to step. Their sum falls and is convex in L,
    so that Newton rises to it from where the largest alone makes it. L, less the largest of b, is
    between -step, where that has all, and log k - step / k, where all have as much: rounding may
    not lead beyond these.
    """
    member = step > 0
    length = jnp.max(step, axis=1, keepdims=True)
    length = jnp.where(length > 0, length, 1)
    ahead = z + step * target
    top = jnp.max(jnp.where(member, ahead, -jnp.inf), axis=1, keepdims=True)
    at_zero = jnp.where(member, ahead - top, 0) + jnp.log(length)
    members = z.shape[1]
    least, most = -length, math.log(members) - length / members

    def omega(level: jax.Array) -> jax.Array:
        return jnp.where(member, jnp.exp(_log_omega(at_zero - level)), 0)

    def newton(_: int, level: jax.Array) -> jax.Array:
        parts = omega(level)
        excess = jnp.sum(parts, axis=1, keepdims=True) - length
        slope = jnp.sum(parts / (1 + parts), axis=1, keepdims=True)
        return jnp.clip(level + excess / jnp.where(slope > 0, slope, 1), least, most)

    parts = omega(lax.fori_loop(0, _PROX_STEPS, newton, least))
    total = jnp.sum(parts, axis=1, keepdims=True)
    return z + step * (target - parts / jnp.where(total > 0, total, 1))


def _log_omega(x: jax.Array) -> jax.Array:
    """The log of Wright's omega, the root y of y + exp(y) = x, by Newton's method from above."""
    y = jnp.where(x > 1, jnp.log(jnp.maximum(x, 1)), x)
    for _ in range(_LOG_STEPS):
        grown = jnp.exp(y)
        y = y - (y + grown - x) / (1 + grown)
    return y


def _dual_value(r: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """Sum of weight H(p) with p = q - r / weight, the entropy of a group.

    Less what rounding p may have added; -inf where p is below zero by more than that. All but the
    largest of p are taken as computed and the largest as what they leave of 1: near 1 its logarithm
    is that of the rest.
    """
    scaled = scaled_dual(r, weight)
    error = relative_error(r.shape[1] + _ROUNDINGS, r.dtype)
    size = target + jnp.abs(scaled)
    p = jnp.where(weight > 0, target - scaled, 0)
    of_one = relative_error(_ROUNDINGS, r.dtype)
    is_inside = p >= -of_one * (size + jnp.mean(size, axis=1, keepdims=True))
    p = jnp.maximum(p, 0)
    largest = jnp.arange(p.shape[1]) == jnp.argmax(p, axis=1)[:, None]
    others = jnp.where(largest, 0, p)
    rest = jnp.sum(others, axis=1)
    logs = jnp.log(jnp.where(others > 0, others, 1))
    entropy = -jnp.sum(others * logs, axis=1) - (1 - rest) * jnp.log1p(-rest)
    # A group without weight has no p.
    entropy = jnp.where(jnp.any(weight > 0, axis=1), entropy, 0)
    doubt = jnp.sum(weight * size * (1 + jnp.abs(logs)), axis=1)
    value = jnp.sum(jnp.max(weight, axis=1) * entropy - error * doubt)
    return jnp.where(jnp.all(is_inside), value, -jnp.inf)


def _best_scale(r: jax.Array, target: jax.Array, weight: jax.Array, cap: jax.Array) -> jax.Array:
    scaled = scaled_dual(r, weight)
    error = relative_error(_ROUNDINGS, r.dtype)
    # Up to where the first of p is zero by more than rounding.
    pulls = scaled > error * jnp.mean(jnp.abs(scaled), axis=1, keepdims=True)
    ends = jnp.where(pulls, (1 - error) * target / jnp.where(pulls, scaled, 1), jnp.inf)
    limit = jnp.minimum(cap, jnp.min(ends))
    return best_scale(lambda t: _dual_value(t * r, target, weight), limit)


def _change(z: jax.Array, step: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """l(z + e) - l(z) = log1p(sum_j p_j expm1(e_j)) - q^T e, of every group."""
    share = _softmax(z, weight)
    moved = jnp.where(weight > 0, step, 0)
    each = jnp.log1p(jnp.sum(share * jnp.expm1(moved), axis=1)) - jnp.sum(target * moved, axis=1)
    return jnp.sum(jnp.max(weight, axis=1) * each)


def _shares(target: jax.Array, weight: jax.Array) -> jax.Array:
    return weight * target


LISTWISE = Loss(
    _value,
    _negative_gradient,
    _prox,
    _dual_value,
    _best_scale,
    curvature=0.25,
    grouped=True,
    shares=_shares,
    change=_change,
    labels="shares",
)
