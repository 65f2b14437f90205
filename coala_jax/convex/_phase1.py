"""Phase I: preference features in, certified network out."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap

from coala_jax._gradients import require_gradient, require_solved
from coala_jax._group_inputs import Arrays, map_arrays, prepare_for
from coala_jax._head import ConvexHead, GatedHead, Head
from coala_jax._inputs import input_status, prepare_params, require_kind
from coala_jax._solution import Certificate, Phase1Solution, Phase1Stats
from coala_jax._status import Status
from coala_jax._types import Config, Features, Params
from coala_jax.convex._active_set import Weights
from coala_jax.convex._certificate import explained_share, relative_gap, zero_network
from coala_jax.convex._certified_loop import CronosResult, cronos_solve
from coala_jax.convex._cronos import CronosProblem, CronosState
from coala_jax.convex._head_check import claims_a_network, confirmed_status, doubt_at_gates
from coala_jax.convex._implicit import Located, differentiable_weights
from coala_jax.convex._memory import refuse_what_cannot_fit
from coala_jax.convex._network import active_neurons, network_from_weights
from coala_jax.convex._prepare import Prepared, at_strength, prepare
from coala_jax.convex._program import Program
from coala_jax.convex._projection import Cones
from coala_jax.convex._standardize import unstandardize_layer, unstandardize_path


def cronos(
    params: Params,
    features: Features,
    *,
    config: Config = Config(),
    key: jax.Array | None = None,
    gates: jax.Array | None = None,
) -> Phase1Solution:
    """Train a two-layer network on preferences through its convex program (eq 3, Algorithm 2).

    The rows are the responses, those of a pair or group beside each other, standardised and given a
    bias column. A pointwise loss fits labels +1 and -1, as in the paper; `"bradley_terry"` fits the
    differences of the pairs, one of groups what members have beyond the mean of theirs. Safe under
    jit and vmap; `params` leaves may be traced.

    Reverse-mode gradients of the head are those of the optimum near the result, by implicit
    differentiation with the gates and the zero neurons held fixed; no other result carries
    gradients; forward mode and second derivatives raise. Solve to a tight tolerance, in float64:
    the head is that optimum only up to the tolerance.

    Args:
        params: `rho`, `group_lasso` and the tolerances are read; `gamma` by a pairwise loss,
            `temperature` by `"listwise"`.
        features: pairs of (n, d) features, or groups of (n, k, d) with a loss of groups; statistics
            and solver run in float32, or in float64 where x64 is on.
        config: static settings.
        key: typed key for the gates; `jax.random.key(0)` if None.
        gates: (P, d + 1) gate vectors on standardised features with a bias, instead of sampling.

    Returns:
        The network with its status, statistics, history and certificate.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, with the argument named.
        SolveError: a gradient was asked for where the solve did not meet its tolerances, or where
            its active set is not that of an optimum (outside jit; under it such a gradient is NaN).

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> phase1 = coala_jax.cronos(coala_jax.Params(), features).raise_for_status()
        >>> bool(phase1.stats.relative_gap <= 1e-2)
        True
    """
    require_kind("config", config, Config)
    refuse_what_cannot_fit(features, config)
    with jax.default_matmul_precision("highest"):
        inputs = require_gradient((prepare_params(params), prepare_for(config, features)))
    return phase1_of(*inputs, config, key, gates)


def phase1_of(
    params: Params,
    features: Arrays,
    config: Config,
    key: jax.Array | None,
    gates: jax.Array | None,
) -> Phase1Solution:
    """`cronos` of prepared scalars and features, which say where their rows lie under jit too."""
    with jax.default_matmul_precision("highest"):
        solution = _cronos(params, features, config, key, gates)
    return require_solved(solution)


@functools.partial(jax.jit, static_argnames="config")
def _cronos(
    params: Params,
    features: Arrays,
    config: Config,
    key: jax.Array | None,
    gates: jax.Array | None,
) -> Phase1Solution:
    prepared = prepare(params, features, config, key, gates)
    problem, vanishes = at_strength(params, config, prepared)
    status = zero_or_status(vanishes, input_status(params, features, gates))
    result = solve_held(params, config, problem, prepared.cones, status)
    return phase1_solution(params, features, prepared, problem.program, result)


def zero_or_status(vanishes: jax.Array, status: jax.Array) -> jax.Array:
    """`ZERO_NETWORK` where a valid program is known to have a zero optimum: int32."""
    known = vanishes & (status == Status.SOLVED)
    return jnp.where(known, Status.ZERO_NETWORK, status).astype(jnp.int32)


def solve_held(
    params: Params,
    config: Config,
    problem: CronosProblem,
    cones: Cones,
    status: jax.Array,
    start: CronosState | None = None,
) -> CronosResult:
    """`cronos_solve` in the order of `Config.sweep`; gradients do not enter the iteration."""

    def run(
        params: Params,
        problem: CronosProblem,
        cones: Cones,
        status: jax.Array,
        start: CronosState | None,
    ) -> CronosResult:
        return cronos_solve(params, problem, cones, config, status, start)

    if config.sweep == "sequential":
        run = sequential_vmap(run)
    return run(*lax.stop_gradient((params, problem, cones)), status, start)


def phase1_solution(
    params: Params,
    features: Arrays,
    prepared: Prepared,
    program: Program,
    result: CronosResult,
) -> Phase1Solution:
    """Network, statistics and certificate of one result.

    Args:
        params: the tolerances are read.
        features: raw, for the head to run on.
        prepared: what the program was made from.
        program: at its strength.
        result: of the program.
    """
    primal, dual, state = result.primal, result.dual, result.state
    located = Located(
        Weights(primal.weights, primal.linear),
        Weights(state.weights, state.linear),
        state.slack,
        result.status == Status.SOLVED,
    )
    head = head_of_weights(differentiable_weights(program, located), prepared)
    prepared, program, held = lax.stop_gradient((prepared, program, head))

    def confirmed() -> jax.Array:
        rewards = map_arrays(lambda some: held(some.raw_rows), lax.stop_gradient(features))
        doubt = doubt_at_gates(program, prepared.gates.vectors, primal.weights)
        return confirmed_status(params, program, result, rewards, doubt)

    status = lax.cond(claims_a_network(result.status), confirmed, lambda: result.status)
    zero_value = zero_network(program).value
    stats = Phase1Stats(
        status=status,
        iterations=state.iterations,
        cg_iterations=state.cg_iterations,
        primal_value=primal.value,
        dual_bound=dual.value,
        relative_gap=relative_gap(primal.value, dual.value),
        explained=explained_share(zero_value, primal.value, dual.value),
        cone_violation=result.violation,
        primal_residual=state.primal_residual,
        dual_residual=state.dual_residual,
        lambda_max=prepared.lambda_max.upper,
        lambda_max_lower=prepared.lambda_max.lower,
        group_lasso_strength=program.strength,
        distinct_gates=prepared.gates.distinct,
        active_neurons=active_neurons(primal.weights),
        constant_features=jnp.sum(prepared.standardization.constant, dtype=jnp.int32),
    )
    certificate = Certificate(
        center=prepared.standardization.center,
        scale=prepared.standardization.scale,
        gates=prepared.gates.vectors,
        patterns=prepared.gates.patterns,
        labels=program.labels,
        row_weight=program.row_weight,
        weights=primal.weights,
        dual_point=dual.point,
        multipliers=dual.multipliers,
        group_lasso_strength=program.strength,
        primal_value=primal.value,
        dual_bound=dual.value,
        linear=primal.linear,
        linear_ridge=program.linear_ridge,
    )
    return Phase1Solution(head, status, stats, result.history, certificate)


def head_of_weights(weights: Weights, prepared: Prepared) -> Head:
    """The network of the weights on raw features."""
    standardization = prepared.standardization
    network = network_from_weights(weights.blocks, prepared.program.model)
    theta1, bias = unstandardize_layer(network.first_layer, standardization)
    linear = unstandardize_path(weights.linear, standardization)
    if prepared.program.has_cones:
        return ConvexHead(theta1, bias, network.second_layer, standardization.center, linear)
    gates, gate_bias = unstandardize_layer(prepared.gates.vectors.T, standardization)
    return GatedHead(
        theta1, bias, network.second_layer, gates, gate_bias, standardization.center, linear
    )
