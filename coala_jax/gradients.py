"""A gradient asked for where the solve did not converge is an error, not a number."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax.head import Head
from coala_jax.types import SUCCESSES, SolveError, Status


@jax.custom_vjp
def require_solved(head: Head, status: jax.Array) -> Head:
    """The head as it is; its gradient exists only where `status` is a success.

    Elsewhere the backward pass raises `SolveError`, or, under a jit around it, gives NaN.
    """
    return head


def _forward(head: Head, status: jax.Array) -> tuple[Head, jax.Array]:
    return head, status


def _backward(status: jax.Array, cotangent: Head) -> tuple[Head, np.ndarray]:
    solved = jnp.isin(status, jnp.asarray(SUCCESSES))
    if not isinstance(status, jax.core.Tracer) and not np.all(solved):
        reasons = {Status(int(code)) for code in np.unique(np.asarray(status)[~np.asarray(solved)])}
        raise SolveError(
            "the gradient of a solve that did not meet its tolerances was asked for: "
            + "; ".join(f"{reason.name.lower()}: {reason.text}" for reason in sorted(reasons))
        )
    masked = jax.tree.map(lambda g: jnp.where(solved, g, jnp.nan), cotangent)
    return masked, np.zeros(status.shape, jax.dtypes.float0)


require_solved.defvjp(_forward, _backward)
