"""Gradients of the Phase II optimum by implicit differentiation."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax._gradients import once_differentiable
from coala_jax._types import Params
from coala_jax.preference._newton import hessian, newton_optimum
from coala_jax.preference._objective import Problem, objective


@jax.custom_vjp
def differentiable_theta2(
    params: Params, problem: Problem, theta2: jax.Array, solved: jax.Array
) -> jax.Array:
    """The given theta2 as a function of the problem: (k,).

    Its gradient is that of the minimiser of `objective` with respect to beta, ridge, design, offset
    and weight; NaN where `solved` is false. The minimiser itself is found anew, by Newton.
    """
    return theta2


def _forward(
    params: Params, problem: Problem, theta2: jax.Array, solved: jax.Array
) -> tuple[jax.Array, tuple[Params, Problem, jax.Array]]:
    return theta2, once_differentiable((params, problem, solved))


def _backward(
    residuals: tuple[Params, Problem, jax.Array], cotangent: jax.Array
) -> tuple[Params, Problem, None, None]:
    # Traced outside the precision of `finetune`.
    with jax.default_matmul_precision("highest"):
        return _implicit_gradients(*residuals, cotangent)


def _implicit_gradients(
    params: Params, problem: Problem, solved: jax.Array, cotangent: jax.Array
) -> tuple[Params, Problem, None, None]:
    optimum = newton_optimum(params, problem).theta2
    p = jnp.linalg.solve(hessian(params, problem, optimum), cotangent)

    def equation(params: Params, problem: Problem) -> jax.Array:
        """<p, gradient of the objective>, to be differentiated in the data."""
        return jnp.vdot(p, jax.grad(lambda t: objective(params, problem, t))(optimum))

    gradients = jax.grad(equation, argnums=(0, 1))(params, problem)
    by_params, by_problem = jax.tree.map(lambda g: jnp.where(solved, -g, jnp.nan), gradients)
    return by_params, by_problem, None, None


differentiable_theta2.defvjp(_forward, _backward)
