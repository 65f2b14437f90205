"""The penalties T of z = S F u, and the prox of the loss under them.

T weighs sums and differences of the two sides of a pair. Where the sides are similar, what
separates them is a small part of the features, but all that the loss has to be fitted by: with one
penalty for both ADMM fits the differences last.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._inputs import beside
from coala_jax.convex._program import Program, from_rows, sides
from coala_jax.convex._rows import is_there, sum_over_rows

# Penalty of z = S F u relative to G u = s. Measured on two shared sets: 1, 0.3 and 0.1 take the
# same number of steps with 3.9, 2.4 and 1.7 conjugate-gradient steps in each; 0.03 takes more.
OUTPUT_SHARE = 0.1
# Pairs count as similar where the squares of their differences are less than this share of the
# rows' squares: on Gaussian pairs 1 takes about as many steps, but two to four times the
# conjugate-gradient steps. Those of the shared features are .12 to .41 of them.
_SIMILAR = 0.1
# Nor is the share of the most similar pairs below this.
_LEAST_SHARE = 1e-10


class OutputPenalties(NamedTuple):
    """Penalties T of z = S F u, on sums and on differences of the sides of a pair; scalars.

    For a pairwise loss z are differences, for one of groups outputs less their mean. A pointwise
    one has one penalty for both, unless it is isotropic.

    Attributes:
        together: tau of sums.
        apart: tau of differences.
    """

    together: jax.Array
    apart: jax.Array


def output_penalties(program: Program) -> OutputPenalties:
    """OUTPUT_SHARE, and more for the differences of pairs whose sides are similar."""
    share = jnp.asarray(OUTPUT_SHARE, program.features.dtype)
    apart = share / difference_share(program)
    if program.loss.grouped:  # those of a pair are half their difference, and minus that
        return OutputPenalties(share, 2 * apart)
    if program.loss.pairwise or program.loss.isotropic:
        return OutputPenalties(share, apart)
    return OutputPenalties(share, share)


def difference_share(program: Program) -> jax.Array:
    """Sum of squares of the differences of pairs over that of the rows: a scalar.

    Of groups that of what members have beyond their mean, which half a difference is of a pair. In
    units of `_SIMILAR`, and at most 1.
    """
    features = lax.stop_gradient(program.features)

    def squares(x: jax.Array, labels: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        if program.loss.grouped:
            members = labels.shape[1]
            some = dataclasses.replace(program, features=x, labels=labels, row_weight=weight)
            apart = members / (members - 1) * jnp.sum(from_rows(some, x) ** 2)
        else:
            chosen, rejected = sides(x)
            apart = jnp.sum((chosen - rejected) ** 2)
        return apart, jnp.sum(x**2)

    apart, together = sum_over_rows(features, squares, program.labels, program.row_weight)
    together = together - jnp.sum(is_there(features))  # but for the column of ones
    ratio = apart / jnp.where(together > 0, together, 1)
    return jnp.clip(ratio / _SIMILAR, _LEAST_SHARE, 1)


def weighed(program: Program, penalties: OutputPenalties, output: jax.Array) -> jax.Array:
    """T z, one value a label."""
    if program.loss.pairwise or program.loss.grouped:
        return penalties.apart * output
    if not program.loss.isotropic:
        return penalties.together * output
    other = jnp.flip(output.reshape(-1, 2), axis=1).reshape(-1)
    return 0.5 * (penalties.together * (output + other) + penalties.apart * (output - other))


def unweighed(program: Program, penalties: OutputPenalties, output: jax.Array) -> jax.Array:
    """T^-1 z, one value a label."""
    return weighed(program, OutputPenalties(*(1 / tau for tau in penalties)), output)


def output_prox(
    program: Program, penalties: OutputPenalties, rho: jax.Array, output: jax.Array
) -> jax.Array:
    """The argmin over z of l(z) + rho (z - output)^T T (z - output) / 2: one value a label."""
    loss, labels, weight = program.loss, program.labels, program.row_weight
    if not loss.isotropic:
        apart = loss.pairwise or loss.grouped
        tau = penalties.apart if apart else penalties.together
        return loss.prox(output, labels, weight / (tau * rho))
    taus = _taus(penalties, output)
    return _rotated(loss.prox(_rotated(output), _rotated(labels), weight / (taus * rho)))


def _rotated(output: jax.Array) -> jax.Array:
    """(z_c + z_r) / sqrt 2 and (z_c - z_r) / sqrt 2, its own inverse: (m,) -> (m,)."""
    chosen, rejected = sides(output * 0.5**0.5)
    return beside(chosen + rejected, chosen - rejected)


def _taus(penalties: OutputPenalties, output: jax.Array) -> jax.Array:
    """Penalties of the rotated outputs (m,), of every pair that of its sum first."""
    return jnp.tile(jnp.stack(penalties), len(output) // 2)
