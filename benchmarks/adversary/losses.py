"""The losses of docs/solver.md in float64, for judges of the solver: they share no code with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray

# Shares may be this much outside their domain: rounding of the judge's own.
_OUTSIDE = 1e-12


class Loss(NamedTuple):
    """A loss of outputs z, with labels +-1, or offsets of pairs, y.

    Attributes:
        terms: (z, y) -> l of every output.
        slopes: (z, y) -> its derivative.
        curvatures: (z, y) -> its second derivative, at a kink that of one side.
        dual_terms: (q, y) -> -l*(-q) of every output, q the dual point over the weight.
        domain: least and largest q of the conjugate, in the direction of y where it is signed.
        signed: whether the domain is one of y q.
        pairwise: whether outputs are differences of pairs.
    """

    terms: Callable[[Array, Array], Array]
    slopes: Callable[[Array, Array], Array]
    curvatures: Callable[[Array, Array], Array]
    dual_terms: Callable[[Array, Array], Array]
    domain: tuple[float, float]
    signed: bool = False
    pairwise: bool = False
    grouped = False

    def value(self, z: Array, y: Array, weight: Array) -> float:
        """Weighted sum; an output without weight has no part in it, whatever it is."""
        return float(np.sum(weight * np.where(weight > 0, self.terms(z, y), 0)))

    def dual_point(self, z: Array, y: Array, weight: Array) -> Array:
        """R = -grad l(z)."""
        return -weight * self.slopes(z, y)

    def gram(self, z: Array, y: Array, weight: Array, rows: Array) -> Array:
        """The Hessian of the value in the weights of rows, (n, p), of the outputs: (p, p)."""
        return (rows.T * (weight * self.curvatures(z, y))) @ rows

    def sizes(self, z: Array, y: Array, weight: Array, outputs: Array) -> Array:
        """Of the terms of the dual point where those of the outputs are of sizes `outputs`."""
        return abs(self.dual_point(z, y, weight)) + weight * self.curvatures(z, y) * outputs

    def into_domain(self, r: Array, y: Array, weight: Array) -> Array:
        """The dual point without rows of no weight, and none below its domain where that is 0."""
        r = np.where(weight > 0, r, 0)
        if self.domain[0] != 0:
            return r
        return np.where((y if self.signed else 1.0) * r > 0, r, 0)

    def largest_multiple(self, r: Array, y: Array, weight: Array) -> float:
        """The largest t at which t r is in the domain."""
        q = np.divide(abs(r), weight, out=np.zeros_like(r), where=weight > 0)
        return self.domain[1] / q.max() if q.max() > 0 else np.inf

    def dual_value(self, r: Array, y: Array, weight: Array) -> float:
        """-l*(-r); -inf outside the domain, rounding of the last digits apart."""
        q = np.divide(r, weight, out=np.zeros_like(r), where=weight > 0)
        low, high = self.domain
        side = y * q if self.signed else q
        if np.any(r[weight == 0]) or np.any(side < low) or np.any(side > high * (1 + _OUTSIDE)):
            return -np.inf
        return float(np.sum(weight * self.dual_terms(q, y)))


def _sigmoid(t: Array) -> Array:
    return np.exp(-np.logaddexp(0, -t))


def _bell(t: Array) -> Array:
    return np.exp(-np.logaddexp(0, t) - np.logaddexp(0, -t))


def _entropy(q: Array) -> Array:
    inside, outside = np.clip(q, 1e-300, 1), np.clip(-q, -1 + 1e-16, 0)
    # log(1 - q) is zero already where q is a rounding.
    return -q * np.log(inside) - (1 - q) * np.log1p(outside)


LOSSES = {
    "squared": Loss(
        lambda z, y: 0.5 * (z - y) ** 2,
        lambda z, y: z - y,
        lambda z, y: np.ones_like(z),
        lambda q, y: q * y - 0.5 * q**2,
        (-np.inf, np.inf),
    ),
    "huber": Loss(
        lambda z, y: np.where(abs(z - y) <= 1, 0.5 * (z - y) ** 2, abs(z - y) - 0.5),
        lambda z, y: np.clip(z - y, -1, 1),
        lambda z, y: 1.0 * (abs(z - y) <= 1),
        lambda q, y: q * y - 0.5 * q**2,
        (-1, 1),
    ),
    "logistic": Loss(
        lambda z, y: np.logaddexp(0, -y * z),
        lambda z, y: -y * _sigmoid(-y * z),
        lambda z, y: _bell(z),
        lambda q, y: _entropy(y * q),
        (0, 1),
        signed=True,
    ),
    "squared_hinge": Loss(
        lambda z, y: 0.5 * np.maximum(1 - y * z, 0) ** 2,
        lambda z, y: -y * np.maximum(1 - y * z, 0),
        lambda z, y: 1.0 * (y * z < 1),
        lambda q, y: y * q - 0.5 * q**2,
        (0, np.inf),
        signed=True,
    ),
    "bradley_terry": Loss(
        lambda z, y: np.logaddexp(0, y - z),
        lambda z, y: -_sigmoid(y - z),
        lambda z, y: _bell(y - z),
        lambda q, y: y * q + _entropy(q),
        (0, 1),
        pairwise=True,
    ),
}
LOSSES["squared_difference"] = LOSSES["squared"]._replace(pairwise=True)
