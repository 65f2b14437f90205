"""From preference features to the convex program that Phase I solves."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._inputs import PairArrays, gate_vectors
from coala_jax._types import Config, Params
from coala_jax.convex._critical_strength import critical_strength, norm_bound
from coala_jax.convex._gates import Gates, given_gates, sample_gates
from coala_jax.convex._linear_system import LinearSystem, factorize
from coala_jax.convex._penalties import guessed_share, suggested_penalty
from coala_jax.convex._program import GATED_HALVES, RELU_HALVES, Program, loss_targets
from coala_jax.convex._projection import interior_points
from coala_jax.convex._standardize import Standardization, fit_standardization, standardize
from coala_jax.convex.losses import Loss

DEFAULT_SEED = 0
# A norm bound below this many roundings of a sum over the rows is zero: nothing to learn.
_ROUNDING = 10.0


class Prepared(NamedTuple):
    """A program and what does not change with its strength, rho or tolerances.

    Attributes:
        program: data of (3).
        gates: its gates.
        standardization: from raw features to the rows of the program.
        system: Gram matrix and inverse of the rows.
        interior: (P, D) strictly feasible points; zeros without cones.
        norm_bound: scalar, max_i ||g_i||.
        critical: scalar, the strength at which the network vanishes, or NaN where
            `Config.strength_unit` does not ask for it.
    """

    program: Program
    gates: Gates
    standardization: Standardization
    system: LinearSystem
    interior: jax.Array
    norm_bound: jax.Array
    critical: jax.Array


class Strength(NamedTuple):
    """The group-lasso strength of one program; scalars.

    Attributes:
        absolute: lambda_g.
        penalty: the rho of Algorithm 2 that suits it, times `Params.rho`.
        vanishes: whether the optimum is known to be zero.
    """

    absolute: jax.Array
    penalty: jax.Array
    vanishes: jax.Array


def prepare(
    params: Params,
    features: PairArrays,
    loss: Loss,
    config: Config,
    key: jax.Array | None,
    gates: jax.Array | None,
) -> Prepared:
    """Standardise, sample or take the gates, and prepare the linear system and the cones."""
    # The barrier keeps XLA from evaluating the whole solve at compile time where a caller's jit
    # closes over its features.
    rows = lax.optimization_barrier(jnp.concatenate([features.chosen, features.rejected]))
    standardization = fit_standardization(rows)
    x = standardize(rows, standardization)
    held = lax.stop_gradient(x)
    if gates is None:
        key = jax.random.key(DEFAULT_SEED) if key is None else key
        # An open gate lets a gated network be linear, as the probe is that it has to beat. In the
        # cones of a ReLU network it would not do so.
        found = sample_gates(key, config.n_gates, held, open_first=config.model == "gated_relu")
    else:
        found = given_gates(lax.stop_gradient(gate_vectors("gates", gates, x.shape[1])), held)
    labels, row_weight = loss_targets(loss, features, params.gamma)
    halves = RELU_HALVES if config.model == "relu" else GATED_HALVES
    program = Program(
        x, found.patterns.astype(x.dtype), labels, row_weight, jnp.asarray(halves, x.dtype)
    )
    system = factorize(held)
    interior = jnp.zeros_like(found.vectors)
    if program.has_cones:
        interior = interior_points(held, program.signs, system, found.vectors)
    bound = norm_bound(program, loss)
    critical = jnp.full_like(bound, jnp.nan)
    if config.strength_unit == "critical":
        critical = critical_strength(program, loss, system)
    return Prepared(program, found, standardization, system, interior, bound, critical)


def strength_of(params: Params, config: Config, loss: Loss, prepared: Prepared) -> Strength:
    """`Params.group_lasso` in its unit, `Config.strength_unit`."""
    rows, bound = prepared.program.features.shape[0], prepared.norm_bound
    nothing_to_learn = bound <= _ROUNDING * jnp.finfo(bound.dtype).eps * rows
    if config.strength_unit == "critical":
        absolute, share = params.group_lasso * prepared.critical, params.group_lasso
        vanishes = nothing_to_learn | (params.group_lasso >= 1)
    else:
        absolute = params.group_lasso
        share = guessed_share(absolute, bound)
        vanishes = nothing_to_learn | (absolute >= bound)
    penalty = params.rho * suggested_penalty(loss, share)
    return Strength(absolute, lax.stop_gradient(penalty), vanishes)
