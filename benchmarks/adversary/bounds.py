"""Bounds of program (3) in float64: by a certificate's dual point, and by exact projections."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from adversary.losses import Array
from adversary.newton import minimiser
from adversary.program import Program
from scipy.optimize import nnls

_GOLDEN = (5**0.5 - 1) / 2
_GOLDEN_STEPS = 80
# A certificate's dual point is the best multiple of itself up to rounding.
_LARGEST_SCALE = 2.0
# The first step along a ray, in units that move an output by one, and how often it may double.
_FIRST_STEP = 1e-9
_DOUBLINGS = 100


class Probe(NamedTuple):
    """The optimum with the network at zero: that of the linear path, all zeros without one.

    Attributes:
        rewards: (m,).
        sizes: (m,) sums of the rewards' terms if none cancelled another.
        penalty: ridge of its path.
    """

    rewards: Array
    sizes: Array
    penalty: float


class Ray(NamedTuple):
    """The neuron that lowers the loss most for its norm, at the probe.

    Attributes:
        lambda_max: its pull, max_i max ||Pi_{K_i}(+-g_i)||; NaN where a projection failed.
        size: the largest pull if nothing cancelled, beside which rounding is to be seen.
        rewards: (m,) outputs of the neuron at unit norm.
    """

    lambda_max: float
    size: float
    rewards: Array


def dual_bound(program: Program, point: Array, multipliers: Array) -> float:
    """Lower bound of the optimum by the best feasible multiple of (r, alpha).

    Args:
        program: the program.
        point: r, one value a label; what leaves the domain by rounding is brought back.
        multipliers: (H, P, m); negative ones are cut off, those of a gated program not read.
    """
    r = program.loss.into_domain(np.asarray(point, np.float64), program.labels, program.weight)
    blocks = program.pull(r)[None]
    if not program.gated:
        alpha = np.maximum(np.asarray(multipliers, np.float64), 0)
        blocks = np.concatenate([blocks, -blocks]) + (program.signs * alpha) @ program.x
    return _scaled_bound(program, r, np.linalg.norm(blocks, axis=-1).max())


def probe_of(program: Program) -> Probe:
    """The probe of a program, by Newton's method."""
    rows, ridge = program.path_rows, program.ridge
    linear = np.zeros(rows.shape[1])
    if ridge is None:
        return Probe(rows @ linear, rows @ linear, 0.0)
    seen, targets = program.outputs(rows), (program.labels, program.weight)

    def value(linear: Array) -> float:
        return program.value(rows @ linear) + program.path_penalty(linear)

    def step(linear: Array) -> Array:
        point = program.loss.dual_point(seen @ linear, *targets)
        slope = ridge * linear - np.tensordot(point, seen, point.ndim)
        gram = program.loss.gram(seen @ linear, *targets, seen)
        return -np.linalg.solve(gram + ridge * np.eye(len(linear)), slope)

    linear = minimiser(value, step, linear)
    return Probe(rows @ linear, abs(rows) @ abs(linear), program.path_penalty(linear))


def steepest_ray(program: Program, probe: Probe) -> Ray:
    """The exact lambda_max and the neuron that proves it."""
    outputs, targets = program.outputs(probe.rewards), (program.labels, program.weight)
    residual = program.loss.dual_point(outputs, *targets)
    pulled = program.pull(residual)
    rays = _projections(program, pulled)
    norms = np.array([np.linalg.norm(v) for _, v in rays])
    place, direction = rays[int(np.argmax(norms))]
    products = program.x @ direction
    if program.gated:
        rewards = program.patterns[place % len(pulled)] * products
    else:
        rewards = (1 if place < len(pulled) else -1) * np.maximum(products, 0)
    largest = float(norms.max())
    rewards = rewards / largest if largest > 0 else 0 * rewards
    sizes = program.loss.sizes(outputs, *targets, program.output_sizes(probe.sizes))
    return Ray(largest, program.pull_size(sizes), rewards)


def least_along(program: Program, probe: Probe, ray: Ray) -> float:
    """The least objective of multiples of a neuron beside the probe."""

    def objective(size: float) -> float:
        rewards = probe.rewards + size * ray.rewards
        return program.value(rewards) + program.strength * size + probe.penalty

    largest = np.max(abs(ray.rewards))
    if not largest > 0:
        return objective(0.0)
    end = _FIRST_STEP / largest
    for _ in range(_DOUBLINGS):
        if objective(2 * end) >= objective(end):
            break
        end *= 2
    return -_largest(lambda size: -objective(size), 2 * end)


def _projections(program: Program, pulled: Array) -> list[tuple[int, Array]]:
    """(i, projection of +-g_i onto its cone), the minus signs from P on: by Moreau, g + G^T alpha.

    A gated program has no cones. A projection that does not converge is NaN.
    """
    if program.gated:
        return list(enumerate(pulled))
    cones = [(sign[:, None] * program.x).T for sign in program.signs]
    return [
        (i, _projected(cones[i % len(cones)], block))
        for i, block in enumerate(np.concatenate([pulled, -pulled]))
    ]


def _projected(cone: Array, block: Array) -> Array:
    try:
        alpha, _ = nnls(cone, -block)
    except RuntimeError:  # it ran into its cap
        return np.full_like(block, np.nan)
    return block + cone @ alpha


def _scaled_bound(program: Program, r: Array, largest: float) -> float:
    """The best dual value of t r with t largest <= lambda_g."""
    loss, path = program.loss, program.path_term(r)
    cap = min(
        program.strength / largest if largest > 0 else np.inf,
        loss.largest_multiple(r, program.labels, program.weight),
        _LARGEST_SCALE,
    )

    def bound(t: float) -> float:
        return loss.dual_value(t * r, program.labels, program.weight) - t**2 * path

    return _largest(bound, cap)


def _largest(concave: Callable[[float], float], end: float) -> float:
    """The largest value of a concave function on [0, end], by golden sections."""
    low, high = 0.0, end
    best = max(concave(low), concave(high))
    for _ in range(_GOLDEN_STEPS):
        step = _GOLDEN * (high - low)
        left, right = concave(high - step), concave(low + step)
        best = max(best, left, right)
        if left >= right:
            high = low + step
        else:
            low = high - step
    return best
