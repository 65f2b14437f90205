"""The loop over ADMM steps and certificates: when to stop, and what to report."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._roundoff import relative_error
from coala_jax._solution import Phase1History
from coala_jax._status import Status
from coala_jax._types import Config, Params
from coala_jax.convex._certificate import (
    Dual,
    Primal,
    better_dual,
    better_primal,
    evaluated,
    explained_share,
    feasible_dual,
    relative_gap,
    zero_network,
)
from coala_jax.convex._cronos import (
    CronosProblem,
    CronosState,
    cronos_init,
    cronos_steps,
    restart,
)
from coala_jax.convex._feasible import THOROUGH, feasible_primal
from coala_jax.convex._penalties import (
    NEVER,
    adapt_penalties,
    projected_rows_pay,
    rows_pay,
    update_is_due,
)
from coala_jax.convex._program import (
    Program,
    cone_violation,
    network_output,
    objective,
    path_output,
)
from coala_jax.convex._projection import Cones
from coala_jax.convex._rays import best_lengths
from coala_jax.convex._rows import row_products

# Residuals and violation this many times their tolerances away, a check cannot be the last one: the
# bound is then made at checks 4, 8, 16, ... only, for statuses that do not ask for residuals.
_NEAR = 3.0
_FIRST_CHECK = 4
# A possible improvement below this many roundings of the objective is none: its bounds allow for
# some 60 each, so that a share of this much is still known to a twentieth.
_RESOLUTION = 3000
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
    """Carry of the loop over checks.

    `projected` are multipliers of the last projection, `updated` the steps at the last update of
    row penalties, `paid` those from which on the next thorough projection has to be paid for by
    steps: at the last one, or at the check before the first promising one, or -1.
    """

    state: CronosState
    primal: Primal
    projected: jax.Array
    dual: Dual
    violation: jax.Array
    history: Phase1History
    check: jax.Array
    updated: jax.Array
    paid: jax.Array
    status: jax.Array


def cronos_solve(
    params: Params,
    problem: CronosProblem,
    cones: Cones,
    config: Config,
    status: jax.Array,
    start: CronosState | None = None,
) -> CronosResult:
    """Run ADMM until the certificate and the residuals meet their tolerances.

    Args:
        params: tolerances are read here.
        problem: from `cronos_problem`.
        cones: of the program, from `cones_of`.
        config: caps and the distance between checks.
        status: int32 `Status` of the input; anything but SOLVED runs no step.
        start: last state of a solve of the same program at another strength, or None for the zero
            network.
    """
    program = problem.program
    checks = config.max_iterations // config.check_every
    nan = jnp.full((checks,), jnp.nan, program.features.dtype)
    by_rows = rows_pay(config, program)
    zero, zero_primal = cronos_init(problem, adapt_rows=by_rows), zero_network(program)
    zero_value = zero_primal.value
    solve = _Solve(params, problem, cones, config, checks, zero_value)

    def unfinished(loop: _Loop) -> jax.Array:
        going = (loop.status == Status.ITERATION_LIMIT) | (loop.status == Status.SOLVED_INACCURATE)
        return going & (loop.check < checks)

    valid = status == Status.SOLVED
    first = _Loop(
        state=zero if start is None else restart(start),
        primal=lax.cond(
            valid, lambda: _first_primal(problem, cones, zero_primal), lambda: zero_primal
        ),
        projected=zero.slack if program.has_cones and not by_rows else jnp.zeros_like(zero_value),
        dual=Dual(zero.output, zero.slack, jnp.zeros_like(zero_value)),
        violation=jnp.full_like(zero_value, jnp.nan),
        history=Phase1History(*[nan] * len(Phase1History._fields)),
        check=jnp.zeros((), jnp.int32),
        updated=jnp.full((), -NEVER, jnp.int32),
        paid=jnp.full((), -1, jnp.int32),
        status=jnp.where(valid, Status.ITERATION_LIMIT, status).astype(jnp.int32),
    )
    last = lax.while_loop(unfinished, lambda loop: _next_check(solve, loop), first)
    return CronosResult(
        last.primal, last.dual, last.state, last.violation, last.history, last.status
    )


class _Solve(NamedTuple):
    """What all checks of a solve share: how many there are, the zero network's objective."""

    params: Params
    problem: CronosProblem
    cones: Cones
    config: Config
    checks: int
    zero_value: jax.Array


