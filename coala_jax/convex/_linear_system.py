"""The linear system of the ADMM u-step: preconditioned conjugate gradients on a correction.

With penalties `shift` on u = v, Sigma (one a row) on G u = s and T on z = S F u the system is

    (shift I + G^T Sigma G + F^T S^T T S F) u = b.

E_i^2 = I makes G^T Sigma G block diagonal, with blocks X^T Sigma_i X: no step applies G inside
conjugate gradients. The preconditioner is the exact inverse of all but the last term, so that its
condition number is at most 1 + 2 tau g / min Sigma (twice the last term for a pairwise loss), g the
most gates that are active on one row and tau the largest penalty in T.

Inverses are formed once and applied as products. Triangular solves would be the textbook's way;
they run at a fraction of the speed of a product (measured on 2 cores, D = 385, 32 blocks: 21 ms
against 0.2 ms), and the residual of the system is computed without the inverse at every step.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular

from coala_jax._row_mesh import RowMesh, among_largest, on_each_device, with_rows
from coala_jax.convex._linear_path import PathSystem, with_path
from coala_jax.convex._output_penalties import OutputPenalties, weighed
from coala_jax.convex._program import (
    Program,
    by_halves,
    inner_product,
    network_output,
    output_adjoint,
    spread_to_rows,
)
from coala_jax.convex._rows import (
    Rows,
    column_products,
    gram_matrix,
    local_rows,
    row_products,
    rows_at,
)

# Penalty of u = v relative to G u = s, as a share of the sum of squares of a standardised feature
# (m): measured on the shared features, 0.01 to 0.1 need the fewest steps, 0.03 the fewest
# conjugate-gradient steps as well.
SPLIT_SHARE = 0.03
# Penalties of single rows of G u = s relative to a uniform one: a tight row behaves like an
# equation, and a slack one is only a drag, the more so the narrower the cones are. Slack rows of a
# block weigh together as much as this share of D rows of penalty 1, whatever their number, and one
# no more than the largest. Measured in docs/solver.md, Constants.
TIGHT_PENALTY = 100.0
SLACK_SHARE = 0.7
LARGEST_SLACK_PENALTY = 0.1
# Rows of a block that can be tight, as a multiple of the width D: an optimum has at most D of
# them, early iterates up to 4 D. The rest count as slack; the gathered rows stay few: where 4 D are
# over MANY_TIGHT_ROWS, these or 2 D count. Measured: 2 D take 75 steps more than 4 D on 4000 pairs
# of 64 features, and no more on alpaca_eval_v2.
TIGHT_ROWS = 4
FEWER_TIGHT_ROWS = 2
MANY_TIGHT_ROWS = 512
# Without cones s = G u is free and its multiplier zero: the split is then a proximal term alone,
# that keeps conjugate gradients short.
FREE_PENALTY = 0.1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LinearSystem:
    """Gram matrix and inverse that a whole solve shares; neither rho nor the loss enters them.

    Attributes:
        shift: scalar, a share of the rows that have weight.
        gram: (D, D) X^T X.
        inverse: (D, D) (shift I + X^T X)^-1.
        mesh: where the rows lie, None on one device; static.
    """

    shift: jax.Array
    gram: jax.Array
    inverse: jax.Array
    mesh: RowMesh | None = dataclasses.field(default=None, metadata={"static": True})


class RowPenalties(NamedTuple):
    """Penalties Sigma of the rows of G u = s, and the inverses that belong to them.

    Attributes:
        penalty: (H, P, m) of every row, or () where all have 1.
        inverse: (H, P, D, D) (shift I + X^T Sigma_i X)^-1 of every block, or (D, D) for all.
    """

    penalty: jax.Array
    inverse: jax.Array

    @property
    def by_block(self) -> bool:
        """Whether every block has an inverse of its own."""
        return self.inverse.ndim > 2


def factorize(features: Rows, mesh: RowMesh | None = None) -> LinearSystem:
    """Gram matrix of (m, D) rows, and the inverse of it and the shift."""
    return with_share(gram_matrix(features), SPLIT_SHARE, mesh)


def with_share(gram: jax.Array, share: float, mesh: RowMesh | None = None) -> LinearSystem:
    """The system of a (D, D) Gram matrix, with a shift of this share of its rows."""
    shift = share * _row_count(gram)
    return LinearSystem(shift, gram, _inverse(gram, shift), mesh)


def _row_count(gram: jax.Array) -> jax.Array:
    """How many rows with weight are in a Gram matrix: the square of the column of ones, scalar."""
    return gram[-1, -1]


def uniform_penalties(system: LinearSystem) -> RowPenalties:
    """Penalty 1 for every row: one inverse for all blocks."""
    return RowPenalties(jnp.ones((), system.gram.dtype), system.inverse)


def free_penalties(system: LinearSystem) -> RowPenalties:
    """FREE_PENALTY for every row of a program without cones: one inverse for all blocks."""
    penalty = jnp.asarray(FREE_PENALTY, system.gram.dtype)
    return RowPenalties(penalty, _inverse(penalty * system.gram, system.shift))


def block_penalties(system: LinearSystem, blocks: int, rows: int) -> RowPenalties:
    """`uniform_penalties` in the shapes of `tight_penalties`, for P blocks of m rows."""
    width = system.gram.shape[0]
    return RowPenalties(
        with_rows(system.mesh, jnp.ones((2, blocks, rows), system.gram.dtype)),
        jnp.broadcast_to(system.inverse, (2, blocks, width, width)),
    )


def tight_penalties(
    features: Rows,
    system: LinearSystem,
    multipliers: jax.Array,
    tight_penalty: float = TIGHT_PENALTY,
) -> RowPenalties:
    """A high penalty where a multiplier is positive, a low one elsewhere.

    Args:
        features: (m, D) rows X.
        system: of X.
        multipliers: (H, P, m) non-negative, in any common positive multiple. Of each block the
            TIGHT_ROWS * D largest count, fewer where blocks are wide. Devices tell each other as
            many of their own; the rows stay where they are.
        tight_penalty: of rows whose multiplier is positive.
    """
    rows, width = features.shape
    most = max(FEWER_TIGHT_ROWS * width, min(TIGHT_ROWS * width, MANY_TIGHT_ROWS))
    slack = jnp.minimum(LARGEST_SLACK_PENALTY, SLACK_SHARE * width / _row_count(system.gram))

    by_row, here = local_rows(features)

    def tight_of(x: Any, multiplier: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Penalties of rows, and the Gram matrix of those that are tight."""
        largest, index = lax.top_k(multiplier, min(len(multiplier), most))
        tight = (largest > 0) & among_largest(system.mesh, largest, most)
        penalty = jnp.full_like(multiplier, slack)
        penalty = penalty.at[index].set(jnp.where(tight, tight_penalty, slack))
        picked = jnp.where(tight[:, None], rows_at(here(x), index), 0)
        return penalty, picked.T @ picked

    def one_block(multiplier: jax.Array) -> tuple[jax.Array, jax.Array]:
        penalty, tight = on_each_device(system.mesh, tight_of, by_row, multiplier)
        gram = slack * system.gram + (tight_penalty - slack) * tight
        return penalty, _inverse(gram, system.shift)

    flat = multipliers.reshape(-1, rows)
    penalty, inverse = lax.map(one_block, flat)
    penalty = with_rows(system.mesh, penalty.reshape(multipliers.shape))
    return RowPenalties(penalty, inverse.reshape(*multipliers.shape[:2], width, width))


