"""Damped Newton on the Phase II objective: the truth of the AdamW chain, and of its gradients."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._line_search import step_length
from coala_jax._types import Params
from coala_jax.preference._differences import Differences
from coala_jax.preference._objective import (
    GroupProblem,
    LogisticProblem,
    Problem,
    objective,
    objective_change,
)

# Self-concordant-like and at most 2P unknowns: 5 or 6 full steps suffice from zero, the cap covers
# the damped phase on separable pairs with a tiny ridge.
_MAX_STEPS = 100
_MAX_HALVINGS = 30


class NewtonResult(NamedTuple):
    """Optimum of the Phase II objective.

    Attributes:
        theta2: (k,) minimiser.
        value: scalar objective there.
        gradient_norm: scalar Euclidean norm of its gradient.
        steps: scalar int32 Newton steps.
    """

    theta2: jax.Array
    value: jax.Array
    gradient_norm: jax.Array
    steps: jax.Array


def newton_optimum(
    params: Params,
    problem: Problem,
    tolerance: float | None = None,
    start: jax.Array | None = None,
) -> NewtonResult:
    """Minimise eq 6 or 9, or that of groups, with its ridge to a gradient below `tolerance`.

    By Newton's method with halvings until Armijo's condition holds (Boyd & Vandenberghe 2004,
    section 9.5), in at most 100 steps: `NewtonResult.gradient_norm` says how near it came.

    Args:
        params: `beta` and `ridge` are read; ridge must be > 0, which is not checked.
        problem: as `preference_problem` gives it, or made of arrays.
        tolerance: largest gradient norm; None for 100 times the dtype's resolution of the one at
            the start.
        start: (k,) where to begin; zero if None.

    Returns:
        The optimum, in the dtype of the problem.

    Example:
        >>> import jax.numpy as jnp
        >>> from coala_jax import Params
        >>> from coala_jax.preference import LogisticProblem, newton_optimum
        >>> design = jnp.array([[1.0, 0.0], [0.5, 1.0], [-0.2, 1.0], [1.0, -1.0]])
        >>> problem = LogisticProblem(design, offset=jnp.zeros(4), weight=jnp.ones(4))
        >>> found = newton_optimum(Params(ridge=0.1), problem)
        >>> bool(found.gradient_norm < 1e-4)
        True
    """
    design = problem.design
    if start is None:
        start = jnp.zeros(design.shape[-1], design.dtype)

    def value_and_grad(theta2: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda t: objective(params, problem, t))(theta2)

    def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        theta2, _, gradient, steps, _ = state
        direction = -jnp.linalg.solve(hessian(params, problem, theta2), gradient)
        slope = jnp.vdot(gradient, direction)

        def change(length: jax.Array) -> jax.Array:
            return objective_change(params, problem, theta2, theta2 + length * direction)

        length, stalled = step_length(change, slope, _MAX_HALVINGS)
        theta2 = jnp.where(stalled, theta2, theta2 + length * direction)
        value, gradient = value_and_grad(theta2)
        return theta2, value, gradient, steps + 1, stalled

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        _, _, gradient, steps, stalled = state
        return (jnp.linalg.norm(gradient) > limit) & (steps < _MAX_STEPS) & ~stalled

    value, gradient = value_and_grad(start)
    accuracy = 100 * jnp.finfo(design.dtype).eps
    limit = accuracy * jnp.linalg.norm(gradient) if tolerance is None else tolerance
    steps, stalled = jnp.zeros((), jnp.int32), jnp.array(False)
    first: tuple[jax.Array, ...] = (start, value, gradient, steps, stalled)
    theta2, value, gradient, steps, _ = lax.while_loop(unfinished, step, first)
    return NewtonResult(theta2, value, jnp.linalg.norm(gradient), steps)


def hessian(params: Params, problem: Problem, theta2: jax.Array) -> jax.Array:
    """Second derivative of `objective` in theta2: (k, k)."""
    if isinstance(problem, LogisticProblem):
        curved = _logistic_hessian(params, problem, theta2)
    else:
        curved = _group_hessian(params, problem, theta2)
    return curved + params.ridge * jnp.eye(len(theta2), dtype=theta2.dtype)


def _logistic_hessian(params: Params, problem: LogisticProblem, theta2: jax.Array) -> jax.Array:
    design = problem.design
    probability = jax.nn.sigmoid(problem.offset - params.beta * (design @ theta2))
    curvature = problem.weight * probability * (1 - probability) / design.shape[0]
    if isinstance(design, Differences):
        return design.gram(params.beta**2 * curvature)
    scaled = design * (params.beta**2 * curvature)[:, None]
    return scaled.T @ design


def _group_hessian(params: Params, problem: GroupProblem, theta2: jax.Array) -> jax.Array:
    """Members of a group move each other's slopes: of every term what it moves them by."""

    def pull(outputs: jax.Array) -> jax.Array:
        return problem.loss.negative_gradient(outputs, problem.labels, problem.weight)

    _, moved_by = jax.linearize(pull, params.beta * (problem.design @ theta2))
    moved = jax.vmap(moved_by, -1, -1)(params.beta**2 * problem.design)
    return -jnp.einsum("ngk,ngl->kl", problem.design, moved) / len(problem.design)
