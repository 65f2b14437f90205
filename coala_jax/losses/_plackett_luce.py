"""Plackett-Luce loss of a ranked group: the negative log-likelihood of its order (Plackett 1975).

The best is drawn from all, the next from those that are left, and so on: with the members that
rank no higher than j as its choices R_j, the loss is the sum of log sum_{i in R_j} exp(z_i) - z_j
over all j but the last. Members that tie have the same choices, each other among them (Breslow
1974); the last ones, tied or not, are drawn by no one. Of two members it is the Bradley-Terry loss.

The dual is in closed form. With d_j = 1, or 0 of the last, a_j = d_j - r_j, R_l the sum of r over
the levels to l and c_l = sum of a over level l + R_l, it is the entropy of what each level's draws
come to: sum over levels of c_l H(a / c_l, R_l / c_l).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._roundoff import relative_error
from coala_jax.losses._base import Loss, scaled_dual
from coala_jax.losses._best_scale import best_scale

# Newton on the prox, damped where outputs move far, ends at this many roundings of the step and
# the outputs.
_MOST_STEPS = 60
_ACCURACY = 30.0
# So many roundings of the step keep a system that has no other digits of its identity solvable.
_SHIFT = 4.0
# Roundings of a share beside those of the sums over the group.
_ROUNDINGS = 4


def _choices(level: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Who is among whose choices, and who is drawn: (n, k, k) and (n, k) booleans.

    Args:
        level: (n, k), 0 for the best, the next one up for what ranks below.
        weight: (n, k), 0 for what is no member.
    """
    member = weight > 0
    below = level[:, :, None] <= level[:, None, :]
    last = jnp.max(jnp.where(member, level, -jnp.inf), axis=1, keepdims=True)
    drawn = member & (level < last)
    return below & member[:, None, :] & drawn[:, :, None], drawn


class _Draws(NamedTuple):
    """Of everyone's choices: the shares (n, k, k), and l of each draw (n, k), 0 of the undrawn."""

    share: jax.Array
    loss: jax.Array


def _draws(z: jax.Array, level: jax.Array, weight: jax.Array) -> _Draws:
    """Losses are of terms that are not negative, by the distances from the largest choice."""
    among, drawn = _choices(level, weight)
    spread = jnp.broadcast_to(z[:, None, :], among.shape)
    place = jnp.argmax(jnp.where(among, spread, -jnp.inf), axis=2)
    top = among & (jnp.arange(z.shape[1]) == place[..., None])
    largest = jnp.sum(jnp.where(top, spread, 0), axis=2)
    others = among & ~top
    terms = jnp.exp(jnp.where(others, spread - largest[..., None], -jnp.inf))
    rest = jnp.sum(terms, axis=2)
    share = jnp.where(top, 1, terms) / (1 + rest)[..., None]
    loss = jnp.where(drawn, largest - z + jnp.log1p(rest), 0)
    return _Draws(jnp.where(among, share, 0), loss)


