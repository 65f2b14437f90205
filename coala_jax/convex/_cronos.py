"""CRONOS: the ADMM of Algorithm 2 on the convex program (3), step by step.

Splits u = v, G u = s and z = S F u under one penalty rho, weighted by `shift`, Sigma and T:

    u+ = argmin of the quadratic    (linear_system: prepared inverses, conjugate gradients;
                                     a linear path, w, is eliminated: linear_path)
    v+ = prox of the group lasso,  s+ = (G u+ + nu)+,  z+ = prox of the loss
         (a gated program has no cones: s+ = G u+ + nu, a proximal term)
    mu, nu, zeta += what the splits are off by

Splitting z keeps rho and the loss out of the linear system, so a change of rho prepares nothing
anew and any loss with a scalar prox fits. `cronos_solve` drives the steps to a certificate.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._row_mesh import with_rows
from coala_jax.convex._linear_path import (
    PathSystem,
    path_move,
    path_of_zero_network,
    path_system,
)
from coala_jax.convex._linear_system import (
    LinearSystem,
    OutputSystem,
    Point,
    RowPenalties,
    block_penalties,
    factorize,
    free_penalties,
    pull_back,
    solve_correction,
    uniform_penalties,
)
from coala_jax.convex._output_penalties import (
    OutputPenalties,
    output_penalties,
    output_prox,
    unweighed,
    weighed,
)
from coala_jax.convex._program import (
    HALVES,
    Program,
    block_norms,
    inner_product,
    network_output,
    output_adjoint,
    path_output,
)
from coala_jax.convex._projection import relax
from coala_jax.convex._rows import for_steps, row_products

# Conjugate gradients stop at this share of the last change of the splits: errors then fall with
# the residuals and are summable, as Theorem 4.2 asks. 0.1 costs 1 to 3 steps per ADMM step.
_CG_SHARE = 0.1
# Below this many roundings of the splits' norm conjugate gradients only stir rounding.
_CG_FLOOR = 4.0


class CronosProblem(NamedTuple):
    """What every step of one solve shares.

    Attributes:
        program: the program (3).
        penalty: scalar rho to start from.
        system: Gram matrix and inverse of the features.
        outputs: penalties T of z = S F u.
        linear: (d,) linear path of the zero network, where it starts; None without one.
    """

    program: Program
    penalty: jax.Array
    system: LinearSystem
    outputs: OutputPenalties
    linear: jax.Array | None


class CronosState(NamedTuple):
    """What the next ADMM step needs.

    Attributes:
        weights: (H, P, D) split v of the weights, sparse by groups.
        slack_sum: (H, P, m) s + nu, of which one is zero: the split of G u where it is positive,
            else its scaled multiplier. One array instead of two is read and written a step.
        output: split z of S F u, one value a label.
        weights_dual: (H, P, D) scaled multiplier mu.
        output_dual: scaled multiplier zeta of z.
        point: (H, P, D) u, where the next linear system starts.
        products: (H, P, m) X times each block of u.
        fitted: S (F u + X w), one value a label.
        linear: (d,) w of the linear path; None without one.
        penalty: scalar rho of the next step.
        path: system of the linear path at that rho; None without one.
        rows: penalties Sigma of the rows of G u = s, relative to rho.
        size: scalar norm of the splits.
        change: scalar norm of their last change.
        primal_residual: scalar, relative.
        dual_residual: scalar, relative.
        iterations: scalar int32, steps taken.
        cg_iterations: scalar int32, conjugate-gradient steps taken.
    """

    weights: jax.Array
    slack_sum: jax.Array
    output: jax.Array
    weights_dual: jax.Array
    output_dual: jax.Array
    point: jax.Array
    products: jax.Array
    fitted: jax.Array
    linear: jax.Array | None
    penalty: jax.Array
    path: PathSystem | None
    rows: RowPenalties
    size: jax.Array
    change: jax.Array
    primal_residual: jax.Array
    dual_residual: jax.Array
    iterations: jax.Array
    cg_iterations: jax.Array

    @property
    def slack(self) -> jax.Array:
        """The split s of G u, non-negative where there are cones: (H, P, m)."""
        return jnp.maximum(self.slack_sum, 0) if self._has_cones else self.slack_sum

    @property
    def slack_dual(self) -> jax.Array:
        """Its scaled multiplier nu, non-positive; zero without cones: (H, P, m)."""
        return jnp.minimum(self.slack_sum, 0) if self._has_cones else jnp.zeros_like(self.slack_sum)

    @property
    def _has_cones(self) -> bool:
        return self.weights.shape[-3] == len(HALVES["relu"])

    @property
    def multipliers(self) -> jax.Array:
        """The alpha of G u >= 0, non-negative: (H, P, m)."""
        return -self.penalty * self.rows.penalty * self.slack_dual


def cronos_problem(
    program: Program,
    penalty: jax.Array,
    system: LinearSystem | None = None,
    linear: jax.Array | None = None,
) -> CronosProblem:
    """Prepare the linear system and the path that a program has, unless they are given.

    Args:
        program: the program (3).
        penalty: scalar rho > 0, in the program's dtype.
        system: Gram matrix and inverse of its features; None to make them.
        linear: (d,) linear path of the zero network; None to find it, where the program has one.

    Returns:
        What `cronos_init` and `cronos_step` take; the example is of the latter.
    """
    system = factorize(program.features, program.mesh) if system is None else system
    linear = path_of_zero_network(program) if linear is None else linear
    return CronosProblem(program, penalty, system, output_penalties(program), linear)


def cronos_init(problem: CronosProblem, *, adapt_rows: bool = True) -> CronosState:
    """All zeros: the zero network, beside its linear path and with the multipliers of that.

    Args:
        problem: from `cronos_problem`.
        adapt_rows: whether rows are to have penalties of their own; without, or without cones, all
            blocks share one inverse.

    Returns:
        The state before any step, its residuals infinite.
    """
    patterns, features = problem.program.patterns, problem.program.features
    width = features.shape[1]
    blocks, rows = patterns.shape
    dtype = features.dtype
    inf = jnp.full((), jnp.inf, dtype)
    none = jnp.zeros((), jnp.int32)
    halves = problem.program.halves.shape[0]
    weights = jnp.zeros((halves, blocks, width), dtype)
    of_rows = with_rows(problem.program.mesh, jnp.zeros((halves, blocks, rows), dtype))
    output = path_output(problem.program, problem.linear)
    weights_dual, output_dual, path = weights, jnp.zeros_like(output), None
    if problem.linear is not None:
        weights_dual, output_dual = _duals_of_path(problem, output)
        path = path_system(problem.program, problem.outputs, problem.penalty)
    if not problem.program.has_cones:
        penalties = free_penalties(problem.system)
    elif adapt_rows:
        penalties = block_penalties(problem.system, blocks, rows)
    else:
        penalties = uniform_penalties(problem.system)
    return CronosState(
        weights=weights,
        slack_sum=of_rows,
        output=output,
        weights_dual=weights_dual,
        output_dual=output_dual,
        point=weights,
        products=of_rows,
        fitted=output,
        linear=problem.linear,
        penalty=problem.penalty,
        path=path,
        rows=penalties,
        size=jnp.zeros((), dtype),
        change=jnp.zeros((), dtype),
        primal_residual=inf,
        dual_residual=inf,
        iterations=none,
        cg_iterations=none,
    )


def _duals_of_path(problem: CronosProblem, output: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mu and zeta where the linear path alone is optimal; mu as far as the strength lets it."""
    program, shift = problem.program, problem.system.shift
    point = program.dual_point(output) / problem.penalty
    pull = output_adjoint(program, point) / shift
    most = program.strength / (problem.penalty * shift)
    weights_dual = pull * jnp.minimum(1, most / block_norms(pull, at_zero=1))
    return weights_dual, -unweighed(program, problem.outputs, point)