def _next_check(solve: _Solve, loop: _Loop) -> _Loop:
    """The steps up to a check, and what its certificate says of them."""
    params, problem, _, config, _, zero_value = solve
    program = problem.program
    state = cronos_steps(
        problem, loop.state, config.check_every, config.max_cg_iterations, config.precision
    )
    check = loop.check + 1
    violation = cone_violation(program, state.weights)
    state, updated = adapt_penalties(problem, config, state, check, loop.updated)
    dual = lax.cond(
        _bound_is_due(solve, state, violation, check),
        lambda: better_dual(loop.dual, _dual(program, state)),
        lambda: loop.dual,
    )

    def entry(primal: jax.Array) -> Phase1History:
        return Phase1History(
            iteration=state.iterations.astype(program.features.dtype),
            primal_value=primal,
            dual_bound=dual.value,
            relative_gap=relative_gap(primal, dual.value),
            cone_violation=violation,
            primal_residual=state.primal_residual,
            dual_residual=state.dual_residual,
        )

    def solved(primal: jax.Array) -> jax.Array:
        return _is_solved(params, entry(primal), zero_value, program.strength)

    # Nearly always less than what the projection is worth.
    output = network_output(program, row_products(program.features, state.weights))
    output = output + path_output(program, state.linear)
    value = objective(program, state.weights, state.linear, output)
    hoped = jnp.minimum(loop.primal.value, value)
    primal, projected, paid = _project(solve, loop, state, dual, solved(hoped), solved)
    found = entry(primal.value)
    finite = jnp.isfinite(violation) & jnp.isfinite(state.dual_residual)
    status = _status(params, found, zero_value, program.strength, finite)
    history = jax.tree.map(lambda a, e: a.at[loop.check].set(e), loop.history, found)
    return _Loop(state, primal, projected, dual, violation, history, check, updated, paid, status)


def _bound_is_due(
    solve: _Solve, state: CronosState, violation: jax.Array, check: jax.Array
) -> jax.Array:
    """Whether a check gets a bound: it may be the last, or its number is 4, 8, 16 and so on."""
    params = solve.params
    residual = jnp.maximum(state.primal_residual, state.dual_residual)
    near = (violation <= _NEAR * params.violation_tolerance) & (
        residual <= _NEAR * params.residual_tolerance
    )
    doubled = (check >= _FIRST_CHECK) & (check & (check - 1) == 0)
    return near | doubled | (check == solve.checks)


def _project(
    solve: _Solve,
    loop: _Loop,
    state: CronosState,
    dual: Dual,
    promising: jax.Array,
    solved: Callable[[jax.Array], jax.Array],
) -> tuple[Primal, jax.Array, jax.Array]:
    """Best point, multipliers and `paid` after a projection, where one may end the solve.

    Args:
        solve: the solve.
        loop: at the check before.
        state: at this check.
        dual: best dual point.
        promising: whether the objective before projection would be enough.
        solved: whether an objective is.
    """
    _, problem, cones, config, checks, zero_value = solve
    program = problem.program
    last = loop.check + 1 == checks
    # Without a strength, or with nothing to explain, a solve ends whatever the projection is worth,
    # and this is the only one.
    no_strength, nothing = program.strength == 0, _is_nothing(zero_value, dual.value)
    promising = promising | nothing
    unpaid = jnp.where(loop.paid < 0, state.iterations - config.check_every, loop.paid)
    is_paid = update_is_due(program, state.iterations - unpaid)
    thorough = last | no_strength | nothing | is_paid
    wanted = promising | last
    primal, projected = lax.cond(
        wanted,
        lambda: feasible_primal(
            problem,
            cones,
            state,
            loop.primal,
            loop.projected,
            lambda primal: ~no_strength & solved(primal.value),
            # Under vmap both branches run: what is not wanted has no rounds.
            rounds=jnp.where(wanted, jnp.where(thorough, THOROUGH, 1), 0),
            own_rows=projected_rows_pay(config, program),
        ),
        lambda: (loop.primal, loop.projected),
    )
    paid = jnp.where(thorough, state.iterations, unpaid)
    return primal, projected, jnp.where(promising, paid, loop.paid)


