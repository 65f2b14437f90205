"""The losses of docs/groups.md in float64, level by level: they share no code with the solver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from adversary.losses import LOSSES, Array
from scipy.special import logsumexp, xlogy

# Shares may be this much below zero: rounding of the judge's own.
_OUTSIDE = 1e-12


class GroupLoss(NamedTuple):
    """A loss of outputs z, (n, k) less their mean over each group, with labels y of its own kind.

    What a `Loss` of single outputs has, of groups; members have weight above 0, that of their
    group. s is a dual point over the weight.

    Attributes:
        terms: (z, y, member) -> (n,) l of every group.
        slopes: (z, y, member) -> (n, k) its gradient.
        hessians: (z, y, member) -> (n, k, k).
        parts: (z, y, member) -> (n, k) magnitudes that a slope is the sum of.
        dual_terms: (s, y, member) -> (n,) -l*(-s); -inf outside the domain.
        nearest: (s, y, member) -> a point of the domain that is off by the rounding of s.
        ends: (s, y, member) -> (n, k) multiples of s at which a share of a member is zero.
    """

    terms: Callable[[Array, Array, Array], Array]
    slopes: Callable[[Array, Array, Array], Array]
    hessians: Callable[[Array, Array, Array], Array]
    parts: Callable[[Array, Array, Array], Array]
    dual_terms: Callable[[Array, Array, Array], Array]
    nearest: Callable[[Array, Array, Array], Array]
    ends: Callable[[Array, Array, Array], Array]
    grouped = True
    pairwise = False

    def value(self, z: Array, y: Array, weight: Array) -> float:
        """Weighted sum over the groups; what is no member has no part in it, whatever it is."""
        z = np.where(weight > 0, z, 0)
        return float(np.sum(weight.max(axis=1) * self.terms(z, y, weight > 0)))

    def dual_point(self, z: Array, y: Array, weight: Array) -> Array:
        """R = -grad l(z)."""
        return -weight * self.slopes(z, y, weight > 0)

    def gram(self, z: Array, y: Array, weight: Array, rows: Array) -> Array:
        """The Hessian of the value in the weights of rows, (n, k, p): (p, p)."""
        hessians = weight.max(axis=1)[:, None, None] * self.hessians(z, y, weight > 0)
        return np.einsum("njp,nji,niq->pq", rows, hessians, rows, optimize=True)

    def sizes(self, z: Array, y: Array, weight: Array, outputs: Array) -> Array:
        """Of the terms of the dual point where those of the outputs are of sizes `outputs`."""
        moved = np.einsum("nji,ni->nj", abs(self.hessians(z, y, weight > 0)), outputs)
        return weight * (self.parts(z, y, weight > 0) + moved)

    def into_domain(self, r: Array, y: Array, weight: Array) -> Array:
        """A dual point that sums to zero over every group, and whose shares are probabilities."""
        return weight * self.nearest(_over(r, weight), y, weight > 0)

    def largest_multiple(self, r: Array, y: Array, weight: Array) -> float:
        """The largest t at which t r is in the domain."""
        return float(np.min(self.ends(_over(r, weight), y, weight > 0)))

    def dual_value(self, r: Array, y: Array, weight: Array) -> float:
        """-l*(-r); -inf outside the domain, rounding of the last digits apart."""
        terms = self.dual_terms(_over(r, weight), y, weight > 0)
        counts = weight.max(axis=1)
        return float(np.sum(np.where(counts > 0, counts * terms, 0)))


def _over(r: Array, weight: Array) -> Array:
    return np.divide(r, weight, out=np.zeros_like(r), where=weight > 0)


def _log_sum(z: Array, among: Array) -> Array:
    """Log of the sum of exponentials over the last axis: 0 where none is among them."""
    some = among.any(axis=-1, keepdims=True)
    return logsumexp(np.where(among | ~some, z, -np.inf), axis=-1) * some[..., 0]


def _shares(z: Array, among: Array) -> Array:
    return np.where(among, np.exp(np.where(among, z - _log_sum(z, among)[..., None], 0)), 0)


def _softmax_hessians(p: Array) -> Array:
    return p[:, :, None] * np.eye(p.shape[1]) - p[:, :, None] * p[:, None, :]


def _sum_to_zero(s: Array) -> Array:
    size = abs(s).sum(axis=1, keepdims=True)
    share = np.divide(abs(s), size, out=np.zeros_like(s), where=size > 0)
    return s - s.sum(axis=1, keepdims=True) * share


# Listwise: log sum_j exp(z_j) - q^T z.


def _entropy(s: Array, q: Array, member: Array) -> Array:
    p = np.where(member, q - s, 0)
    entropy = -xlogy(np.maximum(p, 0), np.maximum(p, 0)).sum(axis=1)
    inside = (p >= -_OUTSIDE).all(axis=1) & (abs(s.sum(axis=1)) <= _OUTSIDE)
    return np.where(inside, entropy, -np.inf)


def _as_probabilities(s: Array, q: Array, member: Array) -> Array:
    """What of q - s is below zero is taken from the largest of them."""
    p = np.where(member, q - _sum_to_zero(s), 0)
    below = np.minimum(p, 0)
    largest = np.arange(p.shape[1]) == p.argmax(axis=1)[:, None]
    p = np.maximum(p, 0) + np.where(largest, below.sum(axis=1, keepdims=True), 0)
    return np.where(member, q - p, 0)


# Plackett-Luce: the members of a level are drawn from those that rank no higher.


class _Draw(NamedTuple):
    """Of all groups: who is at a level, who is drawn there, and among whom, (n, k) each."""

    at: Array
    drawn: Array
    among: Array

    @property
    def times(self) -> Array:
        """(n,) draws of the level."""
        return self.drawn.sum(axis=1)


def _draws(level: Array, member: Array) -> Iterator[_Draw]:
    last = np.where(member, level, -1).max(axis=1, keepdims=True)
    for place in range(level.shape[1]):
        at = member & (level == place)
        yield _Draw(at, at & (place < last), member & (level >= place) & (place < last))


def _order_terms(z: Array, level: Array, member: Array) -> Array:
    return sum(
        draw.times * _log_sum(z, draw.among) - np.where(draw.drawn, z, 0).sum(axis=1)
        for draw in _draws(level, member)
    )


def _order_slopes(z: Array, level: Array, member: Array) -> Array:
    return sum(
        draw.times[:, None] * _shares(z, draw.among) - draw.drawn for draw in _draws(level, member)
    )


def _order_parts(z: Array, level: Array, member: Array) -> Array:
    return sum(
        draw.times[:, None] * _shares(z, draw.among) + draw.drawn for draw in _draws(level, member)
    )


def _order_hessians(z: Array, level: Array, member: Array) -> Array:
    return sum(
        draw.times[:, None, None] * _softmax_hessians(_shares(z, draw.among))
        for draw in _draws(level, member)
    )


def _entropy_of_draws(s: Array, level: Array, member: Array) -> Array:
    """Draws come to a level, those of it and what earlier ones have left; some stop at its members.

    All that come split alike, so that what they split counts with its entropy.
    """
    left, value, inside = np.zeros(len(s)), np.zeros(len(s)), np.ones(len(s), bool)
    for draw in _draws(level, member):
        come = left + draw.times
        stop = np.where(draw.at, draw.drawn - s, 0)
        left = come - stop.sum(axis=1)
        inside &= (stop >= -_OUTSIDE).all(axis=1) & (left >= -_OUTSIDE)
        stop, left = np.maximum(stop, 0), np.maximum(left, 0)
        value += xlogy(come, come) - xlogy(stop, stop).sum(axis=1) - xlogy(left, left)
    return np.where(inside & (left <= _OUTSIDE), value, -np.inf)


def _as_draws(s: Array, level: Array, member: Array) -> Array:
    """No member stops less than none, and no level more than come; the last one stops all."""
    s = _sum_to_zero(s)
    left, found = np.zeros(len(s)), np.zeros_like(s)
    last = np.where(member, level, -1).max(axis=1)
    for place, draw in enumerate(_draws(level, member)):
        come = left + draw.times
        stop = np.maximum(np.where(draw.at, draw.drawn - s, 0), 0)
        # Where all have to stop and none does, members of the level share them.
        stop = np.where((stop.sum(axis=1) == 0)[:, None] & draw.at & ~draw.drawn, 1.0, stop)
        total = stop.sum(axis=1)
        scale = np.where((total > come) | (place == last), come, total)
        stop *= np.divide(scale, total, out=np.ones_like(total), where=total > 0)[:, None]
        found += np.where(draw.at, draw.drawn - stop, 0)
        left = np.maximum(come - stop.sum(axis=1), 0)
    return found


def _undrawn_at(s: Array, drawn: Array) -> Array:
    """Multiples of s at which what a member has, `drawn` of it at zero, is used up."""
    return np.divide(drawn, s, out=np.full_like(s, np.inf), where=s > 0)


def _is_drawn(level: Array, member: Array) -> Array:
    return 1.0 * sum(draw.drawn for draw in _draws(level, member))


_TERM = LOSSES["squared"]

GROUP_LOSSES = {
    "group_squared": GroupLoss(
        lambda z, y, member: np.where(member, _TERM.terms(z, y), 0).sum(axis=1),
        lambda z, y, member: np.where(member, _TERM.slopes(z, y), 0),
        lambda z, y, member: member[:, :, None] * np.eye(z.shape[1]),
        lambda z, y, member: np.where(member, abs(z) + abs(y).max(axis=1, keepdims=True), 0),
        lambda s, y, member: np.where(member, _TERM.dual_terms(s, y), 0).sum(axis=1),
        lambda s, y, member: s,
        lambda s, y, member: np.full_like(s, np.inf),
    ),
    "listwise": GroupLoss(
        lambda z, q, member: _log_sum(z, member) - np.where(member, q * z, 0).sum(axis=1),
        lambda z, q, member: _shares(z, member) - q,
        lambda z, q, member: _softmax_hessians(_shares(z, member)),
        lambda z, q, member: _shares(z, member) + q,
        _entropy,
        _as_probabilities,
        lambda s, q, member: _undrawn_at(s, q),
    ),
    "plackett_luce": GroupLoss(
        _order_terms,
        _order_slopes,
        _order_hessians,
        _order_parts,
        _entropy_of_draws,
        _as_draws,
        lambda s, level, member: _undrawn_at(s, _is_drawn(level, member)),
    ),
}
