"""The loop over ADMM steps and certificates: when to stop, and what to report."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._solution import Phase1History
from coala_jax._status import Status
from coala_jax._types import Config, Params
from coala_jax.convex._certificate import (
    Dual,
    Primal,
    better_dual,
    better_primal,
    explained_share,
    feasible_dual,
    feasible_primal,
    relative_gap,
)
from coala_jax.convex._cronos import (
    CronosProblem,
    CronosState,
    cronos_init,
    cronos_step,
    refresh_products,
    restart,
)
from coala_jax.convex._penalties import balance_penalty, balance_rows
from coala_jax.convex._program import cone_violation

# Steps of one projection, warm-started from the last certificate's; measured on the shared
# features 50 bring the violation from 1e-2 to 1e-4, and the push inside then costs under 0.3 %.
_PROJECTION_ITERATIONS = 50
# A certificate cannot be the last one while the violation is above its tolerance: until it is
# within a factor of _NEAR few steps of the projection do, which are most of its cost.
_NEAR = 3.0
_EARLY_PROJECTION_ITERATIONS = 10
# A dual bound this close to the zero network's objective says that zero is optimal.
_ZERO_GAP = 1e-5
# Tolerances this many times as large, all of them, are what `Status.SOLVED_INACCURATE` promises.
LOOSER = 3.0


class CronosResult(NamedTuple):
    """What `cronos_solve` returns: bounds, trace and status of one program."""

    primal: Primal
    dual: Dual
    state: CronosState
    violation: jax.Array
    history: Phase1History
    status: jax.Array


class _Loop(NamedTuple):
    """Carry of the loop over certificates."""

    state: CronosState
    primal: Primal
    dual: Dual
    violation: jax.Array
    history: Phase1History
    check: jax.Array
    status: jax.Array
    finished: jax.Array


def cronos_solve(
    params: Params,
    problem: CronosProblem,
    interior: jax.Array,
    config: Config,
    status: jax.Array,
    start: CronosState | None = None,
) -> CronosResult:
    """Run ADMM until the certificate and the residuals meet their tolerances.

    Args:
        params: tolerances are read here.
        problem: from `cronos_problem`.
        interior: (P, D) points from `projection.interior_points`; not read without cones.
        config: caps and the distance between certificates.
        status: int32 `Status` of the input; anything but SOLVED runs no step.
        start: last state of a solve of the same program at another strength, or None for zeros.
    """
    program = problem.program
    checks = config.max_iterations // config.check_every
    nan = jnp.full((checks,), jnp.nan, program.features.dtype)
    zero = cronos_init(problem, adapt_rows=config.adapt_rows)
    zero_value = program.zero_value()
    zero_primal = Primal(zero.weights, zero.output, zero_value, zero.slack)
    zero_dual = Dual(zero.output, zero.slack, jnp.zeros_like(zero_value))

    def advance(loop: _Loop) -> _Loop:
        state = lax.fori_loop(
            0,
            config.check_every,
            lambda _, state: cronos_step(problem, state, config.max_cg_iterations),
            refresh_products(problem, loop.state),
        )
        violation = cone_violation(program, state.weights)
        near = violation <= _NEAR * params.violation_tolerance
        steps = jnp.where(near, _PROJECTION_ITERATIONS, _EARLY_PROJECTION_ITERATIONS)
        newest = feasible_primal(
            program,
            problem.system,
            interior,
            state.weights,
            loop.primal.multipliers,
            steps,
        )
        primal = better_primal(loop.primal, newest)
        dual = better_dual(loop.dual, _best_dual(problem, state, newest))
        entry = Phase1History(
            iteration=state.iterations.astype(nan.dtype),
            primal_value=primal.value,
            dual_bound=dual.value,
            relative_gap=relative_gap(primal.value, dual.value),
            cone_violation=violation,
            primal_residual=state.primal_residual,
            dual_residual=state.dual_residual,
        )
        finite = jnp.isfinite(newest.output).all() & jnp.isfinite(state.dual_residual)
        vanishes = ~jnp.any(primal.weights)
        status = _status(params, entry, zero_value, program.strength, vanishes, finite)
        return _Loop(
            state=state,
            primal=primal,
            dual=dual,
            violation=violation,
            history=jax.tree.map(lambda a, e: a.at[loop.check].set(e), loop.history, entry),
            check=loop.check + 1,
            status=status,
            finished=(status != Status.ITERATION_LIMIT) & (status != Status.SOLVED_INACCURATE),
        )

    def adapt(loop: _Loop) -> _Loop:
        state = loop.state
        if config.adapt_rho:
            state = balance_penalty(state)
        if config.adapt_rows and program.has_cones:
            state = balance_rows(problem, state)
        return loop._replace(state=state)

    def stretch(loop: _Loop) -> _Loop:
        """Certificates up to the next power of two, then new penalties.

        In a loop of its own, so that a vmapped solve factorises once a stretch, not a certificate.
        """
        end = jnp.minimum(jnp.maximum(2 * loop.check, 1), checks)
        loop = lax.while_loop(lambda x: ~x.finished & (x.check < end), advance, loop)
        return lax.cond(loop.finished | (loop.check >= checks), lambda x: x, adapt, loop)

    valid = status == Status.SOLVED
    first = _Loop(
        state=zero if start is None else restart(start),
        primal=zero_primal,
        dual=zero_dual,
        violation=jnp.full_like(zero_value, jnp.nan),
        history=Phase1History(*[nan] * len(Phase1History._fields)),
        check=jnp.zeros((), jnp.int32),
        status=jnp.where(valid, Status.ITERATION_LIMIT, status).astype(jnp.int32),
        finished=~valid,
    )
    last = lax.while_loop(lambda loop: ~loop.finished & (loop.check < checks), stretch, first)
    return CronosResult(
        last.primal, last.dual, last.state, last.violation, last.history, last.status
    )


def _status(
    params: Params,
    entry: Phase1History,
    zero_value: jax.Array,
    strength: jax.Array,
    vanishes: jax.Array,
    finite: jax.Array,
) -> jax.Array:
    """What one certificate says, as an int32 `Status`; the last line that holds counts.

    Args:
        params: the tolerances.
        entry: the certificate.
        zero_value: objective of the zero network.
        strength: lambda_g; at zero there is no gap to certify.
        vanishes: whether the best feasible weights are all zero.
        finite: whether iterate and residuals are.
    """
    no_gap = (strength == 0) & _converged_without_gap(params, entry, zero_value)
    loosely = _meets_tolerances(params, entry, zero_value, LOOSER)
    status = jnp.where(loosely, Status.SOLVED_INACCURATE, Status.ITERATION_LIMIT)
    status = jnp.where(no_gap, Status.SOLVED_WITHOUT_GAP, status)
    status = jnp.where(_meets_tolerances(params, entry, zero_value), Status.SOLVED, status)
    status = jnp.where(vanishes & (entry.relative_gap <= _ZERO_GAP), Status.ZERO_NETWORK, status)
    return jnp.where(finite, status, Status.BREAKDOWN).astype(jnp.int32)


def _meets_tolerances(
    params: Params, entry: Phase1History, zero_value: jax.Array, looser: float = 1.0
) -> jax.Array:
    """Whether one certificate meets all that `Status.SOLVED` promises; NaN meets nothing.

    With `looser` above 1 every tolerance, and the share that may stay unexplained, is that many
    times as large.
    """
    explained = explained_share(zero_value, entry.primal_value, entry.dual_bound)
    return (
        (entry.relative_gap <= looser * params.gap_tolerance)
        & (1 - explained <= looser * (1 - params.explained_minimum))
        & _converged(params, entry, looser)
    )


def _converged_without_gap(
    params: Params, entry: Phase1History, zero_value: jax.Array
) -> jax.Array:
    """Whether a program of zero strength counts as solved.

    Its residuals say so, or the fit is exact: all multipliers are then zero, no residual is small
    relative to them, and zero is a bound of any loss.
    """
    inside = entry.cone_violation <= params.violation_tolerance
    exact = entry.primal_value <= params.gap_tolerance * zero_value
    return _converged(params, entry) | (inside & exact)


def _converged(params: Params, entry: Phase1History, looser: float = 1.0) -> jax.Array:
    """Whether violation and residuals are within their tolerances."""
    residual = jnp.maximum(entry.primal_residual, entry.dual_residual)
    return (entry.cone_violation <= looser * params.violation_tolerance) & (
        residual <= looser * params.residual_tolerance
    )


def _best_dual(problem: CronosProblem, state: CronosState, primal: Primal) -> Dual:
    """The better of the dual points at the split output and at the feasible output."""
    program = problem.program
    multipliers = -state.penalty * state.rows.penalty * state.slack_dual

    def bound(output: jax.Array) -> Dual:
        return feasible_dual(program, program.dual_point(output), multipliers)

    return better_dual(bound(state.output), bound(primal.output))