def _first_primal(problem: CronosProblem, cones: Cones, zero: Primal) -> Primal:
    """The optimum on the rays of the cones, beside the linear path, where that is better than zero.

    Without cones the path alone.
    """
    program, linear, rays = problem.program, problem.linear, zero.weights
    if program.has_cones:
        interior = jnp.stack([cones.interior, cones.interior])
        rays = best_lengths(program, interior, linear, start=0.0)
    elif linear is None:
        return zero
    return better_primal(zero, evaluated(program, rays, linear))


def _dual(program: Program, state: CronosState) -> Dual:
    """The dual point of a state's output and multipliers, scaled to be feasible."""
    return feasible_dual(program, program.dual_point(state.output), state.multipliers)


def _status(
    params: Params,
    entry: Phase1History,
    zero_value: jax.Array,
    strength: jax.Array,
    finite: jax.Array,
) -> jax.Array:
    """What one certificate says, as an int32 `Status`; the last line that holds counts.

    Args:
        params: the tolerances.
        entry: the certificate.
        zero_value: objective of the zero network.
        strength: lambda_g; at zero there is no gap to certify.
        finite: whether iterate and residuals are.
    """
    no_gap = _solved_without_gap(params, entry, zero_value, strength)
    loosely = _meets_tolerances(params, entry, zero_value, LOOSER)
    nothing = _is_nothing(zero_value, entry.dual_bound) & (entry.relative_gap >= 0)
    status = jnp.where(loosely, Status.SOLVED_INACCURATE, Status.ITERATION_LIMIT)
    status = jnp.where(no_gap, Status.SOLVED_WITHOUT_GAP, status)
    status = jnp.where(_meets_tolerances(params, entry, zero_value), Status.SOLVED, status)
    status = jnp.where(nothing, Status.NOTHING_TO_EXPLAIN, status)
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
        (entry.relative_gap >= 0)  # else the arithmetic was too coarse for these figures
        & (entry.relative_gap <= looser * params.gap_tolerance)
        & (1 - explained <= looser * (1 - params.explained_minimum))
        & _converged(params, entry, looser)
    )


def _is_nothing(zero_value: jax.Array, dual_bound: jax.Array) -> jax.Array:
    """Whether what can be explained is below the resolution of its bound; NaN is not."""
    return zero_value - dual_bound <= relative_error(_RESOLUTION, zero_value.dtype) * zero_value


def _is_solved(
    params: Params, entry: Phase1History, zero_value: jax.Array, strength: jax.Array
) -> jax.Array:
    """Whether one certificate makes `Status.SOLVED`, or `SOLVED_WITHOUT_GAP`, of a solve."""
    no_gap = _solved_without_gap(params, entry, zero_value, strength)
    return no_gap | _meets_tolerances(params, entry, zero_value)


def _solved_without_gap(
    params: Params, entry: Phase1History, zero_value: jax.Array, strength: jax.Array
) -> jax.Array:
    """Whether a program counts as solved because its strength is zero: there is no gap then.

    Its residuals say so, or the fit is exact: all multipliers are then zero, no residual is small
    relative to them, and zero is a bound of any loss.
    """
    inside = entry.cone_violation <= params.violation_tolerance
    exact = entry.primal_value <= params.gap_tolerance * zero_value
    return (strength == 0) & (_converged(params, entry) | (inside & exact))


def _converged(params: Params, entry: Phase1History, looser: float = 1.0) -> jax.Array:
    """Whether violation and residuals are within their tolerances."""
    residual = jnp.maximum(entry.primal_residual, entry.dual_residual)
    return (entry.cone_violation <= looser * params.violation_tolerance) & (
        residual <= looser * params.residual_tolerance
    )
