"""CRONOS: the ADMM of Algorithm 2 on the convex program (3), with a certificate as stopping rule.

Splits u = v, G u = s and z = F u under one penalty rho (the first weighted by `shift`):

    u+ = argmin of the quadratic    (linear_system: one Cholesky factor, conjugate gradients)
    v+ = prox of the group lasso,  s+ = (G u+ + nu)+,  z+ = prox of the loss
    mu, nu, zeta += what the splits are off by

Splitting z keeps rho and the loss out of the linear system, so a sweep over rho shares one
factor and any loss with a scalar prox fits.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax.convex.certificate import (
    Dual,
    Primal,
    better_dual,
    better_primal,
    explained_share,
    feasible_dual,
    feasible_primal,
    relative_gap,
)
from coala_jax.convex.linear_system import (
    LinearSystem,
    factorize,
    solve_blocks,
    solve_differences,
)
from coala_jax.convex.losses import Loss
from coala_jax.convex.program import (
    Program,
    column_products,
    network_output,
    output_adjoint,
    relative_violation,
    row_products,
)
from coala_jax.convex.projection import RELAXATION, interior_points
from coala_jax.types import Config, Params, Phase1History, Status

# Conjugate gradients stop at this share of the last change of the splits: errors then fall with
# the residuals and are summable, as Theorem 4.2 asks. 0.1 costs about 7 steps per ADMM step.
_CG_SHARE = 0.1
# Below this share of the right side's norm float32 conjugate gradients only stir rounding.
_CG_FLOOR = 4.0

# Residuals within this ratio of each other are left alone, and rho never moves by more than
# _LARGEST_MOVE at once: measured on the shared features, larger moves overshoot.
_BALANCED = 4.0
_LARGEST_MOVE = 4.0

_SQRT_HALF = 0.5**0.5


class CronosProblem(NamedTuple):
    """What every step of one solve shares.

    Attributes:
        program: data of (3).
        strength: scalar lambda_g.
        penalty: scalar rho to start from.
        system: factor of the linear system.
        interior: (P, D) strictly feasible point of every cone.
    """

    program: Program
    strength: jax.Array
    penalty: jax.Array
    system: LinearSystem
    interior: jax.Array


class CronosState(NamedTuple):
    """What the next ADMM step needs.

    Attributes:
        weights: (2, P, D) split v of the weights, sparse by groups.
        slack: (2, P, m) split s of G u, non-negative.
        output: (m,) split z of F u.
        weights_dual: (2, P, D) scaled multiplier mu.
        slack_dual: (2, P, m) scaled multiplier nu, non-positive.
        output_dual: (m,) scaled multiplier zeta.
        difference: (P, D) solution of the last difference system, the next warm start.
        penalty: scalar rho of the next step.
        change: scalar norm of the last change of the splits.
        primal_residual: scalar, relative.
        dual_residual: scalar, relative.
        iterations: scalar int32, steps taken.
        cg_iterations: scalar int32, conjugate-gradient steps taken.
    """

    weights: jax.Array
    slack: jax.Array
    output: jax.Array
    weights_dual: jax.Array
    slack_dual: jax.Array
    output_dual: jax.Array
    difference: jax.Array
    penalty: jax.Array
    change: jax.Array
    primal_residual: jax.Array
    dual_residual: jax.Array
    iterations: jax.Array
    cg_iterations: jax.Array


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


def cronos_problem(
    program: Program,
    gates: jax.Array,
    strength: jax.Array,
    penalty: jax.Array,
    system: LinearSystem | None = None,
) -> CronosProblem:
    """Factorise (unless a factor is given) and find interior points of the cones."""
    system = factorize(program.features) if system is None else system
    interior = interior_points(program.features, program.signs, system, gates)
    return CronosProblem(program, strength, penalty, system, interior)


def cronos_init(problem: CronosProblem) -> CronosState:
    """All zeros: the zero network."""
    patterns, features = problem.program.patterns, problem.program.features
    width = features.shape[1]
    blocks, rows = patterns.shape
    dtype = features.dtype
    inf = jnp.full((), jnp.inf, dtype)
    none = jnp.zeros((), jnp.int32)
    weights = jnp.zeros((2, blocks, width), dtype)
    slack = jnp.zeros((2, blocks, rows), dtype)
    output = jnp.zeros((rows,), dtype)
    return CronosState(
        weights=weights,
        slack=slack,
        output=output,
        weights_dual=weights,
        slack_dual=slack,
        output_dual=output,
        difference=weights[0],
        penalty=problem.penalty,
        change=inf,
        primal_residual=inf,
        dual_residual=inf,
        iterations=none,
        cg_iterations=none,
    )


def cronos_step(
    problem: CronosProblem, state: CronosState, loss: Loss, max_cg_iterations: int
) -> CronosState:
    """One step of Algorithm 2."""
    program, system = problem.program, problem.system
    features, signs = program.features, program.signs
    shift = system.shift

    pull = column_products(features, signs * (state.slack - state.slack_dual))
    right = shift * (state.weights - state.weights_dual) + pull
    right = right + output_adjoint(program, state.output - state.output_dual)
    difference, sum_ = (right[0] - right[1]) * _SQRT_HALF, (right[0] + right[1]) * _SQRT_HALF
    cg = solve_differences(
        program,
        system,
        difference,
        state.difference,
        _cg_tolerance(system, state.change, difference),
        max_cg_iterations,
    )
    a, b = cg.solution, solve_blocks(system, sum_)
    u = jnp.stack([a + b, b - a]) * _SQRT_HALF

    products = row_products(features, u)
    relaxed_weights = _relax(u, state.weights) + state.weights_dual
    relaxed_slack = _relax(signs * products, state.slack) + state.slack_dual
    relaxed_output = _relax(network_output(program, products), state.output) + state.output_dual

    weights = group_soft_threshold(relaxed_weights, problem.strength / (state.penalty * shift))
    slack = jnp.maximum(relaxed_slack, 0)
    output = loss.prox(relaxed_output, program.labels, program.row_weight / state.penalty)

    new = CronosState(
        weights=weights,
        slack=slack,
        output=output,
        weights_dual=relaxed_weights - weights,
        slack_dual=relaxed_slack - slack,
        output_dual=relaxed_output - output,
        difference=a,
        penalty=state.penalty,
        change=state.change,
        primal_residual=state.primal_residual,
        dual_residual=state.dual_residual,
        iterations=state.iterations + 1,
        cg_iterations=state.cg_iterations + cg.iterations,
    )
    return _with_residuals(new, state, shift)


def group_soft_threshold(weights: jax.Array, threshold: jax.Array) -> jax.Array:
    """Prox of threshold * sum of block norms; a zero block stays zero: (..., D) -> (..., D)."""
    norms = jnp.linalg.norm(weights, axis=-1, keepdims=True)
    factor = jnp.where(norms > threshold, 1 - threshold / jnp.where(norms > 0, norms, 1), 0)
    return factor * weights


def balance_penalty(state: CronosState) -> CronosState:
    """Move rho towards equal relative residuals (Boyd et al. 2011, section 3.4.1; Wohlberg 2017).

    The factor of the linear system does not depend on rho; only the scaled multipliers do.
    """
    tiny = jnp.finfo(state.penalty.dtype).tiny
    ratio = state.primal_residual / jnp.maximum(state.dual_residual, tiny)
    factor = jnp.clip(jnp.sqrt(ratio), 1 / _LARGEST_MOVE, _LARGEST_MOVE)
    balanced = (ratio < _BALANCED) & (ratio > 1 / _BALANCED)
    factor = jnp.where(balanced | ~jnp.isfinite(ratio), 1, factor)
    return state._replace(
        penalty=state.penalty * factor,
        weights_dual=state.weights_dual / factor,
        slack_dual=state.slack_dual / factor,
        output_dual=state.output_dual / factor,
    )


def cronos_solve(
    params: Params,
    problem: CronosProblem,
    loss: Loss,
    config: Config,
    status: jax.Array,
) -> CronosResult:
    """Run ADMM until the certificate and the residuals meet their tolerances.

    Args:
        params: tolerances are read here.
        problem: from `cronos_problem`.
        loss: the program's loss.
        config: caps and the distance between certificates.
        status: int32 `Status` of the input; anything but SOLVED runs no step.
    """
    program = problem.program
    checks = config.max_iterations // config.check_every
    nan = jnp.full((checks,), jnp.nan, program.features.dtype)
    state = cronos_init(problem)
    zero_value = loss.value(state.output, program.labels, program.row_weight)
    zero_primal = Primal(state.weights, state.output, zero_value, state.slack)
    zero_dual = Dual(state.output, state.slack, jnp.zeros_like(zero_value))

    def advance(loop: _Loop) -> _Loop:
        state = lax.fori_loop(
            0,
            config.check_every,
            lambda _, state: cronos_step(problem, state, loss, config.max_cg_iterations),
            loop.state,
        )
        newest = feasible_primal(
            program,
            loss,
            problem.strength,
            problem.system,
            problem.interior,
            state.weights,
            loop.primal.multipliers,
        )
        primal = better_primal(loop.primal, newest)
        dual = better_dual(loop.dual, _best_dual(problem, loss, state, newest))
        products = row_products(program.features, state.weights)
        violation = relative_violation(program.signs * products)
        gap = relative_gap(primal.value, dual.value)
        explained = explained_share(zero_value, primal.value, dual.value)
        solved = (
            (gap <= params.gap_tolerance)
            & (violation <= params.violation_tolerance)
            & (explained >= params.explained_minimum)
            & (jnp.maximum(state.primal_residual, state.dual_residual) <= params.residual_tolerance)
        )
        finite = jnp.isfinite(newest.output).all() & jnp.isfinite(state.dual_residual)
        entry = Phase1History(
            iteration=state.iterations.astype(nan.dtype),
            primal_value=primal.value,
            dual_bound=dual.value,
            relative_gap=gap,
            cone_violation=violation,
            primal_residual=state.primal_residual,
            dual_residual=state.dual_residual,
        )
        history = jax.tree.map(lambda a, e: a.at[loop.check].set(e), loop.history, entry)
        status = jnp.where(finite, jnp.where(solved, Status.SOLVED, loop.status), Status.BREAKDOWN)
        if config.adapt_rho:
            # After checks 1, 2, 4, 8, ...: finitely many changes, as convergence asks.
            number = loop.check + 1
            due = (number & (number - 1)) == 0
            state = jax.tree.map(lambda a, b: jnp.where(due, a, b), balance_penalty(state), state)
        return _Loop(
            state,
            primal,
            dual,
            violation,
            history,
            loop.check + 1,
            status.astype(jnp.int32),
            solved | ~finite,
        )

    valid = status == Status.SOLVED
    first = _Loop(
        state=state,
        primal=zero_primal,
        dual=zero_dual,
        violation=jnp.full_like(zero_value, jnp.nan),
        history=Phase1History(*[nan] * len(Phase1History._fields)),
        check=jnp.zeros((), jnp.int32),
        status=jnp.where(valid, Status.ITERATION_LIMIT, status).astype(jnp.int32),
        finished=~valid,
    )
    last = lax.while_loop(lambda loop: ~loop.finished & (loop.check < checks), advance, first)
    return CronosResult(
        last.primal, last.dual, last.state, last.violation, last.history, last.status
    )


def _best_dual(problem: CronosProblem, loss: Loss, state: CronosState, primal: Primal) -> Dual:
    """The better of the dual points at the split output and at the feasible output."""
    program = problem.program
    multipliers = -state.penalty * state.slack_dual

    def bound(output: jax.Array) -> Dual:
        point = loss.negative_gradient(output, program.labels, program.row_weight)
        return feasible_dual(program, loss, problem.strength, point, multipliers)

    return better_dual(bound(state.output), bound(primal.output))


def _relax(new: jax.Array, old: jax.Array) -> jax.Array:
    return RELAXATION * new + (1 - RELAXATION) * old


def _cg_tolerance(system: LinearSystem, change: jax.Array, right: jax.Array) -> jax.Array:
    """Tolerance in the K^-1 norm: a share of the last change, but not below rounding."""
    scale = jnp.sqrt(jnp.vdot(right, solve_blocks(system, right)))
    floor = _CG_FLOOR * jnp.finfo(right.dtype).eps * scale
    # Before the first change there is nothing to compare with: one digit is enough.
    target = _CG_SHARE * jnp.where(jnp.isfinite(change), change, scale)
    return jnp.maximum(target, floor)


def _with_residuals(new: CronosState, old: CronosState, shift: jax.Array) -> CronosState:
    """Relative residuals, all splits together in the norm that the penalty gives them.

    The change of a scaled multiplier is the relaxed primal residual; the change of the splits is
    the dual residual over rho.
    """

    def norm(weights: jax.Array, slack: jax.Array, output: jax.Array) -> jax.Array:
        return jnp.sqrt(
            shift * jnp.vdot(weights, weights) + jnp.vdot(slack, slack) + jnp.vdot(output, output)
        )

    splits = norm(new.weights, new.slack, new.output)
    duals = norm(new.weights_dual, new.slack_dual, new.output_dual)
    primal = norm(
        new.weights_dual - old.weights_dual,
        new.slack_dual - old.slack_dual,
        new.output_dual - old.output_dual,
    )
    change = norm(new.weights - old.weights, new.slack - old.slack, new.output - old.output)
    tiny = jnp.finfo(splits.dtype).tiny
    return new._replace(
        change=change,
        primal_residual=primal / jnp.maximum(splits, tiny),
        dual_residual=change / jnp.maximum(duals, tiny),
    )
