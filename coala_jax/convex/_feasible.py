"""From an iterate of ADMM to a point inside the cones: the primal side of a certificate.

The split v of the weights is outside its cones by a little. Its projection is found in rounds of
steps, cheap ones first, and as exactly as the certificate needs: a round that is enough is the
last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax.convex._certificate import Primal, better_primal, evaluated
from coala_jax.convex._cronos import CronosProblem, CronosState
from coala_jax.convex._linear_system import RowPenalties
from coala_jax.convex._projection import (
    Cones,
    Projection,
    project_onto_cones,
    push_inside,
    tight_rows,
)
from coala_jax.convex._rays import best_lengths

# Steps of a round with penalties of single rows, and of one without, whose inverse is there.
_STEPS = 50
_UNIFORM_STEPS = 100
# Rounds of a thorough search.
THOROUGH = 4
# Below this relative violation the push inside costs nothing worth another step.
_TOLERANCE = 1e-6


class _Search(NamedTuple):
    """Best point, multipliers (H, P, m) of the last projection, rounds begun so far."""

    primal: Primal
    multipliers: jax.Array
    rounds: jax.Array


def feasible_primal(
    problem: CronosProblem,
    cones: Cones,
    state: CronosState,
    best: Primal,
    multipliers: jax.Array,
    enough: Callable[[Primal], jax.Array],
    *,
    rounds: jax.Array,
    own_rows: bool,
) -> tuple[Primal, jax.Array]:
    """The better of a point and the projection of a state's weights, pushed inside.

    Where the state has row penalties the first round uses them, from nothing: multipliers of rows
    that are slack by now would hardly move. Elsewhere it starts from the last projection's. With
    `own_rows` the rounds after it have penalties, and inverses, of their own.

    Args:
        problem: the problem.
        cones: of the program; not read where it has none, as any weights are feasible then.
        state: v is projected, its multipliers say which rows may be tight.
        best: best point so far.
        multipliers: (H, P, m) of the last projection; a scalar where it is not needed.
        enough: whether a point needs no better one.
        rounds: scalar int32, most rounds; 0 leaves the best point as it is.
        own_rows: whether such rounds pay; true where the state has row penalties.

    Returns:
        The point, and the multipliers for the next call.
    """
    program = problem.program
    if not program.has_cones:
        return better_primal(best, evaluated(program, state.weights, state.linear)), multipliers
    by_rows = state.rows.by_block
    active = jnp.any(state.weights != 0, axis=-1, keepdims=True)

    def project(onto: Cones, start: jax.Array, steps: int) -> Projection:
        return project_onto_cones(
            onto, state.weights, multipliers=start, tolerance=_TOLERANCE, max_iterations=steps
        )

    def with_rows(multipliers: jax.Array, rows: RowPenalties, shift: jax.Array) -> Projection:
        own = cones._replace(system=dataclasses.replace(cones.system, shift=shift), rows=rows)
        return project(own, multipliers, _STEPS)

    def projected(begun: jax.Array, multipliers: jax.Array) -> Projection:
        first, shift = begun == 0, cones.system.shift
        if not own_rows:
            return project(cones, multipliers, _UNIFORM_STEPS)
        if by_rows:
            rows = lax.cond(first, lambda: state.rows, lambda: tight_rows(cones, multipliers))
            return with_rows(multipliers, rows, jnp.where(first, problem.system.shift, shift))
        guess = jnp.where(begun == 1, state.multipliers, multipliers)
        return lax.cond(
            first,
            lambda: project(cones, multipliers, _UNIFORM_STEPS),
            lambda: with_rows(multipliers, tight_rows(cones, guess), shift),
        )

    def one_round(search: _Search) -> _Search:
        found = projected(search.rounds, search.multipliers)
        inside = push_inside(cones, jnp.where(active, found.weights, 0))
        points = jnp.stack([inside, best_lengths(program, inside, state.linear)])
        two = jax.vmap(lambda weights: evaluated(program, weights, state.linear))(points)
        new = better_primal(*(jax.tree.map(lambda leaf, i=i: leaf[i], two) for i in (0, 1)))
        return _Search(better_primal(search.primal, new), found.multipliers, search.rounds + 1)

    def unfinished(search: _Search) -> jax.Array:
        return ~enough(search.primal) & (search.rounds < rounds)

    start = jnp.zeros_like(state.slack) if by_rows else multipliers
    last = lax.while_loop(unfinished, one_round, _Search(best, start, jnp.zeros((), jnp.int32)))
    return last.primal, multipliers if by_rows else last.multipliers
