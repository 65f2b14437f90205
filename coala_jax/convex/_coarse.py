"""Phase I as a choice of strengths needs it: close to the optimum, without a certificate.

What is asked of a candidate is its loss on pairs that it has not seen, which the last per cent of
convergence hardly moves. So a fold is solved to a residual: no projection, no bound. Each strength
starts from the state of another one near to it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._group_inputs import Arrays
from coala_jax._head import Head
from coala_jax._types import Config, Params
from coala_jax.convex._active_set import Weights
from coala_jax.convex._cronos import (
    CronosState,
    cronos_init,
    cronos_steps,
    restart,
)
from coala_jax.convex._linear_path import fit_path
from coala_jax.convex._penalties import NEVER, adapt_penalties, rows_pay
from coala_jax.convex._phase1 import head_of_weights
from coala_jax.convex._prepare import Prepared, at_strength, prepare
from coala_jax.convex._program import label_count, make_program
from coala_jax.convex._rows import raw_rows
from coala_jax.convex._standardize import (
    fit_standardization,
    program_rows,
    unstandardize_path,
)

# Steps between two looks at the residuals, and fewest and most looks at a strength: the first steps
# from a network that is nearly zero change little, which a residual takes for convergence.
_CHECK_EVERY = 3
_FEWEST_CHECKS, _MOST_CHECKS = 2, 33
# Conjugate-gradient steps within one: the first ones from zero would take twice as many, which no
# left-out loss shows.
_MOST_CG_STEPS = 4
# Gradient norm of a linear probe, as a share of that at zero.
_PROBE_TOLERANCE = 1e-3


class CoarsePath(NamedTuple):
    """A program and where its steps have come to.

    Attributes:
        prepared: the program and what does not change with its strength.
        state: of ADMM.
    """

    prepared: Prepared
    state: CronosState


@functools.partial(jax.jit, static_argnames="config")
def coarse_begin(params: Params, arrays: Arrays, key: jax.Array, config: Config) -> CoarsePath:
    """The zero network, beside the linear path that is best without one."""
    prepared = prepare(params, arrays, config, key, None)
    problem, _ = at_strength(params, config, prepared)
    state = cronos_init(problem, adapt_rows=rows_pay(config, problem.program))
    return CoarsePath(prepared, state)


@functools.partial(jax.jit, static_argnames="config")
def coarse_advance(params: Params, path: CoarsePath, config: Config) -> CoarsePath:
    """The path at `params.group_lasso`, until residuals are within `params.residual_tolerance`.

    One that broke down begins anew.
    """
    problem, _ = at_strength(params, config, path.prepared)
    broken = jnp.isnan(path.state.primal_residual) | jnp.isnan(path.state.dual_residual)
    start = lax.cond(
        broken,
        lambda: cronos_init(problem, adapt_rows=rows_pay(config, problem.program)),
        lambda: restart(path.state),
    )
    cg_steps = min(config.max_cg_iterations, _MOST_CG_STEPS)

    def unfinished(loop: tuple[CronosState, jax.Array, jax.Array]) -> jax.Array:
        state, check, _ = loop
        residual = jnp.maximum(state.primal_residual, state.dual_residual)
        met = (residual <= params.residual_tolerance) & (check >= _FEWEST_CHECKS)
        return ~met & (check < _MOST_CHECKS)

    def advance(
        loop: tuple[CronosState, jax.Array, jax.Array],
    ) -> tuple[CronosState, jax.Array, jax.Array]:
        state, check, updated = loop
        state = cronos_steps(problem, state, _CHECK_EVERY, cg_steps, config.precision)
        state, updated = adapt_penalties(problem, config, state, check + 1, updated)
        return state, check + 1, updated

    never = jnp.full((), -NEVER, jnp.int32)
    state, *_ = lax.while_loop(unfinished, advance, (start, jnp.zeros((), jnp.int32), never))
    return path._replace(state=state)


def coarse_head(path: CoarsePath) -> Head:
    """The network of the split weights, which may be outside their cones by a little."""
    return head_of_weights(Weights(path.state.weights, path.state.linear), path.prepared)


@functools.partial(jax.jit, static_argnames="config")
def linear_probes(params: Params, arrays: Arrays, ridges: jax.Array, config: Config) -> jax.Array:
    """The linear path alone at several values of `Params.linear_ridge`: (r,) -> (r, d).

    On centred features, as `ConvexHead.linear` is; each found from the one before.

    Args:
        params: `gamma` is read.
        arrays: pairs or groups, of width d.
        ridges: from high to low.
        config: `phase1_loss` is read.
    """
    standardization = fit_standardization(raw_rows(arrays), arrays.row_weight)
    x = program_rows(arrays, standardization)
    config = dataclasses.replace(config, linear_path=True)
    program = make_program(x, jnp.zeros((1, len(x)), bool), arrays, params, config)
    zero, labels = jnp.zeros_like(program.labels), label_count(arrays, program.labels)

    def weaker(linear: jax.Array, ridge: jax.Array) -> tuple[jax.Array, jax.Array]:
        weighed = dataclasses.replace(program, linear_ridge=ridge * labels)
        found = fit_path(weighed, zero, linear, tolerance=_PROBE_TOLERANCE)
        raw = unstandardize_path(found, standardization)
        assert raw is not None
        return found, raw

    found: jax.Array = lax.scan(weaker, jnp.zeros(x.shape[1] - 1, x.dtype), ridges)[1]
    return found