class OutputSystem(NamedTuple):
    """The part of the system that all blocks share, F^T S^T T S F.

    Attributes:
        penalties: T.
        path: system of the linear path that is eliminated from it, None without one.
    """

    penalties: OutputPenalties
    path: PathSystem | None


class Point(NamedTuple):
    """Weights u, and what follows from them.

    Attributes:
        weights: (H, P, D) u.
        products: (H, P, m) X times each block.
        output: S (F u + X w), one value a label.
        linear: (d,) w of the linear path; None without one.
    """

    weights: jax.Array
    products: jax.Array
    output: jax.Array
    linear: jax.Array | None


def solve_correction(
    program: Program,
    rows: RowPenalties,
    outputs: OutputSystem,
    right: jax.Array,
    start: Point,
    *,
    tolerance: jax.Array,
    max_iterations: int,
) -> tuple[Point, jax.Array]:
    """Move a point by the solution of the system, found by preconditioned conjugate gradients.

    The preconditioned direction p = H^-1 r (+ beta p) makes H p a recurrence, so that one step
    costs one pass of X over 2P blocks and one of X^T over P, whatever Sigma is. A linear path moves
    to where it is best for the weights. Steps add up in the point itself, which takes no array of
    its size beside it.

    Args:
        program: the program whose patterns and features make S F.
        rows: Sigma with the inverses of the blocks.
        outputs: T, with what a linear path leaves of it.
        right: (H, P, D) right side, the residual at the start.
        start: the point.
        tolerance: scalar; stops when the residual's norm in the preconditioner is below it.
        max_iterations: cap of steps.

    Returns:
        The point, and the steps taken, scalar int32.
    """

    def unfinished(state: tuple[Any, ...]) -> jax.Array:
        *_, energy, iterations = state
        return (energy > tolerance**2) & (iterations < max_iterations)

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        point, residual, direction, image, energy, iterations = state
        moved = row_products(program.features, direction)
        output = network_output(program, moved)
        seen, along = with_path(program, *outputs, output)
        pulling = weighed(program, outputs.penalties, seen)
        full_image = image + output_adjoint(program, pulling)
        curvature = inner_product(direction, image) + inner_product(output, pulling)
        # Both underflow before the energy of a direction next to zero does.
        length = jnp.where(curvature > 0, energy / jnp.where(curvature > 0, curvature, 1), 0)
        residual = residual - length * full_image
        preconditioned = precondition(rows, residual)
        new_energy = inner_product(residual, preconditioned)
        ratio = new_energy / energy
        return (
            jax.tree.map(
                lambda at, by: at + length * by, point, Point(direction, moved, seen, along)
            ),
            residual,
            preconditioned + ratio * direction,
            residual + ratio * image,
            new_energy,
            iterations + 1,
        )

    direction = precondition(rows, right)
    energy, none = inner_product(right, direction), jnp.zeros((), jnp.int32)
    first = (start, right, direction, right, energy, none)
    point, *_, iterations = lax.while_loop(unfinished, step, first)
    return point, iterations


def precondition(penalties: RowPenalties, right: jax.Array) -> jax.Array:
    """The inverses on their blocks, up to rounding: (H, P, D) -> (H, P, D)."""
    if not penalties.by_block:
        return right @ penalties.inverse
    return jnp.einsum("qpd,qpde->qpe", right, penalties.inverse)


def pull_back(program: Program, slack: jax.Array, output: jax.Array) -> jax.Array:
    """G^T slack + F^T S^T output in one pass.

    Args:
        program: the program.
        slack: (H, P, m).
        output: one value a label.

    Returns:
        (H, P, D).
    """
    half = program.patterns * spread_to_rows(program, output)
    values = program.signs * slack + by_halves(program, half)
    return column_products(program.features, values)


def _inverse(gram: jax.Array, shift: jax.Array) -> jax.Array:
    """(shift I + gram)^-1 of a positive semidefinite (D, D) matrix, by its Cholesky factor."""
    identity = jnp.eye(gram.shape[0], dtype=gram.dtype)
    factor = jnp.linalg.cholesky(gram + shift * identity)
    inverse_factor = solve_triangular(factor, identity, lower=True)
    return inverse_factor.T @ inverse_factor
