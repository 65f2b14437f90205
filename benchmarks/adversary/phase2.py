"""What the saved head of Phase II is worth: its objective and the least one, in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from adversary.losses import LOSSES, Array
from adversary.newton import minimiser
from adversary.phase1 import Tensors, neurons, path_rewards
from adversary.program import Pairs, differences

# A path may be left out whose differences over the pairs are off by more than this share of them:
# half of what the solver says.
_UNSURE = 5e-4


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
        curvature = LOSSES["bradley_terry"].curvature(
            self.design @ theta2, self.offset, self.weight
        )
        hessian = (self.design.T * curvature) @ self.design / len(self.offset)
        hessian += self.ridge * np.eye(len(theta2))
        return -np.linalg.lstsq(hessian, self.gradient(theta2), rcond=None)[0]


def judge_phase2(
    pairs: Pairs, tensors: Tensors, first: Tensors, params: Any, objective: str
) -> Phase2Truth:
    """Judge a head of Phase II.

    Args:
        pairs: of the solve.
        tensors: of the head's file.
        first: of the file of Phase I's head.
        params: `beta`, `gamma` and `ridge` are read.
        objective: `Config.phase2_objective`.
    """
    hidden = neurons(tensors, pairs.rows)
    theta2 = tensors["theta2"].astype(np.float64)
    if "linear" in tensors:
        unit, coefficient = (
            (1.0, 1.0) if objective == "none" else _path_scale(pairs, tensors, first)
        )
        path = tensors if np.any(tensors["linear"]) else first
        hidden = np.column_stack([hidden, unit * path_rewards(path, pairs.rows)])
        theta2 = np.append(theta2, coefficient)
    offset, weight = params.gamma + pairs.margin, pairs.weight
    if objective != "pointwise":
        design = differences(hidden)
    else:
        signs = np.repeat([1.0, -1.0], len(offset))[:, None]
        design, offset, weight = signs * hidden, np.tile(offset, 2), np.tile(weight, 2)
    regression = _Regression(params.beta * design, offset, weight, params.ridge)
    value = regression.value(theta2)
    least = regression.value(minimiser(regression.value, regression.newton_step, theta2))
    return Phase2Truth(
        loss=value,
        gradient_norm=float(np.linalg.norm(regression.gradient(theta2))),
        excess=value - least,
        zero_loss=regression.value(np.zeros_like(theta2)),
    )


def _path_scale(pairs: Pairs, tensors: Tensors, first: Tensors) -> tuple[float, float]:
    """What makes the path a column of unit root mean square over the pairs, and its coefficient.

    A path that Phase II set to zero is still Phase I's column, unless that one is rounding.
    """
    used = bool(np.any(tensors["linear"]))
    linear = tensors["linear"] if used else first["linear"]
    steps = differences(pairs.rows)
    spread = _root_mean_square(steps @ linear.astype(np.float64), pairs.weight)
    sizes = abs(steps) @ abs(linear.astype(np.float64))
    rounding = 0.5 * float(np.finfo(linear.dtype).eps) * _root_mean_square(sizes, pairs.weight)
    if used:
        return 1 / spread, spread
    return (1 / spread if rounding < _UNSURE * spread else 0.0), 0.0


def _root_mean_square(values: Array, weight: Array) -> float:
    return float(np.sqrt(np.mean(weight * values**2)))
