"""What any weights of the convex program are worth, recomputed from scratch: `certify`."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._group_inputs import prepare_for
from coala_jax._inputs import input_status, prepare_params, require_kind
from coala_jax._solution import Certificate
from coala_jax._status import Status
from coala_jax._types import Config, Features, Params
from coala_jax.convex._certificate import (
    Dual,
    Primal,
    better_dual,
    evaluated,
    explained_share,
    feasible_dual,
    relative_gap,
    zero_network,
)
from coala_jax.convex._linear_path import fit_path
from coala_jax.convex._linear_system import factorize
from coala_jax.convex._program import Program, cone_violation, output_adjoint, path_output
from coala_jax.convex._projection import (
    Cones,
    cones_of,
    project_with_row_penalties,
    push_inside,
)
from coala_jax.convex._rebuild import certified, program_of

# Weights of a stranger bring no multipliers to start from, and a projection from zero is slow:
# Clarabel's optimum of a program of 500 rows, 20 features and 8 gates is certified to 7e-4 after
# 1000 steps, tiny ones to 1e-5 or better.
_TOLERANCE = 1e-7
_MAX_ITERATIONS = 1000


class CertificateReport(NamedTuple):
    """Bounds of program (3) that given weights and dual points prove; scalars.

    Attributes:
        primal_value: objective (3) at the weights, projected onto the cones and pushed inside.
        dual_bound: best lower bound of the optimum of (3) with these gates.
        relative_gap: (primal_value - dual_bound) / |dual_bound|.
        explained: share of the possible improvement over the zero network.
        cone_violation: max(-G u)+ / max|X u| of the weights as they came.
    """

    primal_value: jax.Array
    dual_bound: jax.Array
    relative_gap: jax.Array
    explained: jax.Array
    cone_violation: jax.Array


def certify(
    params: Params,
    features: Features,
    certificate: Certificate,
    *,
    config: Config = Config(),
) -> CertificateReport:
    """Recompute a certificate of eq 3 from the features it speaks of, trusting none of its claims.

    Rows, patterns and labels come from `features` and the certificate's `center`, `scale` and
    `gates`. Its dual point is rescaled until it is feasible, and a second one is derived from its
    weights; the better bound counts. For the weights of another solver use
    `certificate._replace(weights=...)`: any (2, P, d + 1) array, inside the cones or not, or
    (1, P, d + 1) of a gated program; with a linear path `linear` too.

    Args:
        params: as they were solved; `gamma` is read by a pairwise loss, `temperature` by
            `"listwise"`.
        features: n pairs of (n, d) features, or groups, as they were solved.
        certificate: `center`, `scale`, `gates`, `weights`, `dual_point`, `multipliers` and
            `group_lasso_strength` are read, with a linear path `linear` and `linear_ridge` too.
        config: as they were solved; `phase1_loss`, `advantage`, `model` and `linear_path` are
            read.

    Returns:
        The bounds, in float32 (float64 where x64 is on); all NaN where the features, weights or
        margins are not finite, a pair's weight is negative or the strength is not positive.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, with the argument named.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> params, features = coala_jax.Params(), coala_jax.PreferenceFeatures(chosen, rejected)
        >>> solution = coala_jax.solve(params, features)
        >>> report = coala_jax.certify(params, features, solution.certificate)
        >>> bool(report.relative_gap < 1e-2)
        True
    """
    require_kind("config", config, Config)
    params, arrays = prepare_params(params), prepare_for(config, features)
    with jax.default_matmul_precision("highest"):
        program, gates, weights, linear, _ = program_of(params, arrays, certificate, config)
        dual_point = certified("dual_point", certificate.dual_point, program.labels.shape)
        shape = (*weights.shape[:2], program.features.shape[0])
        multipliers = certified("multipliers", certificate.multipliers, shape)
        multipliers = jnp.maximum(multipliers, 0)
        report = certify_weights(program, gates, weights, linear, dual_point, multipliers)
    valid = (input_status(Params(), arrays) == Status.SOLVED) & (program.strength > 0)
    if program.linear_ridge is not None:
        valid = valid & (program.linear_ridge > 0)
    return CertificateReport(*(jnp.where(valid, value, jnp.nan) for value in report))


@jax.jit
def certify_weights(
    program: Program,
    gates: jax.Array,
    weights: jax.Array,
    linear: jax.Array | None = None,
    dual_point: jax.Array | None = None,
    multipliers: jax.Array | None = None,
) -> CertificateReport:
    """`certify` on a program.

    From weights alone the dual point is r = -grad l at the projected output, with the linear path
    that suits it best. For a given r the best multipliers are those of projecting F^T S^T r onto
    the cones: they make every block's norm as small as it can be.

    Args:
        program: the program.
        gates: (P, D) gate vectors of its patterns.
        weights: (H, P, D) weights (v, w), inside the cones or not.
        linear: (d,) weights of the linear path; None without one.
        dual_point: another dual point to try, one value a label, or None.
        multipliers: (H, P, m) its non-negative multipliers, or None.
    """
    cones = cones_of(program, factorize(program.features, program.mesh), gates)
    primal = _project_weights(program, weights, linear, cones)
    dual = _derived_dual(program, cones, primal)
    if dual_point is not None and multipliers is not None:
        dual = better_dual(dual, feasible_dual(program, dual_point, multipliers))
    zero = zero_network(program)
    return CertificateReport(
        primal_value=primal.value,
        dual_bound=dual.value,
        relative_gap=relative_gap(primal.value, dual.value),
        explained=explained_share(zero.value, primal.value, dual.value),
        cone_violation=cone_violation(program, weights),
    )


def _project_weights(
    program: Program, weights: jax.Array, linear: jax.Array | None, cones: Cones
) -> Primal:
    """The weights, projected unless they are feasible, pushed inside by what rounding needs."""
    if not program.has_cones:
        return evaluated(program, weights, linear)

    def projected() -> jax.Array:
        found = project_with_row_penalties(
            cones, weights, tolerance=_TOLERANCE, max_iterations=_MAX_ITERATIONS
        )
        return jnp.where(jnp.any(weights != 0, axis=-1, keepdims=True), found.weights, 0)

    inside = jnp.all(cones.products(weights) >= 0)
    nearest = lax.cond(inside, lambda: weights, projected)
    return evaluated(program, push_inside(cones, nearest), linear)


def _derived_dual(program: Program, cones: Cones, primal: Primal) -> Dual:
    """The dual point at the primal's output, with the multipliers that suit it best."""
    output = primal.output
    if primal.linear is not None:
        network = output - path_output(program, primal.linear)
        output = network + path_output(program, fit_path(program, network))
    point = program.dual_point(output)
    if not program.has_cones:
        return feasible_dual(program, point, jnp.zeros_like(cones.signs[None]))
    multipliers = project_with_row_penalties(
        cones,
        output_adjoint(program, point),
        tolerance=_TOLERANCE,
        max_iterations=_MAX_ITERATIONS,
    ).multipliers
    return feasible_dual(program, point, multipliers)