def cronos_step(problem: CronosProblem, state: CronosState, max_cg_iterations: int) -> CronosState:
    """One step of Algorithm 2, rho fixed, on a program of your own (`cronos` runs and certifies).

    Args:
        problem: from `cronos_problem`.
        state: from `cronos_init`, or of the step before.
        max_cg_iterations: cap of conjugate-gradient steps.

    Returns:
        The state after it; what is not finite shows in its residuals, nothing is raised.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from coala_jax.convex import Program, cronos_init, cronos_problem, cronos_step
        >>> from coala_jax.losses import SQUARED
        >>> rng = np.random.default_rng(0)
        >>> x = jnp.asarray(rng.normal(size=(40, 4))).at[:, -1].set(1)  # the bias column
        >>> patterns = jnp.asarray(rng.normal(size=(8, 4))) @ x.T >= 0
        >>> program = Program(
        ...     features=x, patterns=patterns.astype(x.dtype), labels=jnp.sign(x[:, 0] * x[:, 1]),
        ...     row_weight=jnp.ones(40), strength=jnp.asarray(0.5), loss=SQUARED, model="relu")
        >>> problem = cronos_problem(program, jnp.asarray(1.0))
        >>> step = jax.jit(lambda _, state: cronos_step(problem, state, max_cg_iterations=10))
        >>> state = jax.lax.fori_loop(0, 200, step, cronos_init(problem))
        >>> bool(state.primal_residual < 1e-2) and bool(state.dual_residual < 1e-2)
        True
        >>> bool(program.value(state.output) < program.value(jnp.zeros(40)))
        True
    """
    program, shift, rows = problem.program, problem.system.shift, state.rows
    signs, outputs = program.signs, OutputSystem(problem.outputs, state.path)

    # The residual of the u-step's linear system at the last u, once the path has moved to suit it.
    begun = Point(state.point, state.products, state.fitted, state.linear)
    output_gap = state.output - state.output_dual - state.fitted
    if state.path is not None and state.linear is not None:
        move = path_move(program, problem.outputs, state.path, output_gap, state.linear)
        seen = path_output(program, move)
        begun = begun._replace(output=state.fitted + seen, linear=state.linear + move)
        output_gap = output_gap - seen
    slack_gap = rows.penalty * (state.slack - state.slack_dual - signs * state.products)
    right = shift * (state.weights - state.weights_dual - state.point)
    right = right + pull_back(program, slack_gap, weighed(program, problem.outputs, output_gap))
    point, cg_iterations = solve_correction(
        program,
        rows,
        outputs,
        right,
        begun,
        tolerance=_cg_tolerance(state),
        max_iterations=max_cg_iterations,
    )

    relaxed_weights = relax(point.weights, state.weights) + state.weights_dual
    relaxed_slack = relax(signs * point.products, state.slack) + state.slack_dual
    relaxed_output = relax(point.output, state.output) + state.output_dual

    weights = group_soft_threshold(relaxed_weights, program.strength / (state.penalty * shift))
    output = output_prox(program, problem.outputs, state.penalty, relaxed_output)

    new = state._replace(
        weights=weights,
        slack_sum=relaxed_slack,
        output=output,
        weights_dual=relaxed_weights - weights,
        output_dual=relaxed_output - output,
        point=point.weights,
        products=point.products,
        fitted=point.output,
        linear=point.linear,
        iterations=state.iterations + 1,
        cg_iterations=state.cg_iterations + cg_iterations,
    )
    return _with_residuals(new, state, problem)


