"""From preference features to the convex program that Phase I solves."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._group_inputs import Arrays
from coala_jax._inputs import gate_vectors, key_or_default
from coala_jax._types import Config, Params
from coala_jax.convex._cronos import CronosProblem, cronos_problem
from coala_jax.convex._gates import Gates, given_gates, sample_gates
from coala_jax.convex._lambda_max import Interval, lambda_max, norm_bound
from coala_jax.convex._linear_path import path_of_zero_network
from coala_jax.convex._linear_system import LinearSystem, factorize
from coala_jax.convex._penalties import guessed_share, rows_pay, suggested_penalty
from coala_jax.convex._program import Program, make_program
from coala_jax.convex._projection import Cones, cones_of
from coala_jax.convex._rows import raw_rows
from coala_jax.convex._standardize import Standardization, fit_standardization, program_rows

# lambda_max, of which a strength is a fraction, is sought to this share, or to the tolerance of the
# gap where that is less: gradients through it are as good.
_STRENGTH_TOLERANCE = 1e-2


class Prepared(NamedTuple):
    """A program and what does not change with its strength, rho or tolerances.

    Attributes:
        program: (3), its strength yet to be set.
        gates: its gates.
        standardization: from raw features to the rows of the program.
        system: Gram matrix and inverse of the rows.
        cones: of the program, with what projections onto them need.
        linear: (d,) linear path of the zero network; None without one.
        norm_bound: bounds of max_i ||g_i||; NaN where lambda_max is known.
        lambda_max: bounds of the strength at which the network vanishes; NaN where
            `Config.strength_unit` does not ask for them.
    """

    program: Program
    gates: Gates
    standardization: Standardization
    system: LinearSystem
    cones: Cones
    linear: jax.Array | None
    norm_bound: Interval
    lambda_max: Interval


def prepare(
    params: Params,
    features: Arrays,
    config: Config,
    key: jax.Array | None,
    gates: jax.Array | None,
) -> Prepared:
    """Standardise, sample or take the gates, and prepare the linear system and the cones."""
    # The barrier keeps XLA from evaluating the whole solve at compile time where a caller's jit
    # closes over its features.
    features = lax.optimization_barrier(features)
    standardization = fit_standardization(raw_rows(features), features.row_weight)
    x = program_rows(features, standardization)
    held = lax.stop_gradient(x)
    if gates is None:
        # An open gate lets a gated network be linear, as the probe is that it has to beat. In the
        # cones of a ReLU network it would not do so.
        open_first = config.model == "gated_relu" and not config.linear_path
        found = sample_gates(
            key_or_default(key),
            config.n_gates,
            held,
            open_first=open_first,
            distribution=config.gate_distribution,
            weight=features.row_weight,
            members=len(x) // len(features.weight),
        )
    else:
        found = given_gates(lax.stop_gradient(gate_vectors("gates", gates, x.shape[1])), held)
    program = make_program(x, found.patterns, features, params, config)
    system = factorize(held, features.mesh)
    cones = cones_of(lax.stop_gradient(program), system, found.vectors)
    linear = path_of_zero_network(program)
    nan = jnp.full((), jnp.nan, x.dtype)
    bound = vanishing = Interval(nan, nan)
    if config.strength_unit == "lambda_max":
        vanishing = lambda_max(
            program,
            cones,
            linear,
            tolerance=jnp.minimum(params.gap_tolerance, _STRENGTH_TOLERANCE),
            adapt_rows=rows_pay(config, program),
        )
    else:
        bound = norm_bound(program, linear)
    return Prepared(program, found, standardization, system, cones, linear, bound, vanishing)


def at_strength(
    params: Params, config: Config, prepared: Prepared
) -> tuple[CronosProblem, jax.Array]:
    """The program at `Params.group_lasso` in its unit, `Config.strength_unit`.

    Returns:
        What CRONOS starts from, with the rho that suits the strength times `Params.rho`, and
        whether the optimum is known to be zero, up to the rounding of what pulls at it. With a
        linear path that is not zero it never is: such a program is solved, and certified.
    """
    program, bound, linear = prepared.program, prepared.norm_bound, prepared.linear
    if config.strength_unit == "lambda_max":
        absolute, share = params.group_lasso * prepared.lambda_max.upper, params.group_lasso
        vanishes = (prepared.lambda_max.lower <= 0) | (params.group_lasso >= 1)
    else:
        absolute = params.group_lasso
        share = guessed_share(absolute, bound.upper)
        vanishes = (bound.lower <= 0) | (absolute >= bound.upper)
    if linear is not None:
        vanishes = vanishes & ~jnp.any(linear)
    program = dataclasses.replace(program, strength=absolute)
    penalty = lax.stop_gradient(params.rho * suggested_penalty(program, share))
    return cronos_problem(program, penalty, prepared.system, linear), vanishes
