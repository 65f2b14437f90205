"""Program (3) of docs/solver.md in float64, from raw features and a certificate's gates.

Shares no code with the solver. What is taken from a certificate are gates, strength, and centre and
scale of the standardisation. A row within float rounding of a gate's hyperplane may lie on either
side of it: there, and nowhere else, the certificate's own pattern counts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from adversary.losses import LOSSES, Array, Loss

# A product of D terms is off by this many roundings more than terms, of their absolute sum.
_ROUNDINGS = 4


class Pairs(NamedTuple):
    """Preference pairs in float64.

    Attributes:
        chosen, rejected: (n, d) raw features.
        weight: (n,) with mean 1.
        margin: (n,).
    """

    chosen: Array
    rejected: Array
    weight: Array
    margin: Array

    @property
    def rows(self) -> Array:
        """(2n, d), the chosen ones first."""
        return np.concatenate([self.chosen, self.rejected])


class Program(NamedTuple):
    """Program (3).

    Attributes:
        x: (m, D) standardised rows with a column of ones.
        patterns: (P, m) booleans D_i.
        near: (P, m), rows within rounding of a gate.
        labels: (m,), or (n,) offsets of pairs.
        weight: shaped as labels.
        loss: l.
        gated: whether there are no cones.
        strength: lambda_g.
    """

    x: Array
    patterns: Array
    near: Array
    labels: Array
    weight: Array
    loss: Loss
    gated: bool
    strength: float

    @property
    def pairwise(self) -> bool:
        """Whether the loss sees differences of pairs."""
        return len(self.labels) < len(self.x)

    @property
    def signs(self) -> Array:
        """E = 2 D - 1: (P, m)."""
        return 2.0 * self.patterns - 1

    def value(self, rewards: Array) -> float:
        """Loss of the outputs of all rows, (m,)."""
        z = differences(rewards) if self.pairwise else rewards
        return self.loss.value(z, self.labels, self.weight)

    def pull(self, r: Array) -> Array:
        """X^T D_i S^T r: one value a label -> (P, D)."""
        rows = np.concatenate([r, -r]) if self.pairwise else r
        return (self.patterns * rows) @ self.x

    def pull_size(self, r: Array) -> float:
        """The largest norm of a pull if no term cancelled another."""
        rows = np.tile(abs(r), len(self.x) // len(r))
        return float(np.linalg.norm((self.patterns * rows) @ abs(self.x), axis=1).max())


def differences(rows: Array) -> Array:
    """Chosen less rejected: (2n, ...) -> (n, ...)."""
    pairs = len(rows) // 2
    return rows[:pairs] - rows[pairs:]


def pairs_of(features: Any) -> Pairs:
    """`PreferenceFeatures` in float64."""
    chosen, rejected = (np.asarray(side).astype(np.float64) for side in features[:2])
    weight, margin = (
        np.full(len(chosen), default) if given is None else np.asarray(given, np.float64)
        for given, default in ((features.weight, 1.0), (features.margin, 0.0))
    )
    return Pairs(chosen, rejected, weight / weight.mean(), margin)


def program_of(pairs: Pairs, certificate: Any, config: Any, gamma: float) -> Program:
    """The program that a certificate is about.

    Args:
        pairs: of the solve.
        certificate: with numpy leaves in the dtype of the solver.
        config: `model` and `phase1_loss` are read.
        gamma: offset of a pairwise loss.
    """
    counts = np.asarray(certificate.row_weight)[: len(pairs.weight)] > 0
    x = _standardised_rows(pairs, counts, certificate)
    products = np.asarray(certificate.gates, np.float64) @ x.T
    near = abs(products) <= _rounding(x, certificate.gates)
    weight = np.where(counts, pairs.weight, 0)
    pairwise = config.phase1_loss == "bradley_terry"
    return Program(
        x=x,
        patterns=np.where(near, certificate.patterns, products >= 0),
        near=near,
        labels=gamma + pairs.margin if pairwise else np.repeat([1.0, -1.0], len(counts)),
        weight=weight if pairwise else np.tile(weight, 2),
        loss=LOSSES[config.phase1_loss],
        gated=config.model == "gated_relu",
        strength=float(certificate.group_lasso_strength),
    )


def _standardised_rows(pairs: Pairs, counts: Array, certificate: Any) -> Array:
    """(m, D); a pair without weight stands as a copy of the first one that has some."""
    first = int(np.argmax(counts))
    sides = (pairs.chosen, pairs.rejected)
    rows = np.concatenate([np.where(counts[:, None], side, side[first]) for side in sides])
    center, scale = (
        np.asarray(leaf, np.float64) for leaf in (certificate.center, certificate.scale)
    )
    return np.concatenate([(rows - center) / scale, np.ones((len(rows), 1))], axis=1)


def _rounding(x: Array, gates: Any) -> Array:
    """How far off products of gates and rows may be in the dtype of the gates: (P, m)."""
    gates = np.asarray(gates)
    roundings = x.shape[1] + _ROUNDINGS
    return roundings * np.finfo(gates.dtype).eps * (abs(gates.astype(np.float64)) @ abs(x).T)