def restart(state: CronosState) -> CronosState:
    """The splits, multipliers and penalties of a state, counted and judged from the start."""
    none = jnp.zeros((), jnp.int32)
    inf = jnp.full_like(state.primal_residual, jnp.inf)
    return state._replace(
        primal_residual=inf, dual_residual=inf, iterations=none, cg_iterations=none
    )


def cronos_steps(
    problem: CronosProblem, state: CronosState, steps: int, max_cg_iterations: int, precision: str
) -> CronosState:
    """So many steps in a row, with products of `Config.precision`.

    They begin with products of u, and outputs, made anew in the precision of the caller: the steps
    update them, and rounding adds up. Where `precision` is below the highest, or products are those
    of parts, so does the last step, and it has the caller's precision: its residuals are what a
    status may rest on.
    """

    def run(problem: CronosProblem, state: CronosState, count: int) -> CronosState:
        return lax.fori_loop(
            0, count, lambda _, state: cronos_step(problem, state, max_cg_iterations), state
        )

    program = problem.program
    quick = dataclasses.replace(program, features=for_steps(program.features))
    state = refresh_products(problem, state)
    if precision == "highest" and quick.features is program.features:
        return run(problem, state, steps)
    with jax.default_matmul_precision(precision):
        state = run(problem._replace(program=quick), state, steps - 1)
    return run(problem, refresh_products(problem, state), 1)


