"""What the saved head of Phase I and its certificate are worth, on raw features in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from adversary.answers import Answers
from adversary.bounds import dual_bound, least_along, probe_of, steepest_ray
from adversary.losses import Array
from adversary.program import Program, rounding

Tensors = dict[str, Array]
# No column counts as varying by less than this share of its half range.
_LEAST_DEVIATION = 1e-6


class Phase1Truth(NamedTuple):
    """Figures that the claims of Phase I are compared with.

    Attributes:
        primal_value: the network's own objective; the larger one of its outputs in float64 and of
            those in the caller's arithmetic, infinite where one is NaN.
        exact_primal_value: that of the outputs in float64.
        certified_value: objective (3) at the certificate's weights and path.
        dual_bound: of the certificate's dual point and multipliers, scaled until feasible.
        zero_value: objective of the zero network without a path.
        probe_value: that of the zero network and the best linear path.
        better_value: least objective found beside the head's: that of the probe, or of the one
            neuron that lowers the loss most for its norm beside it.
        lambda_max: exact; NaN where a projection did not converge.
        pull_rounding: a rounding, in the solver's dtype, of the largest pull on a block at zero
            if no term cancelled another.
        gap: (P - D) / |D|.
        explained: (P(0) - P) / (P(0) - D); zero where nothing is possible.
        outside_cones: products of the certificate's weights with rows that leave a cone.
        wrong_patterns: rows on the other side of a gate than the certificate says.
        standardisation_error: largest error of a column's centre or scale, in deviations.
        lost_weight: largest weight of a pair or group that the certificate counts as none.
        label_error: largest error of a label of groups, as a share of the group's largest one;
            infinite where others are members than the certificate says.
    """

    primal_value: float
    exact_primal_value: float
    certified_value: float
    dual_bound: float
    zero_value: float
    probe_value: float
    better_value: float
    lambda_max: float
    pull_rounding: float
    gap: float
    explained: float
    outside_cones: int
    wrong_patterns: int
    standardisation_error: float
    lost_weight: float
    label_error: float


def judge_phase1(
    program: Program, answers: Answers, certificate: Any, tensors: Tensors, rewards: Array
) -> Phase1Truth:
    """Judge a head of Phase I.

    Args:
        program: of the certificate.
        answers: of the solve.
        certificate: with numpy leaves.
        tensors: of the head's file.
        rewards: (m,) of the head that was loaded, in the caller's arithmetic.
    """
    primal, exact = _primal_values(program, answers, certificate, tensors, rewards)
    dual = dual_bound(program, certificate.dual_point, certificate.multipliers)
    certified, outside = certified_value(program, certificate)
    zero = program.value(np.zeros(len(program.x)))
    probe = probe_of(program)
    probe_value = program.value(probe.rewards) + probe.penalty
    ray = steepest_ray(program, probe)
    return Phase1Truth(
        primal_value=primal,
        exact_primal_value=exact,
        certified_value=certified,
        dual_bound=dual,
        zero_value=zero,
        probe_value=probe_value,
        better_value=min(probe_value, least_along(program, probe, ray)),
        lambda_max=ray.lambda_max,
        pull_rounding=ray.size * float(np.finfo(certificate.gates.dtype).eps),
        gap=(primal - dual) / abs(dual) if dual else np.inf,
        explained=(zero - primal) / (zero - dual) if zero > dual else 0.0,
        outside_cones=outside,
        wrong_patterns=int(np.sum(program.patterns != np.asarray(certificate.patterns))),
        standardisation_error=_standardisation_error(program, answers, certificate),
        lost_weight=float(np.max(np.where(program.counts, 0, answers.weight))),
        label_error=_label_error(program, certificate),
    )


def neurons(tensors: Tensors, rows: Array) -> Array:
    """First-layer outputs of a head in float64: (m, d) -> (m, k)."""
    rows = rows - tensors["center"]
    first = rows @ tensors["theta1"].astype(np.float64) + tensors["bias"]
    if "gates" not in tensors:
        return np.maximum(first, 0)
    gates = rows @ tensors["gates"].astype(np.float64) + tensors["gate_bias"]
    return np.where(gates >= 0, first, 0)


def path_rewards(tensors: Tensors, rows: Array) -> Array:
    """What the linear path of a head adds to rewards, in float64; zeros without one."""
    if "linear" not in tensors:
        return np.zeros(len(rows))
    return (rows - tensors["center"]) @ tensors["linear"].astype(np.float64)


def certified_value(program: Program, certificate: Any) -> tuple[float, int]:
    """Objective (3) at a certificate's weights and path, and how often these leave their cones."""
    weights = np.asarray(certificate.weights, np.float64)
    products = weights @ program.x.T
    outside = program.signs * products < -rounding(program.x, certificate.weights)
    advantage = products[0] if program.gated else products[0] - products[1]
    linear = _certified_path(program, certificate)
    rewards = np.sum(program.patterns * advantage, axis=0) + program.path_rows @ linear
    lasso = program.strength * np.linalg.norm(weights, axis=-1).sum()
    value = program.value(rewards) + float(lasso) + program.path_penalty(linear)
    return value, 0 if program.gated else int(outside.sum())


