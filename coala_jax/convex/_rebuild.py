"""The program that a certificate speaks of, made again from the features: `program_of`."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from coala_jax._errors import CoalaError
from coala_jax._group_inputs import Arrays
from coala_jax._inputs import gate_vectors
from coala_jax._solution import Certificate
from coala_jax._types import Config, Params, float_dtype
from coala_jax.convex._gates import activation_patterns
from coala_jax.convex._program import HALVES, Program, make_program
from coala_jax.convex._rows import sum_over_rows
from coala_jax.convex._standardize import Standardization, program_rows


class Rebuilt(NamedTuple):
    """A program and the weights that a certificate claims for it.

    Attributes:
        program: (3), of the features.
        gates: (P, D) its gate vectors.
        weights: (H, P, D) as claimed.
        linear: (d,) of the linear path, as claimed; None without one.
        standardization: as claimed.
    """

    program: Program
    gates: jax.Array
    weights: jax.Array
    linear: jax.Array | None
    standardization: Standardization


def program_of(params: Params, arrays: Arrays, certificate: Certificate, config: Config) -> Rebuilt:
    """Rows, patterns and labels anew from the features; map, gates, strength as certified.

    Args:
        params: `gamma` and `temperature` are read.
        arrays: the features that were solved, prepared.
        certificate: `center`, `scale`, `gates`, `weights` and `group_lasso_strength` are read, with
            a linear path `linear` and `linear_ridge` too.
        config: `phase1_loss`, `advantage`, `model` and `linear_path` are read.

    Raises:
        ValueError: shapes that do not fit the features or the model, named.
    """
    width = arrays.width + 1
    gates = gate_vectors("certificate.gates", certificate.gates, width)
    columns = (width - 1,)
    center = certified("center", certificate.center, columns)
    scale = certified("scale", certificate.scale, columns)
    shape = (len(HALVES[config.model]), gates.shape[0], width)
    weights = certified(
        "weights", certificate.weights, shape, f" of Config(model={config.model!r})"
    )
    strength = certified("group_lasso_strength", certificate.group_lasso_strength, ())
    x = program_rows(arrays, Standardization(center, scale, jnp.zeros(columns, bool)))
    varied = sum_over_rows(x, lambda rows: jnp.sum(rows[:, :-1] != 0, axis=0))
    standardization = Standardization(center, scale, varied == 0)
    program = make_program(x, activation_patterns(x, gates), arrays, params, config)
    ridge = linear = None
    if (certificate.linear is None) == config.linear_path:
        held = "None" if certificate.linear is None else "weights"
        raise CoalaError(
            f"certificate.linear holds {held}, but the config has linear_path="
            f"{config.linear_path}: give the config that was solved"
        )
    if config.linear_path:
        linear = certified("linear", certificate.linear, columns)
        ridge = certified("linear_ridge", certificate.linear_ridge, ())
    program = dataclasses.replace(program, strength=strength, linear_ridge=ridge)
    return Rebuilt(program, gates, weights, linear, standardization)


def certified(name: str, value: Any, shape: tuple[int, ...], what: str = "") -> jax.Array:
    """A field of a certificate in the solver's dtype; a ValueError for another shape."""
    array = jnp.asarray(value, float_dtype())
    if array.shape != shape:
        raise CoalaError(
            f"certificate.{name}{what} must be {shape} for these features and gates; got "
            f"{array.shape}: give the features and the config that were solved"
        )
    return array