def refresh_products(problem: CronosProblem, state: CronosState) -> CronosState:
    """Products and outputs of u from u itself."""
    products = row_products(problem.program.features, state.point)
    fitted = network_output(problem.program, products)
    if state.linear is not None:
        fitted = fitted + path_output(problem.program, state.linear)
    return state._replace(products=products, fitted=fitted)


def group_soft_threshold(weights: jax.Array, threshold: jax.Array) -> jax.Array:
    """Prox of threshold * sum of block norms; a zero block stays zero: (..., D) -> (..., D)."""
    norms = jnp.linalg.norm(weights, axis=-1, keepdims=True)
    factor = jnp.where(norms > threshold, 1 - threshold / jnp.where(norms > 0, norms, 1), 0)
    return factor * weights


def _cg_tolerance(state: CronosState) -> jax.Array:
    """A share of the last change, but not below rounding; in the preconditioner's norm."""
    target = _CG_SHARE * state.change
    return jnp.maximum(target, _CG_FLOOR * jnp.finfo(target.dtype).eps * state.size)


def _with_changes(
    split: jax.Array, dual: jax.Array, old_split: jax.Array, old_dual: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    return split, dual, split - old_split, dual - old_dual


def _with_residuals(new: CronosState, old: CronosState, problem: CronosProblem) -> CronosState:
    """Relative residuals, all splits together in the norm that the penalty gives them.

    The change of a scaled multiplier is the relaxed primal residual; the change of the splits is
    the dual residual over rho. It is relative to the multipliers of weights and slacks, which
    balance what the features see of the output's: the rest of that one is what no weights can fit,
    nearly all of it where rows are many or pairs nearly equal. Without a strength there is nothing
    to balance.
    """
    program, penalty = problem.program, new.rows.penalty
    balanced = jnp.where(program.strength > 0, 0, new.output_dual)
    # Splits, multipliers, and the changes of both.
    weights = jnp.stack(_with_changes(new.weights, new.weights_dual, old.weights, old.weights_dual))
    slacks = _with_changes(new.slack, new.slack_dual, old.slack, old.slack_dual)
    split, _, *changes = _with_changes(new.output, new.output_dual, old.output, old.output_dual)
    outputs = jnp.stack([split, balanced, *changes])
    of_outputs = jax.vmap(lambda one: inner_product(weighed(program, problem.outputs, one), one))
    splits, duals, change, primal = jnp.sqrt(
        problem.system.shift * jax.vmap(inner_product)(weights, weights)
        + jnp.stack([inner_product(penalty * slack, slack) for slack in slacks])
        + of_outputs(outputs)
    )
    tiny = jnp.finfo(splits.dtype).tiny
    return new._replace(
        size=splits,
        change=change,
        primal_residual=primal / jnp.maximum(splits, tiny),
        dual_residual=change / jnp.maximum(duals, tiny),
    )