def _certified_path(program: Program, certificate: Any) -> Array:
    """Weights of the path on standardised rows, (d,); zeros without one."""
    if program.ridge is None:
        return np.zeros(program.path_rows.shape[1])
    return np.asarray(certificate.linear, np.float64)


def _primal_values(
    program: Program, answers: Answers, certificate: Any, tensors: Tensors, rewards: Array
) -> tuple[float, float]:
    exact = neurons(tensors, answers.rows) @ tensors["theta2"].astype(np.float64)
    exact = exact + path_rewards(tensors, answers.rows)
    called = np.asarray(rewards, np.float64)
    if program.gated:
        # Of a row on a hyperplane the certificate says on which side it is.
        weights = np.asarray(certificate.weights, np.float64)[0]
        near = program.near.any(axis=0)
        told = np.sum(program.patterns * (weights @ program.x.T), axis=0)
        told = told + program.path_rows @ _certified_path(program, certificate)
        exact, called = np.where(near, told, exact), np.where(near, told, called)
    penalty = program.strength * _group_norms(tensors, certificate).sum()
    if "linear" in tensors:
        _, scale = _standardisation(certificate)
        penalty += program.path_penalty(scale * tensors["linear"])
    values = [program.value(rewards) + penalty for rewards in (exact, called)]
    return float(np.max(np.nan_to_num(values, nan=np.inf))), float(values[0])


def _group_norms(tensors: Tensors, certificate: Any) -> Array:
    """||v_i|| or ||w_i|| of every neuron, on standardised rows: (k,).

    Half the squares of both layers come to as much where a neuron is balanced, and to more where it
    is not.
    """
    theta1 = tensors["theta1"].astype(np.float64)
    center, scale = _standardisation(certificate)
    bias = tensors["bias"] + (center - tensors["center"]) @ theta1
    first = np.concatenate([theta1 * scale[:, None], bias[None]])
    return np.linalg.norm(first, axis=0) * abs(tensors["theta2"].astype(np.float64))


def _standardisation(certificate: Any) -> tuple[Array, Array]:
    center, scale = certificate.center, certificate.scale
    return np.asarray(center, np.float64), np.asarray(scale, np.float64)


def _standardisation_error(program: Program, answers: Answers, certificate: Any) -> float:
    """What centre and scale are off by, in deviations, beside the rounding of a sum of all rows."""
    center, scale = _standardisation(certificate)
    counts = (
        answers.row_weight * np.repeat(program.counts, len(program.x) // len(program.counts)) > 0
    )
    rows = answers.rows[counts]
    half_range = (rows.max(axis=0) - rows.min(axis=0)) / 2
    varies = half_range > 0
    weight = answers.row_weight[counts] / answers.row_weight.sum()
    mean = np.where(varies, weight @ rows, rows[0])
    deviation = np.sqrt(weight @ ((rows - center) / np.where(varies, half_range, 1)) ** 2)
    wanted = np.where(varies, np.maximum(deviation, _LEAST_DEVIATION) * half_range, 1)
    rounding = np.finfo(certificate.center.dtype).eps * (abs(center) + len(rows) * half_range)
    errors = np.array([abs(mean - center), abs(scale - wanted)])
    return float(np.max(np.maximum(errors - rounding, 0) / wanted))


def _label_error(program: Program, certificate: Any) -> float:
    if not program.loss.grouped:
        return 0.0
    member = program.weight > 0
    if np.any(member != (np.asarray(certificate.row_weight) > 0)):
        return np.inf
    error = abs(program.labels - np.asarray(certificate.labels, np.float64))
    unit = abs(program.labels).max(axis=1, keepdims=True)
    return float(np.max(np.where(member, error / np.where(unit > 0, unit, 1), 0)))
