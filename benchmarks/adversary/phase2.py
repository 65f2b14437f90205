"""What the saved head of Phase II is worth: its objective and the least one, in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from adversary.losses import LOSSES, Array
from adversary.phase1 import Tensors, neurons
from adversary.program import Pairs, differences

_NEWTON_STEPS = 100
_HALVINGS = 40


class Phase2Truth(NamedTuple):
    """Figures that the claims of Phase II are compared with.

    Attributes:
        loss: objective at the head.
        gradient_norm: of its gradient in theta2.
        excess: how far the objective is above the least that Newton's method reaches.
        zero_loss: objective of theta2 = 0.
    """

    loss: float
    gradient_norm: float
    excess: float
    zero_loss: float


class _Regression(NamedTuple):
    """mean_j weight_j softplus(offset_j - beta a_j theta2) + ridge / 2 ||theta2||^2."""

    design: Array
    offset: Array
    weight: Array
    ridge: float

    def value(self, theta2: Array) -> float:
        loss = LOSSES["bradley_terry"].value(self.design @ theta2, self.offset, self.weight)
        return loss / len(self.offset) + 0.5 * self.ridge * float(theta2 @ theta2)

    def gradient(self, theta2: Array) -> Array:
        pull = LOSSES["bradley_terry"].dual_point(self.design @ theta2, self.offset, self.weight)
        return -self.design.T @ pull / len(self.offset) + self.ridge * theta2

    def newton_step(self, theta2: Array) -> Array:
        z = self.design @ theta2 - self.offset
        curvature = self.weight * np.exp(-np.logaddexp(0, z) - np.logaddexp(0, -z))
        hessian = (self.design.T * curvature) @ self.design / len(self.offset)
        hessian += self.ridge * np.eye(len(theta2))
        return -np.linalg.lstsq(hessian, self.gradient(theta2), rcond=None)[0]


def judge_phase2(pairs: Pairs, tensors: Tensors, params: Any, objective: str) -> Phase2Truth:
    """Judge a head of Phase II.

    Args:
        pairs: of the solve.
        tensors: of the head's file.
        params: `beta`, `gamma` and `ridge` are read.
        objective: `"pairwise"` or `"pointwise"`.
    """
    hidden = neurons(tensors, pairs.rows)
    offset, weight = params.gamma + pairs.margin, pairs.weight
    if objective == "pairwise":
        design = differences(hidden)
    else:
        signs = np.repeat([1.0, -1.0], len(offset))[:, None]
        design, offset, weight = signs * hidden, np.tile(offset, 2), np.tile(weight, 2)
    regression = _Regression(params.beta * design, offset, weight, params.ridge)
    theta2 = tensors["theta2"].astype(np.float64)
    value = regression.value(theta2)
    return Phase2Truth(
        loss=value,
        gradient_norm=float(np.linalg.norm(regression.gradient(theta2))),
        excess=value - _least(regression, theta2),
        zero_loss=regression.value(np.zeros_like(theta2)),
    )


def _least(regression: _Regression, theta2: Array) -> float:
    """The least value that damped Newton steps reach."""
    value = regression.value(theta2)
    for _ in range(_NEWTON_STEPS):
        step = regression.newton_step(theta2)
        moved = next(
            (
                theta2 + size * step
                for size in 0.5 ** np.arange(_HALVINGS)
                if regression.value(theta2 + size * step) < value
            ),
            None,
        )
        if moved is None:
            break
        theta2, value = moved, regression.value(moved)
    return value