def _value(z: jax.Array, level: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.sum(weight * _draws(z, level, weight).loss)


def _negative_gradient(z: jax.Array, level: jax.Array, weight: jax.Array) -> jax.Array:
    """What draws leave to others, 1 less a share that may be near 1, less what those leave."""
    others = jnp.where(jnp.eye(z.shape[1], dtype=bool), 0, _draws(z, level, weight).share)
    return weight * (jnp.sum(others, axis=2) - jnp.sum(others, axis=1))


def _prox(z: jax.Array, level: jax.Array, step: jax.Array) -> jax.Array:
    """Newton on step l(x) + |x - z|^2 / 2, of which each group has a k x k system.

    With b the range of a direction over a group, log(1 + b) / b of it lowers the value: a softmax's
    third derivative is at most the range times its second (Sun & Tran-Dinh 2019, nu = 2).
    """
    longest = jnp.max(step, axis=1)[:, None, None]
    identity = jnp.eye(z.shape[1], dtype=z.dtype)
    shifted = (1 + _SHIFT * jnp.finfo(z.dtype).eps * longest) * identity
    size = jnp.max(jnp.abs(z), initial=0) + jnp.max(step, initial=0)
    limit = _ACCURACY * jnp.finfo(z.dtype).eps * size

    def slope(x: jax.Array) -> jax.Array:
        return x - z - _negative_gradient(x, level, step)

    def newton(
        state: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        x, here, steps = state
        share = _draws(x, level, step).share
        product = jnp.einsum("nij,nik->njk", share, share)
        hessian = jnp.sum(share, axis=1)[:, :, None] * identity - product
        hessian = shifted + longest * hessian
        direction = -jnp.linalg.solve(hessian, here[..., None])[..., 0]
        reach = jnp.max(direction, axis=1) - jnp.min(direction, axis=1)
        length = jnp.where(reach > 0, jnp.log1p(reach) / jnp.where(reach > 0, reach, 1), 1)
        x = x + length[:, None] * direction
        return x, slope(x), steps + 1

    def unfinished(state: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        _, here, steps = state
        return (jnp.max(jnp.abs(here), initial=0) > limit) & (steps < _MOST_STEPS)

    return lax.while_loop(unfinished, newton, (z, slope(z), jnp.zeros((), jnp.int32)))[0]


def _dual_value(r: jax.Array, level: jax.Array, weight: jax.Array) -> jax.Array:
    """The entropy of the draws; -inf where a share is below zero by more than rounding.

    Less what rounding the shares may have added.
    """
    member = weight > 0
    _, drawn = _choices(level, weight)
    scaled = scaled_dual(r, weight)
    error = relative_error(r.shape[1] + _ROUNDINGS, r.dtype)
    both = member[:, :, None] & member[:, None, :]
    upto = both & (level[:, None, :] <= level[:, :, None])
    same = both & (level[:, None, :] == level[:, :, None])

    def over(mask: jax.Array, values: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(mask, values[:, None, :], 0), axis=2)

    share = jnp.where(member, drawn - scaled, 0)
    left = jnp.where(drawn, over(upto, scaled), 0)
    sizes = drawn + jnp.abs(scaled), over(upto, jnp.abs(scaled))
    of_group = jnp.sum(jnp.abs(scaled), axis=1, keepdims=True)
    of_one = relative_error(_ROUNDINGS, r.dtype) * (sizes[0] + of_group / r.shape[1])
    is_inside = (share >= -of_one) & (left >= -error * of_group)
    share, left = jnp.maximum(share, 0), jnp.maximum(left, 0)
    others = over(same & ~jnp.eye(r.shape[1], dtype=bool), share)
    whole = others + share + left
    # What is left over of a level counts once for all of its members.
    once = 1 / jnp.maximum(jnp.sum(same, axis=2), 1)
    logs = (
        _minus_log_share(share, others + left, whole),
        _minus_log_share(left, others + share, whole),
    )
    entropy = share * logs[0] + once * left * logs[1]
    doubt = sizes[0] * (1 + logs[0]) + once * sizes[1] * (1 + logs[1])
    value = jnp.sum(jnp.where(member, weight * (entropy - error * doubt), 0))
    return jnp.where(jnp.all(is_inside | ~member), value, -jnp.inf)


def _minus_log_share(part: jax.Array, rest: jax.Array, whole: jax.Array) -> jax.Array:
    """-log(part / whole), by the rest where the part is most of it; 0 where the part is."""
    whole = jnp.where(whole > 0, whole, 1)
    most = part > rest
    by_rest = -jnp.log1p(-jnp.where(most, rest / whole, 0))
    by_part = -jnp.log(jnp.where(~most & (part > 0), part / whole, 1))
    return jnp.where(most, by_rest, by_part)


def _best_scale(r: jax.Array, level: jax.Array, weight: jax.Array, cap: jax.Array) -> jax.Array:
    # Up to where the first of the drawn has no share.
    scaled = jnp.where(_choices(level, weight)[1], scaled_dual(r, weight), 0)
    inside = 1 - relative_error(2 * r.shape[1] + _ROUNDINGS, r.dtype)
    largest = jnp.max(scaled, initial=0)
    limit = jnp.minimum(
        cap, jnp.where(largest > 0, inside / jnp.where(largest > 0, largest, 1), cap)
    )
    return best_scale(lambda t: _dual_value(t * r, level, weight), limit)


def _change(z: jax.Array, step: jax.Array, level: jax.Array, weight: jax.Array) -> jax.Array:
    """Of every draw log1p(sum_j p_j expm1(e_j)) - e, as of one softmax."""
    _, drawn = _choices(level, weight)
    share = _draws(z, level, weight).share
    moved = jnp.where(weight > 0, step, 0)
    each = jnp.log1p(jnp.sum(share * jnp.expm1(moved)[:, None, :], axis=2)) - moved
    return jnp.sum(jnp.where(drawn, weight * each, 0))


def _shares(level: jax.Array, weight: jax.Array) -> jax.Array:
    return weight * _choices(level, weight)[1]


PLACKETT_LUCE = Loss(
    _value,
    _negative_gradient,
    _prox,
    _dual_value,
    _best_scale,
    curvature=0.25,
    grouped=True,
    staged=True,
    shares=_shares,
    change=_change,
    labels="levels",
)
