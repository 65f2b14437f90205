"""Program (3) of docs/solver.md in float64, from raw features and a certificate's gates.

Shares no code with the solver. What is taken from a certificate are gates, strength, and centre and
scale of the standardisation. A row within float rounding of a gate's hyperplane may lie on either
side of it: there, and nowhere else, the certificate's own pattern counts. With a linear path the
outputs are S (F u + X w), and mu / 2 ||w||^2 is one more penalty.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from adversary.answers import Answers, Groups
from adversary.group_losses import GROUP_LOSSES, GroupLoss
from adversary.losses import LOSSES, Array, Loss

# A product of D terms is off by this many roundings more than terms, of their absolute sum.
_ROUNDINGS = 4


class Program(NamedTuple):
    """Program (3).

    Attributes:
        x: (m, D) standardised rows with a column of ones.
        patterns: (P, m) booleans D_i.
        near: (P, m), rows within rounding of a gate.
        labels: (m,), or (n,) offsets of pairs, or (n, k) of groups.
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
    loss: Loss | GroupLoss
    gated: bool
    strength: float
    ridge: float | None

    @property
    def counts(self) -> Array:
        """(n,), which pairs or groups have weight."""
        if self.loss.grouped:
            return self.weight.max(axis=1) > 0
        return self.weight[:: 1 if self.loss.pairwise else 2] > 0

    @property
    def signs(self) -> Array:
        """E = 2 D - 1: (P, m)."""
        return 2.0 * self.patterns - 1

    def outputs(self, rewards: Array) -> Array:
        """S z: of rows, (m, ...), to labels, (*labels, ...)."""
        if self.loss.grouped:
            return beyond_mean(by_group(rewards, self.labels.shape[1]), self.weight > 0)
        return differences(rewards) if self.loss.pairwise else rewards

    def value(self, rewards: Array) -> float:
        """Loss of the outputs of all rows, (m,)."""
        return self.loss.value(self.outputs(rewards), self.labels, self.weight)

    def spread(self, r: Array) -> Array:
        """S^T r: one value a label -> (m,)."""
        if self.loss.grouped:
            return beyond_mean(r, self.weight > 0).ravel()
        return np.stack([r, -r], axis=1).ravel() if self.loss.pairwise else r

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

    def output_sizes(self, sizes: Array) -> Array:
        """Of the terms of outputs, where those of the rewards are of sizes (m,)."""
        if not self.loss.grouped:
            return sizes.reshape(len(self.labels), -1).sum(axis=1)
        of_group = np.where(self.weight > 0, by_group(sizes, self.labels.shape[1]), 0)
        return of_group + of_group.mean(axis=1, keepdims=True)

    def pull_size(self, sizes: Array) -> float:
        """The largest norm of a pull if no term cancelled another; one size a label."""
        if self.loss.grouped:
            rows = (sizes + sizes.mean(axis=1, keepdims=True)).ravel()
        else:
            rows = np.repeat(sizes, len(self.x) // len(sizes))
        return float(np.linalg.norm((self.patterns * rows) @ abs(self.x), axis=1).max())


def differences(rows: Array) -> Array:
    """Chosen less rejected: (2n, ...) -> (n, ...)."""
    return rows[::2] - rows[1::2]


def by_group(rows: Array, members: int) -> Array:
    """Rows, the members of the first group first, by group: (n k, ...) -> (n, k, ...)."""
    return rows.reshape(len(rows) // members, members, *rows.shape[1:])


def beyond_mean(values: Array, member: Array) -> Array:
    """Values of members less the mean of their group, 0 of who is missing: (n, k, ...)."""
    member = member.reshape(*member.shape, *[1] * (values.ndim - 2))
    total = np.where(member, values, 0).sum(axis=1, keepdims=True)
    return np.where(member, values - total / np.maximum(member.sum(axis=1, keepdims=True), 1), 0)


def program_of(answers: Answers, certificate: Any, config: Any, params: Any) -> Program:
    """The program that a certificate is about.

    Args:
        answers: of the solve.
        certificate: with numpy leaves in the dtype of the solver.
        config: `model`, `phase1_loss` and `linear_path` are read.
        params: `gamma` is read by a pairwise loss, `linear_ridge` by a linear path.
    """
    by_prompt = np.asarray(certificate.row_weight).reshape(len(answers.weight), -1) > 0
    counts = by_prompt.any(axis=1) if isinstance(answers, Groups) else by_prompt.all(axis=1)
    x = _standardised_rows(answers.rows, certificate)
    # Rows without weight are zero, and on no side of a gate.
    there = np.repeat(counts, len(x) // len(counts))
    x = np.where(there[:, None], x, 0)
    products = np.asarray(certificate.gates, np.float64) @ x.T
    near = (abs(products) <= rounding(x, certificate.gates)) & there
    # Their mean is 1 over those that have some.
    weight = np.where(counts, answers.weight, 0) * counts.mean()
    loss: Loss | GroupLoss
    if isinstance(answers, Groups):
        loss, labels = GROUP_LOSSES[config.phase1_loss], answers.labels
        weight = weight[:, None] * answers.member
    else:
        loss = LOSSES[config.phase1_loss]
        of_pairs, of_rows = params.gamma + answers.margin, np.tile([1.0, -1.0], len(counts))
        labels = of_pairs if loss.pairwise else of_rows
        weight = weight if loss.pairwise else np.repeat(weight, 2)
    return Program(
        x=x,
        patterns=np.where(near, certificate.patterns, products >= 0) & there,
        near=near,
        labels=labels,
        weight=weight,
        loss=loss,
        gated=config.model == "gated_relu",
        strength=float(certificate.group_lasso_strength),
        ridge=params.linear_ridge * len(labels) * counts.mean() if config.linear_path else None,
    )


def _standardised_rows(rows: Array, certificate: Any) -> Array:
    """(m, D)."""
    center, scale = (
        np.asarray(leaf, np.float64) for leaf in (certificate.center, certificate.scale)
    )
    return np.concatenate([(rows - center) / scale, np.ones((len(rows), 1))], axis=1)


def rounding(x: Array, blocks: Any) -> Array:
    """How far off products of rows with gates or weights may be in their dtype: (..., P, m)."""
    blocks = np.asarray(blocks)
    roundings = x.shape[1] + _ROUNDINGS
    return roundings * np.finfo(blocks.dtype).eps * (abs(blocks.astype(np.float64)) @ abs(x).T)
