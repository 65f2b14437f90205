"""Program (3) of docs/solver.md in float64, from raw features and a certificate's gates.

Shares no code with the solver. What is taken from a certificate are gates, strength, and centre and
scale of the standardisation. A row within float rounding of a gate's hyperplane may lie on either
side of it: there, and nowhere else, the certificate's own pattern counts. With a linear path the
outputs are S (F u + X w), and mu / 2 ||w||^2 is one more penalty.
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
        ridge: mu of the linear path; None without one.
    """

    x: Array
    patterns: Array
    near: Array
    labels: Array
    weight: Array
    loss: Loss
    gated: bool
    strength: float
    ridge: float | None

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

    def spread(self, r: Array) -> Array:
        """S^T r: one value a label -> (m,)."""
        return np.concatenate([r, -r]) if self.pairwise else r

    def pull(self, r: Array) -> Array:
        """X^T D_i S^T r: one value a label -> (P, D)."""
        return (self.patterns * self.spread(r)) @ self.x

    @property
    def path_rows(self) -> Array:
        """X without the column of ones, which the linear path does not see: (m, d)."""
        return self.x[:, :-1]

    def path_penalty(self, linear: Array | None) -> float:
        """The ridge of a linear path (d,), zero without one."""
        if self.ridge is None or linear is None:
            return 0.0
        return 0.5 * self.ridge * float(linear @ linear)

    def path_term(self, r: Array) -> float:
        """||X^T S^T r||^2 / (2 mu), by which a linear path lowers the dual bound."""
        if self.ridge is None:
            return 0.0
        pulled = self.spread(r) @ self.path_rows
        return float(pulled @ pulled) / (2 * self.ridge)

    def pull_size(self, size: Array) -> float:
        """The largest norm of a pull if no term cancelled another; `size` has one value a label."""
        rows = np.tile(size, len(self.x) // len(size))
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


def program_of(pairs: Pairs, certificate: Any, config: Any, params: Any) -> Program:
    """The program that a certificate is about.

    Args:
        pairs: of the solve.
        certificate: with numpy leaves in the dtype of the solver.
        config: `model`, `phase1_loss` and `linear_path` are read.
        params: `gamma` is read by a pairwise loss, `linear_ridge` by a linear path.
    """
    counts = np.asarray(certificate.row_weight)[: len(pairs.weight)] > 0
    x = _standardised_rows(pairs, counts, certificate)
    products = np.asarray(certificate.gates, np.float64) @ x.T
    near = abs(products) <= rounding(x, certificate.gates)
    weight = np.where(counts, pairs.weight, 0)
    pairwise = LOSSES[config.phase1_loss].pairwise
    labels = params.gamma + pairs.margin if pairwise else np.repeat([1.0, -1.0], len(counts))
    return Program(
        x=x,
        patterns=np.where(near, certificate.patterns, products >= 0),
        near=near,
        labels=labels,
        weight=weight if pairwise else np.tile(weight, 2),
        loss=LOSSES[config.phase1_loss],
        gated=config.model == "gated_relu",
        strength=float(certificate.group_lasso_strength),
        ridge=params.linear_ridge * len(labels) if config.linear_path else None,
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


def rounding(x: Array, blocks: Any) -> Array:
    """How far off products of rows with gates or weights may be in their dtype: (..., P, m)."""
    blocks = np.asarray(blocks)
    roundings = x.shape[1] + _ROUNDINGS
    return roundings * np.finfo(blocks.dtype).eps * (abs(blocks.astype(np.float64)) @ abs(x).T)
