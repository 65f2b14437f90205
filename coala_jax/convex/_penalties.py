"""The penalties of ADMM: where rho starts, how it follows the residuals and Sigma the tight rows.

Convergence asks for finitely many changes: of rho at checks 1, 2, 4, 8, ..., of Sigma as long as
the tight rows change. Neither moves the optimum. Multipliers are scaled by their penalty, so a
change rescales them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._types import Config, Scalar
from coala_jax.convex._cronos import CronosProblem, CronosState
from coala_jax.convex._linear_path import at_penalty
from coala_jax.convex._linear_system import tight_penalties
from coala_jax.convex._output_penalties import difference_share
from coala_jax.convex._program import Program, loss_curvature
from coala_jax.convex._rows import is_there

# The best penalty grows with the strength, since weights shrink and multipliers do not; measured
# on the shared features at 0.05, 0.1 and 0.2 of lambda_max it is near 0.2, 0.3 and 0.8.
# With the adaptation below neither half nor twice as much takes fewer steps in 13 of 18 cases.
PENALTY_SHARE = 4.0
# Without cones, beside a linear path, which leaves little to the network, the best one is higher.
# Measured at 1, 3 and 10 times on four sets, two losses, two ridges and .05, .2 and .6 of
# lambda_max: 64, 43 and 43 steps in the mean, and 35, 14 and 8 to a residual of a tenth at .8.
_BESIDE_PATH = 5.0
# Below this share of lambda_max the penalty falls no further.
_LEAST_SHARE = 0.01
# Where lambda_max is not computed: its usual share of the norm bound, which decides
# only where the penalty starts. Measured on the shared features: 0.19 to 0.25.
_CRITICAL_SHARE = 0.25
# Residuals within this ratio of each other are left alone, and rho never moves by more than
# _LARGEST_MOVE at once: measured on the shared features, larger moves overshoot.
_BALANCED = 4.0
_LARGEST_MOVE = 4.0

# Row penalties pay where an update costs at most this many steps: 17 on alpaca_eval_v2.
_DEAREST_UPDATE = 40.0
# In projections alone at most this many: 50 on expert_small, where they save 600 steps.
DEAREST_PROJECTION = 100.0
# Steps since the penalties of rows were updated, before they ever were.
NEVER = 1_000_000


def update_cost(program: Program, rows: Scalar = None) -> Scalar:
    """Steps of ADMM that take as long as new penalties of the rows, about.

    2 P inverses of D x D over a step's passes of X (m x D) and X^T over the 2 P blocks: by count of
    operations, and by the speeds of Cholesky factors and of products on 2 cores.

    Args:
        program: the program.
        rows: how many of its m rows count; None for all, which is known of shapes.
    """
    length, width = program.features.shape
    return width**2 / (length if rows is None else rows)


def rows_pay(config: Config, program: Program) -> bool:
    """Whether rows of the cones get penalties of their own, by the cost rule.

    Where rows are many the cones are narrow, and new penalties save hundreds of steps for a few;
    where they are few the cones are wide, and nothing is slow but the inverses.
    """
    return _affordable(config, program, _DEAREST_UPDATE)


def projected_rows_pay(config: Config, program: Program) -> bool:
    """Whether thorough projections get row penalties of their own, by the same rule."""
    return _affordable(config, program, DEAREST_PROJECTION)


def _affordable(config: Config, program: Program, dearest: float) -> bool:
    cost: float = update_cost(program)
    return config.adapt_rows and program.has_cones and cost <= dearest


def update_is_due(program: Program, steps: jax.Array) -> jax.Array:
    """Whether the steps since the last update have paid for the next one: scalar boolean.

    Rows without weight, which the shapes have to count, cost next to nothing.
    """
    there = jnp.maximum(jnp.sum(is_there(program.features)), 1)
    due: jax.Array = steps >= update_cost(program, there)
    return due


def suggested_penalty(program: Program, share: jax.Array) -> jax.Array:
    """The rho to start from, scalar, for a strength that is this share of lambda_max.

    Weights that see differences alone are the longer the smaller these are.
    """
    apart = program.loss.pairwise or program.loss.grouped
    unit = difference_share(program) if apart else jnp.ones_like(share)
    if program.has_path and not program.has_cones:
        unit = _BESIDE_PATH * unit
    return PENALTY_SHARE * jnp.clip(share, _LEAST_SHARE, 1) * loss_curvature(program) * unit


def guessed_share(strength: jax.Array, norm_bound: jax.Array) -> jax.Array:
    """Share of lambda_max that an absolute strength is, by the norm bound alone: scalar."""
    return strength / (_CRITICAL_SHARE * jnp.where(norm_bound > 0, norm_bound, 1))


def adapt_penalties(
    problem: CronosProblem,
    config: Config,
    state: CronosState,
    check: jax.Array,
    updated: jax.Array,
) -> tuple[CronosState, jax.Array]:
    """The state with the penalties of its next steps.

    Args:
        problem: the problem.
        config: `adapt_rho` and `adapt_rows` are read.
        state: after a check.
        check: scalar int32, its number from 1.
        updated: scalar int32, steps at the last update of row penalties; -NEVER before one.

    Returns:
        The state, and the steps at the last update.
    """
    if config.adapt_rho:
        doubled = check & (check - 1) == 0
        state = lax.cond(doubled, lambda s: balance_penalty(problem, s), lambda s: s, state)
    if not rows_pay(config, problem.program):
        return state, updated
    due = update_is_due(problem.program, state.iterations - updated)
    state = lax.cond(due, lambda s: balance_rows(problem, s), lambda s: s, state)
    return state, jnp.where(due, state.iterations, updated)


def balance_penalty(problem: CronosProblem, state: CronosState) -> CronosState:
    """Move rho towards equal relative residuals (Boyd et al. 2011, section 3.4.1; Wohlberg 2017).

    Of the linear systems that of a linear path depends on rho; beside it only the scaled
    multipliers do.
    """
    tiny = jnp.finfo(state.penalty.dtype).tiny
    ratio = state.primal_residual / jnp.maximum(state.dual_residual, tiny)
    factor = jnp.clip(jnp.sqrt(ratio), 1 / _LARGEST_MOVE, _LARGEST_MOVE)
    balanced = (ratio < _BALANCED) & (ratio > 1 / _BALANCED)
    factor = jnp.where(balanced | ~jnp.isfinite(ratio), 1, factor)
    penalty, path = state.penalty * factor, state.path
    if path is not None:
        path = at_penalty(problem.program, path.gram, penalty)
    return state._replace(
        penalty=penalty,
        path=path,
        weights_dual=state.weights_dual / factor,
        slack_sum=state.slack + state.slack_dual / factor,
        output_dual=state.output_dual / factor,
    )


def balance_rows(problem: CronosProblem, state: CronosState) -> CronosState:
    """A high penalty for tight rows of G u = s, a low one for slack rows.

    A row is tight where its multiplier is active. Costs one inverse a block.
    """
    rows = tight_penalties(problem.program.features, problem.system, state.multipliers)
    slack_dual = state.slack_dual * (state.rows.penalty / rows.penalty)
    return state._replace(rows=rows, slack_sum=state.slack + slack_dual)
