"""Phase I: preference features in, certified network out."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap

from coala_jax._gradients import require_gradient, require_solved
from coala_jax._head import ConvexHead, GatedHead, Head
from coala_jax._inputs import PairArrays, input_status, prepare_features, prepare_params
from coala_jax._types import (
    Certificate,
    Config,
    Params,
    Phase1History,
    PreferenceFeatures,
    Status,
)
from coala_jax.convex._certificate import explained_share, relative_gap
from coala_jax.convex._certified_loop import CronosResult, cronos_solve
from coala_jax.convex._cronos import CronosProblem, CronosState, cronos_problem
from coala_jax.convex._implicit import Located, differentiable_weights
from coala_jax.convex._network import active_neurons, network_from_weights
from coala_jax.convex._prepare import Prepared, Strength, prepare, strength_of
from coala_jax.convex._standardize import unstandardize_layer
from coala_jax.convex.losses import Loss, get_loss


class Phase1Stats(NamedTuple):
    """Scalars of Phase I; see `coala_jax.Stats` for their meaning."""

    status: jax.Array
    iterations: jax.Array
    cg_iterations: jax.Array
    primal_value: jax.Array
    dual_bound: jax.Array
    relative_gap: jax.Array
    explained: jax.Array
    cone_violation: jax.Array
    primal_residual: jax.Array
    dual_residual: jax.Array
    critical_strength: jax.Array
    group_lasso_strength: jax.Array
    distinct_gates: jax.Array
    active_neurons: jax.Array
    constant_features: jax.Array


class Phase1Solution(NamedTuple):
    """Result of `cronos`.

    Attributes:
        head: the network of Phase I on raw features: a `ConvexHead` of (d, 2P) with unused neurons
            zero, or a `GatedHead` of (d, P) for `Config(model="gated_relu")`.
        status: int32 `Status`.
        stats: scalars.
        history: one entry a certificate.
        certificate: what certifies it.
    """

    head: Head
    status: jax.Array
    stats: Phase1Stats
    history: Phase1History
    certificate: Certificate


def cronos(
    params: Params,
    features: PreferenceFeatures,
    *,
    config: Config = Config(),  # noqa: B008 - frozen and hashable
    key: jax.Array | None = None,
    gates: jax.Array | None = None,
) -> Phase1Solution:
    """Train a two-layer network on preferences through its convex program (eq 3, Algorithm 2).

    The rows are the chosen responses followed by the rejected ones, standardised and given a bias
    column. A pointwise loss fits labels +1 and -1, as in the paper; `"bradley_terry"` fits the
    differences of the pairs. Safe under jit and vmap; `params` leaves may be traced.

    Reverse-mode gradients of the head are those of the optimum near the result, by implicit
    differentiation with the gates and the zero neurons held fixed; no other result carries
    gradients, and forward mode raises. Solve to a tight tolerance, in float64: the head is that
    optimum only up to the tolerance.

    Args:
        params: `rho`, `group_lasso` and the tolerances are read; `gamma` by a pairwise loss.
        features: pairs of (n, d) features; statistics and solver run in float32, or in float64
            where x64 is on.
        config: static settings.
        key: typed key for the gates; `jax.random.key(0)` if None.
        gates: (P, d + 1) gate vectors on standardised features with a bias, instead of sampling.

    Returns:
        The network with its status, statistics, history and certificate.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, with the argument named.
        SolveError: a gradient was asked for where the solve did not meet its tolerances, or where
            its active set is not that of an optimum (outside jit; under it such a gradient is NaN).
    """
    with jax.default_matmul_precision(config.precision):
        inputs = require_gradient((prepare_params(params), prepare_features(features)))
        solution = _cronos(*inputs, config, key, gates)
    return solution._replace(head=require_solved(solution.head, solution.status))


@functools.partial(jax.jit, static_argnames="config")
def _cronos(
    params: Params,
    features: PairArrays,
    config: Config,
    key: jax.Array | None,
    gates: jax.Array | None,
) -> Phase1Solution:
    loss = get_loss(config.phase1_loss)
    status = input_status(params, features)
    prepared = prepare(params, features, loss, config, key, gates)
    strength = strength_of(params, config, loss, prepared)
    result = solve_strength(params, config, loss, prepared, strength, status)
    return phase1_solution(loss, prepared, strength, result)


def solve_strength(
    params: Params,
    config: Config,
    loss: Loss,
    prepared: Prepared,
    strength: Strength,
    status: jax.Array,
    start: CronosState | None = None,
) -> CronosResult:
    """Solve a prepared program at one strength; gradients do not enter the iteration."""
    params, held, strength = lax.stop_gradient((params, prepared, strength))
    problem = cronos_problem(held.program, strength.absolute, strength.penalty, held.system)
    valid = status == Status.SOLVED
    status = jnp.where(valid & strength.vanishes, Status.ZERO_NETWORK, status).astype(jnp.int32)

    def run(
        params: Params,
        problem: CronosProblem,
        interior: jax.Array,
        status: jax.Array,
        start: CronosState | None,
    ) -> CronosResult:
        return cronos_solve(params, problem, interior, loss, config, status, start)

    if config.sweep == "sequential":
        run = sequential_vmap(run)
    return run(params, problem, held.interior, status, start)


def phase1_solution(
    loss: Loss, prepared: Prepared, strength: Strength, result: CronosResult
) -> Phase1Solution:
    """Network, statistics and certificate of one result."""
    program, primal, dual, state = prepared.program, result.primal, result.dual, result.state
    held = lax.stop_gradient(prepared)
    zero_value = loss.value(
        jnp.zeros_like(primal.output), held.program.labels, held.program.row_weight
    )
    located = Located(primal.weights, state.weights, state.slack, result.status == Status.SOLVED)
    weights = differentiable_weights(loss, program, strength.absolute, located)
    absolute = lax.stop_gradient(strength.absolute)
    stats = Phase1Stats(
        status=result.status,
        iterations=state.iterations,
        cg_iterations=state.cg_iterations,
        primal_value=primal.value,
        dual_bound=dual.value,
        relative_gap=relative_gap(primal.value, dual.value),
        explained=explained_share(zero_value, primal.value, dual.value),
        cone_violation=result.violation,
        primal_residual=state.primal_residual,
        dual_residual=state.dual_residual,
        critical_strength=held.critical,
        group_lasso_strength=absolute,
        distinct_gates=held.gates.distinct,
        active_neurons=active_neurons(primal.weights),
        constant_features=held.standardization.constant,
    )
    certificate = Certificate(
        mean=held.standardization.mean,
        scale=held.standardization.scale,
        gates=held.gates.vectors,
        patterns=held.gates.patterns,
        labels=held.program.labels,
        row_weight=held.program.row_weight,
        weights=primal.weights,
        dual_point=dual.point,
        multipliers=dual.multipliers,
        group_lasso_strength=absolute,
        primal_value=primal.value,
        dual_bound=dual.value,
    )
    return Phase1Solution(
        _head(weights, prepared), result.status, stats, result.history, certificate
    )


def _head(weights: jax.Array, prepared: Prepared) -> Head:
    """The network of the weights on raw features."""
    network = network_from_weights(weights, prepared.program.halves)
    theta1, bias = unstandardize_layer(network.first_layer, prepared.standardization)
    if prepared.program.has_cones:
        return ConvexHead(theta1, bias, network.second_layer)
    gates, gate_bias = unstandardize_layer(prepared.gates.vectors.T, prepared.standardization)
    return GatedHead(theta1, bias, network.second_layer, gates, gate_bias)
