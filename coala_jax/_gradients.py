"""A gradient asked for where there is none is an error, not a number.

The guards are identities. Two have backward passes that look at concrete values, which there are
in an eager `jax.grad`; under a jit or vmap around it the gradient is NaN instead. Forward mode has
no rule: it is an error, in jax's own words where a jit stands around it. The third guard allows no
derivative at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from coala_jax._head import Head
from coala_jax._solution import Result
from coala_jax._status import SolveError, Status

Tree = TypeVar("Tree")


def require_gradient(inputs: Tree) -> Tree:
    """The inputs of a solve as they are; a NaN gradient by one asked for raises `SolveError`.

    What the caller does not differentiate by has no say: its gradient may be NaN where theirs is
    right, such as that of a strength, of Phase I, beside that of `ridge`, of Phase II alone.
    """
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(inputs))
    return in_reverse_mode(_require_gradient, inputs) if traced else inputs


def in_reverse_mode(function: Callable[..., Tree], *inputs: Any) -> Tree:
    """What a function gives; its `TypeError` of forward mode says what works instead."""
    try:
        return function(*inputs)
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise TypeError(
            "a solve has no derivatives in forward mode (jax.jvp, jax.jacfwd, jax.linearize): use "
            "jax.grad, jax.vjp or jax.jacrev"
        ) from error


@jax.custom_vjp
def _require_gradient(inputs: Tree) -> Tree:
    return inputs


def _inputs_forward(inputs: Tree) -> tuple[Tree, list[bool | None]]:
    """Inputs come as (value, perturbed); residuals have True for what is perturbed, else None.

    Their structure tells: under a trace a boolean would be an array, and None stays None.
    """
    primals = jax.tree.leaves(inputs, is_leaf=_is_primal)
    differentiated = [True if primal.perturbed else None for primal in primals]
    return jax.tree.map(lambda primal: primal.value, inputs, is_leaf=_is_primal), differentiated


def _is_primal(node: Any) -> bool:
    return isinstance(node, CustomVJPPrimal)


def _inputs_backward(differentiated: list[bool | None], cotangent: Tree) -> tuple[Tree]:
    leaves = jax.tree.leaves(cotangent)
    for leaf, asked in zip(leaves, differentiated, strict=True):
        if asked is None or isinstance(leaf, SymbolicZero | jax.core.Tracer):
            continue
        if bool(jnp.any(jnp.isnan(leaf))):
            raise SolveError(
                "no gradient: the active set of this solution does not satisfy the conditions of "
                "an optimum; solve to tighter tolerances (1e-8, in float64), or change "
                "Params.group_lasso where a neuron is just about to vanish"
            )
    return (cotangent,)


_require_gradient.defvjp(_inputs_forward, _inputs_backward, symbolic_zeros=True)


def require_solved(result: Result) -> Result:
    """The result as it is; its head has a gradient only where the status is SOLVED.

    Elsewhere the backward pass raises `SolveError`, or, under a jit or vmap around it, gives NaN.
    At zero strength there is none: without the penalty nothing holds the weights in place.
    """
    head = in_reverse_mode(_require_solved, result.head, result.status)
    return dataclasses.replace(result, head=head)


@jax.custom_vjp
def _require_solved(head: Head, status: jax.Array) -> Head:
    return head


def _forward(head: Head, status: jax.Array) -> tuple[Head, jax.Array]:
    return head, status


def _backward(status: jax.Array, cotangent: Head) -> tuple[Head, np.ndarray]:
    solved = status == Status.SOLVED
    if not isinstance(status, jax.core.Tracer) and not np.all(solved):
        reasons = {Status(int(code)) for code in np.unique(np.asarray(status)[~np.asarray(solved)])}
        raise SolveError(
            "a gradient was asked for, which only a solve that ended in solved has: "
            + "; ".join(f"{reason.name.lower()}: {reason.text}" for reason in sorted(reasons))
        )

    def mask(gradient: jax.Array) -> jax.Array:
        """By element, where the solves of a path or a batch lie along leading axes."""
        shape = solved.shape + (1,) * (gradient.ndim - solved.ndim)
        return jnp.where(solved.reshape(shape), gradient, jnp.nan)

    return jax.tree.map(mask, cotangent), np.zeros(status.shape, jax.dtypes.float0)


_require_solved.defvjp(_forward, _backward)


@jax.custom_vjp
def once_differentiable(residuals: Tree) -> Tree:
    """What a forward pass keeps for its backward one, as it is; a derivative by it is an error.

    The forward pass gives the optimum as a constant: what is differentiated again would miss how
    it moves, and second derivatives would be wrong without a word.

    Raises:
        TypeError: a second derivative was asked for, in any mode, under jit too.
    """
    return residuals


def _second_forward(residuals: Tree) -> tuple[Tree, None]:
    raise TypeError(
        "a solve has first derivatives alone: take differences of jax.grad instead of jax.hessian, "
        "jax.grad of jax.grad and the like"
    )


def _second_backward(nothing: None, cotangent: Tree) -> tuple[Tree]:
    return (cotangent,)


once_differentiable.defvjp(_second_forward, _second_backward)
