"""Phase I: preference features in, certified network out."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax.convex.certificate import explained_share, relative_gap
from coala_jax.convex.certified_loop import cronos_solve
from coala_jax.convex.critical_strength import critical_strength, norm_bound
from coala_jax.convex.cronos import cronos_problem
from coala_jax.convex.gates import activation_patterns, sample_gates
from coala_jax.convex.linear_system import LinearSystem, factorize
from coala_jax.convex.losses import Loss, get_loss
from coala_jax.convex.network import active_neurons, network_from_weights
from coala_jax.convex.program import Program, loss_targets
from coala_jax.convex.standardize import fit_standardization, standardize, unstandardize_head
from coala_jax.head import ConvexHead
from coala_jax.inputs import PairArrays, input_status, prepare_features, prepare_params
from coala_jax.types import (
    Certificate,
    Config,
    Params,
    Phase1History,
    PreferenceFeatures,
    Status,
    float_dtype,
)

DEFAULT_SEED = 0
# The best penalty grows with the strength, since weights shrink and multipliers do not; measured
# on the shared features at 0.05, 0.1 and 0.2 of the critical strength it is near 0.2, 0.3 and 0.8.
PENALTY_SHARE = 4.0
# Where the critical strength is not computed: its usual share of the norm bound, which decides
# only where the penalty starts. Measured on the shared features: 0.19 to 0.25.
_CRITICAL_SHARE = 0.25
# A norm bound below this many roundings of a sum over the rows is zero: nothing to learn.
_ROUNDING = 10.0


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
    active_neurons: jax.Array
    constant_features: jax.Array


class Phase1Solution(NamedTuple):
    """Result of `cronos`.

    Attributes:
        head: the network of Phase I on raw features, (d, 2P) with unused neurons zero.
        status: int32 `Status`.
        stats: scalars.
        history: one entry a certificate.
        certificate: what certifies it.
    """

    head: ConvexHead
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
    """Train a two-layer ReLU network on preferences through its convex program (eq 3, Algorithm 2).

    The rows are the chosen responses followed by the rejected ones, standardised and given a bias
    column. A pointwise loss fits labels +1 and -1, as in the paper; `"bradley_terry"` fits the
    differences of the pairs. Safe under jit and vmap; `params` leaves may be traced.

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
    """
    with jax.default_matmul_precision(config.precision):
        return _cronos(prepare_params(params), prepare_features(features), config, key, gates)


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
    # The barrier keeps XLA from evaluating the whole solve at compile time where a caller's jit
    # closes over its features.
    rows = lax.optimization_barrier(jnp.concatenate([features.chosen, features.rejected]))
    standardization = fit_standardization(rows)
    x = standardize(rows, standardization)
    if gates is None:
        key = jax.random.key(DEFAULT_SEED) if key is None else key
        gates = sample_gates(key, config.n_gates, x.shape[1], x.dtype)
    else:
        gates = _check_gates(gates, x.shape[1])
    patterns = activation_patterns(x, gates)
    labels, row_weight = loss_targets(loss, features, params.gamma)
    program = Program(x, patterns.astype(x.dtype), labels, row_weight)
    system = factorize(x)
    strength = _strength(params, config, program, loss, system)
    penalty = PENALTY_SHARE * jnp.minimum(strength.share, 1) * loss.curvature * params.rho
    problem = cronos_problem(program, gates, strength.absolute, penalty, system)
    valid = status == Status.SOLVED
    status = jnp.where(valid & strength.vanishes, Status.ZERO_NETWORK, status).astype(jnp.int32)
    result = cronos_solve(params, problem, loss, config, status)

    primal, dual, state = result.primal, result.dual, result.state
    zero_value = loss.value(jnp.zeros_like(primal.output), program.labels, program.row_weight)
    network = network_from_weights(primal.weights)
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
        critical_strength=strength.critical,
        group_lasso_strength=strength.absolute,
        active_neurons=active_neurons(primal.weights),
        constant_features=standardization.constant,
    )
    certificate = Certificate(
        mean=standardization.mean,
        scale=standardization.scale,
        gates=gates,
        patterns=patterns,
        labels=program.labels,
        row_weight=program.row_weight,
        weights=primal.weights,
        dual_point=dual.point,
        multipliers=dual.multipliers,
        group_lasso_strength=strength.absolute,
        primal_value=primal.value,
        dual_bound=dual.value,
    )
    head = unstandardize_head(network.first_layer, network.second_layer, standardization)
    return Phase1Solution(head, result.status, stats, result.history, certificate)


class _Strength(NamedTuple):
    """The group-lasso strength of one program; scalars.

    Attributes:
        absolute: lambda_g.
        critical: the strength at which the network vanishes, or NaN where it is not computed.
        share: `absolute` over the critical strength, or over a guess of it.
        vanishes: whether the optimum is known to be zero.
    """

    absolute: jax.Array
    critical: jax.Array
    share: jax.Array
    vanishes: jax.Array


def _strength(
    params: Params, config: Config, program: Program, loss: Loss, system: LinearSystem
) -> _Strength:
    """`Params.group_lasso` in its unit, `Config.strength_unit`."""
    bound = norm_bound(program, loss)
    rows, resolution = program.features.shape[0], jnp.finfo(bound.dtype).eps
    nothing_to_learn = bound <= _ROUNDING * resolution * rows
    if config.strength_unit == "critical":
        critical = critical_strength(program, loss, system)
        absolute, share = params.group_lasso * critical, params.group_lasso
        vanishes = nothing_to_learn | (params.group_lasso >= 1)
    else:
        critical = jnp.full_like(bound, jnp.nan)
        absolute = params.group_lasso
        share = absolute / (_CRITICAL_SHARE * jnp.where(nothing_to_learn, 1, bound))
        vanishes = nothing_to_learn | (absolute >= bound)
    return _Strength(absolute, critical, share, vanishes)


def _check_gates(gates: jax.Array, width: int) -> jax.Array:
    gates = jnp.asarray(gates, float_dtype())
    if gates.ndim != 2 or gates.shape[1] != width:
        raise ValueError(
            f"gates must be (P, {width}): one column a standardised feature and one for the bias; "
            f"got {gates.shape}"
        )
    return gates
