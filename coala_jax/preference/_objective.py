"""The COALA objective of Phase II, convex in the second layer theta2.

Pairwise (eq 6, the default), with phi = relu(x theta1 + b):

    mean_j w_j softplus(gamma + m_j - beta theta2^T (phi(chosen_j) - phi(rejected_j)))
        + ridge / 2 ||theta2||^2

A linear path is one more column of phi, with a coefficient of its own in theta2.

Pointwise (eq 9): the same with +phi(chosen_j) and -phi(rejected_j) as rows of their own. Both are
a logistic regression without intercept on a design matrix; m_j is TRL's margin column.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax._head import Head, reward_terms
from coala_jax._inputs import PairArrays
from coala_jax._roundoff import unit_roundoff
from coala_jax._types import Objective, Params


class LogisticProblem(NamedTuple):
    """Rows of the regression that Phase II is.

    Attributes:
        design: (m, k) rows a_j; the reward advantage of a row is a_j theta2.
        offset: (m,) gamma + margin.
        weight: (m,) weights with mean 1.
    """

    design: jax.Array
    offset: jax.Array
    weight: jax.Array


def logistic_problem(
    kind: Objective,
    head: Head,
    pairs: PairArrays,
    gamma: jax.Array,
) -> LogisticProblem:
    """Design matrix of eq 6 or eq 9 from the first-layer outputs of pairs; of eq 6 for "none"."""
    if kind != "pointwise":
        design = term_differences(head, pairs)
        return LogisticProblem(design, gamma + pairs.margin, pairs.weight)
    return LogisticProblem(
        jnp.concatenate([reward_terms(head, pairs.chosen), -reward_terms(head, pairs.rejected)]),
        gamma + jnp.concatenate([pairs.margin, pairs.margin]),
        pairs.row_weight,
    )


def term_differences(head: Head, pairs: PairArrays) -> jax.Array:
    """phi(chosen) - phi(rejected), the column of a linear path included: (n, k) or (n, k + 1)."""
    neurons = neuron_differences(head, pairs)
    if head.linear is None:
        return neurons
    return jnp.concatenate([neurons, path_difference(head, pairs)[:, None]], axis=1)


def path_difference(head: Head, pairs: PairArrays) -> jax.Array:
    """(chosen - rejected) linear of a head that has a linear path: (n,)."""
    assert head.linear is not None
    return jnp.matmul(pairs.chosen - pairs.rejected, head.linear, precision="highest")


def neuron_differences(head: Head, pairs: PairArrays) -> jax.Array:
    """Differences of the first-layer outputs of the sides: (n, k).

    A neuron that sees both is linear between them, and their outputs may agree in most digits: the
    difference of the features does not cancel.
    """
    chosen, rejected = head.neurons(pairs.chosen), head.neurons(pairs.rejected)
    step = jnp.matmul(pairs.chosen - pairs.rejected, head.theta1, precision="highest")
    return jnp.where((chosen != 0) & (rejected != 0), step, chosen - rejected)


def difference_rounding(head: Head, pairs: PairArrays) -> jax.Array:
    """What one rounding of each of its terms may put `neuron_differences` off by: (n, k)."""
    chosen, rejected = head.neurons(pairs.chosen), head.neurons(pairs.rejected)
    theta1, bias = jnp.abs(head.theta1), jnp.abs(head.bias)
    step = jnp.abs(pairs.chosen - pairs.rejected) @ theta1
    one, other = (
        jnp.where(outputs != 0, jnp.abs(side - head.center) @ theta1 + bias, 0)
        for side, outputs in ((pairs.chosen, chosen), (pairs.rejected, rejected))
    )
    both = (chosen != 0) & (rejected != 0)
    return unit_roundoff(step.dtype) * jnp.where(both, step, one + other)


def preference_loss(params: Params, problem: LogisticProblem, theta2: jax.Array) -> jax.Array:
    """Weighted mean of softplus(offset - beta a_j theta2): scalar."""
    advantage = problem.design @ theta2
    return jnp.mean(problem.weight * jax.nn.softplus(problem.offset - params.beta * advantage))


def objective(params: Params, problem: LogisticProblem, theta2: jax.Array) -> jax.Array:
    """`preference_loss` plus ridge / 2 ||theta2||^2: scalar."""
    penalty = 0.5 * params.ridge * jnp.vdot(theta2, theta2)
    return preference_loss(params, problem, theta2) + penalty


def objective_change(
    params: Params, problem: LogisticProblem, theta2: jax.Array, new_theta2: jax.Array
) -> jax.Array:
    """objective(new_theta2) - objective(theta2), accurate where both agree to all digits.

    Row by row softplus(t + e) - softplus(t) = log1p(sigmoid(t) expm1(e)); the sign of a descent
    step stays right far below the resolution of the objective itself.
    """
    step = new_theta2 - theta2
    logit = problem.offset - params.beta * (problem.design @ theta2)
    moved = jnp.expm1(-params.beta * (problem.design @ step))
    rows = jnp.mean(problem.weight * jnp.log1p(jax.nn.sigmoid(logit) * moved))
    return rows + params.ridge * jnp.vdot(step, theta2 + 0.5 * step)
