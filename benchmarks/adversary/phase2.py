"""What the saved head of Phase II is worth: its objective and the least one, in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from adversary.answers import Answers, Groups
from adversary.group_losses import GROUP_LOSSES, GroupLoss
from adversary.losses import LOSSES, Array, Loss
from adversary.newton import minimiser
from adversary.phase1 import Tensors, neurons, path_rewards
from adversary.program import beyond_mean, by_group, differences

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
    """mean_j weight_j l(beta a_j theta2, label_j) + ridge / 2 ||theta2||^2.

    Attributes:
        design: (n, p) a_j, or (n, k, p) of groups, times beta.
        labels, weight: (n,) or (n, k).
        loss: l.
        ridge: of theta2.
    """

    design: Array
    labels: Array
    weight: Array
    loss: Loss | GroupLoss
    ridge: float

    def value(self, theta2: Array) -> float:
        loss = self.loss.value(self.design @ theta2, self.labels, self.weight)
        return loss / len(self.labels) + 0.5 * self.ridge * float(theta2 @ theta2)

    def gradient(self, theta2: Array) -> Array:
        pull = self.loss.dual_point(self.design @ theta2, self.labels, self.weight)
        pulled = np.tensordot(pull, self.design, pull.ndim)
        return -pulled / len(self.labels) + self.ridge * theta2

    def newton_step(self, theta2: Array) -> Array:
        gram = self.loss.gram(self.design @ theta2, self.labels, self.weight, self.design)
        hessian = gram / len(self.labels) + self.ridge * np.eye(len(theta2))
        return -np.linalg.lstsq(hessian, self.gradient(theta2), rcond=None)[0]


def judge_phase2(
    answers: Answers, tensors: Tensors, first: Tensors, params: Any, config: Any
) -> Phase2Truth:
    """Judge a head of Phase II.

    Args:
        answers: of the solve.
        tensors: of the head's file.
        first: of the file of Phase I's head.
        params: `beta`, `gamma` and `ridge` are read.
        config: `phase2_objective` is read, of groups `phase1_loss`.
    """
    hidden, objective = neurons(tensors, answers.rows), config.phase2_objective
    theta2 = tensors["theta2"].astype(np.float64)
    if "linear" in tensors:
        unit, coefficient = (
            (1.0, 1.0) if objective == "none" else _path_scale(answers, tensors, first)
        )
        path = tensors if np.any(tensors["linear"]) else first
        hidden = np.column_stack([hidden, unit * path_rewards(path, answers.rows)])
        theta2 = np.append(theta2, coefficient)
    if isinstance(answers, Groups):
        loss: Loss | GroupLoss = GROUP_LOSSES[config.phase1_loss]
        design = beyond_mean(by_group(hidden, answers.member.shape[1]), answers.member)
        labels, weight = answers.labels, answers.weight[:, None] * answers.member
    else:
        loss, labels, weight = (
            LOSSES["bradley_terry"],
            params.gamma + answers.margin,
            answers.weight,
        )
        if objective != "pointwise":
            design = differences(hidden)
        else:
            signs = np.tile([1.0, -1.0], len(labels))[:, None]
            design, labels, weight = signs * hidden, np.repeat(labels, 2), np.repeat(weight, 2)
    regression = _Regression(params.beta * design, labels, weight, loss, params.ridge)
    value = regression.value(theta2)
    least = regression.value(minimiser(regression.value, regression.newton_step, theta2))
    return Phase2Truth(
        loss=value,
        gradient_norm=float(np.linalg.norm(regression.gradient(theta2))),
        excess=value - least,
        zero_loss=regression.value(np.zeros_like(theta2)),
    )


def _path_scale(answers: Answers, tensors: Tensors, first: Tensors) -> tuple[float, float]:
    """What makes the path a column of unit root mean square over the pairs, and its coefficient.

    Of groups, over the pairs of their members. A path that Phase II set to zero is still Phase I's
    column, unless that one is rounding.
    """
    used = bool(np.any(tensors["linear"]))
    linear = tensors["linear"] if used else first["linear"]
    (steps, weight), path = answers.steps, linear.astype(np.float64)
    spread = np.sqrt(weight @ (steps @ path) ** 2)
    rounding = np.sqrt(weight @ (abs(steps) @ abs(path)) ** 2) * np.finfo(linear.dtype).eps / 2
    if used:
        return 1 / spread, spread
    return (1 / spread if rounding < _UNSURE * spread else 0.0), 0.0
