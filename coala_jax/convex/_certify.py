"""What any weights of the convex program are worth, recomputed from scratch: `certify`."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._inputs import gate_vectors, input_status, prepare_features
from coala_jax._types import Certificate, Params, PreferenceFeatures, Status, float_dtype
from coala_jax.convex._certificate import (
    Dual,
    Primal,
    better_dual,
    explained_share,
    feasible_dual,
    feasible_primal,
    relative_gap,
)
from coala_jax.convex._gates import activation_patterns
from coala_jax.convex._linear_system import LinearSystem, factorize
from coala_jax.convex._program import (
    GATED_HALVES,
    RELU_HALVES,
    Program,
    cone_violation,
    loss_targets,
    output_adjoint,
    row_products,
)
from coala_jax.convex._projection import interior_points, project_onto_cones
from coala_jax.convex._standardize import Standardization, standardize
from coala_jax.convex.losses import Loss, get_loss

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
    features: PreferenceFeatures,
    certificate: Certificate,
    *,
    loss: str = "squared",
    gamma: float = 0.0,
) -> CertificateReport:
    """Recompute a certificate from the features it speaks of, trusting none of its claims.

    Rows, patterns and labels come from `features` and the certificate's `mean`, `scale` and
    `gates`. Its dual point is rescaled until it is feasible, and a second one is derived from its
    weights; the better bound counts. For the weights of another solver use
    `certificate._replace(weights=...)`: any (2, P, d + 1) array, inside the cones or not. Weights
    of shape (1, P, d + 1) are those of a gated program.

    Args:
        features: n pairs of (n, d) features, as they were solved.
        certificate: `mean`, `scale`, `gates`, `weights`, `dual_point`, `multipliers` and
            `group_lasso_strength` are read.
        loss: the Phase I loss, `Config.phase1_loss`.
        gamma: `Params.gamma`, which a pairwise loss depends on.

    Returns:
        The bounds, in float32 (float64 where x64 is on); all NaN where the features, weights or
        margins are not finite, a pair's weight is negative or the strength is not positive.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, with the argument named.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> solution = coala_jax.solve(coala_jax.Params(), features)
        >>> report = coala_jax.certify(features, solution.certificate)
        >>> bool(report.relative_gap < 1e-2)
        True
    """
    pairs = prepare_features(features)
    dtype = float_dtype()
    width = pairs.chosen.shape[1] + 1
    gates = gate_vectors("certificate.gates", certificate.gates, width)
    halves = 1 if np.shape(certificate.weights)[:1] == (1,) else 2
    blocks, rows = gates.shape[0], 2 * pairs.chosen.shape[0]
    program_loss = get_loss(loss)
    labels, row_weight = loss_targets(program_loss, pairs, jnp.asarray(gamma, dtype))
    arrays = {
        name: _shaped(f"certificate.{name}", getattr(certificate, name), shape)
        for name, shape in {
            "mean": (width - 1,),
            "scale": (width - 1,),
            "weights": (halves, blocks, width),
            "dual_point": labels.shape,
            "multipliers": (halves, blocks, rows),
            "group_lasso_strength": (),
        }.items()
    }
    standardization = Standardization(arrays["mean"], arrays["scale"], jnp.zeros((), jnp.int32))
    x = standardize(jnp.concatenate([pairs.chosen, pairs.rejected]), standardization)
    strength = arrays["group_lasso_strength"]
    with jax.default_matmul_precision("highest"):
        patterns = activation_patterns(x, gates).astype(dtype)
        signs = jnp.asarray(GATED_HALVES if halves == 1 else RELU_HALVES, dtype)
        program = Program(x, patterns, labels, row_weight, signs)
        report = certify_weights(
            program,
            gates,
            arrays["weights"],
            strength,
            program_loss,
            arrays["dual_point"],
            jnp.maximum(arrays["multipliers"], 0),
        )
    valid = (input_status(Params(), pairs) == Status.SOLVED) & (strength > 0)
    return CertificateReport(*(jnp.where(valid, value, jnp.nan) for value in report))


@functools.partial(jax.jit, static_argnames="loss")
def certify_weights(
    program: Program,
    gates: jax.Array,
    weights: jax.Array,
    strength: jax.Array,
    loss: Loss,
    dual_point: jax.Array | None = None,
    multipliers: jax.Array | None = None,
) -> CertificateReport:
    """`certify` on a program.

    From weights alone the dual point is r = -grad l at the projected output. For a given r the
    best multipliers are those of projecting F^T S^T r onto the cones: they make every block's norm
    as small as it can be.

    Args:
        program: the program.
        gates: (P, D) gate vectors of its patterns.
        weights: (H, P, D) weights (v, w), inside the cones or not.
        strength: absolute group-lasso strength.
        loss: the program's loss.
        dual_point: another dual point to try, one value a label, or None.
        multipliers: (H, P, m) its non-negative multipliers, or None.
    """
    system = factorize(program.features)
    primal = _project_weights(program, gates, weights, strength, loss, system)
    dual = _derived_dual(program, strength, loss, system, primal)
    if dual_point is not None and multipliers is not None:
        dual = better_dual(dual, feasible_dual(program, loss, strength, dual_point, multipliers))
    zero = loss.value(jnp.zeros_like(primal.output), program.labels, program.row_weight)
    return CertificateReport(
        primal_value=primal.value,
        dual_bound=dual.value,
        relative_gap=relative_gap(primal.value, dual.value),
        explained=explained_share(zero, primal.value, dual.value),
        cone_violation=cone_violation(program, weights),
    )


def _project_weights(
    program: Program,
    gates: jax.Array,
    weights: jax.Array,
    strength: jax.Array,
    loss: Loss,
    system: LinearSystem,
) -> Primal:
    """The weights, projected unless they are feasible, pushed inside by what rounding needs."""
    products = row_products(program.features, weights)
    interior = jnp.zeros_like(gates)
    if program.has_cones:
        interior = interior_points(program.features, program.signs, system, gates)
    steps = jnp.where(jnp.all(program.signs * products >= 0), 0, _MAX_ITERATIONS)
    start = jnp.zeros_like(products)
    return feasible_primal(program, loss, strength, system, interior, weights, start, steps)


def _derived_dual(
    program: Program, strength: jax.Array, loss: Loss, system: LinearSystem, primal: Primal
) -> Dual:
    """The dual point at the primal's output, with the multipliers that suit it best."""
    point = loss.negative_gradient(primal.output, program.labels, program.row_weight)
    if not program.has_cones:
        return feasible_dual(program, loss, strength, point, primal.multipliers)
    multipliers = project_onto_cones(
        program.features,
        program.signs,
        system,
        output_adjoint(program, point),
        tolerance=_TOLERANCE,
        max_iterations=_MAX_ITERATIONS,
    ).multipliers
    return feasible_dual(program, loss, strength, point, multipliers)


def _shaped(name: str, value: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    array = jnp.asarray(value, float_dtype())
    if array.shape != shape:
        raise ValueError(f"{name} must be {shape} for these features and gates; got {array.shape}")
    return array
