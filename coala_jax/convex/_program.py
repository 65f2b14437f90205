"""The convex program (3) of COALA and its linear maps.

    min over u = (v, w):  l(S F u) + lambda_g sum_i (||v_i|| + ||w_i||)   subject to  G u >= 0

with F u = sum_i D_i X (v_i - w_i) and G u = (E_i X v_i, E_i X w_i), E = 2 D - 1
(Pilanci & Ergen 2020; COALA eq 3). Without the cones one half is enough, since only v - w counts:
the gated ReLU program, min over u: l(S F u) + lambda_g sum_i ||u_i|| with F u = sum_i D_i X u_i
(Mishkin et al. 2022). A pointwise loss sees the outputs of all m rows, S = I; a pairwise one sees
n = m / 2 differences, of the chosen row of every pair and the rejected one behind it; one of groups
sees (n, k) outputs less the mean of their group, S the projector onto those. The rows of a pair, or
of a group, stand beside each other, so that rows which are split over devices keep them together.

Weights u are (H, P, D): two halves v and w of a ReLU program, one of a gated one.

A linear path adds a skip connection: outputs are S (F u + X w), w in R^d free, and mu / 2 ||w||^2
joins the penalties. The network that the program stands for is the ReLU network with that skip
connection; w enters linearly, so that nothing of the equivalence changes (Pilanci & Ergen 2020).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._advantages import less_group_mean
from coala_jax._group_inputs import Arrays, group_targets
from coala_jax._inputs import PairArrays, beside
from coala_jax._row_mesh import RowMesh, parts_of, with_rows
from coala_jax._types import Config, Params
from coala_jax.convex._rows import (
    Rows,
    column_products,
    linear_adjoint,
    linear_products,
    row_products,
)
from coala_jax.losses import Loss

Model = Literal["relu", "gated_relu"]
# Signs of the halves of u in the output.
HALVES: dict[Model, tuple[float, ...]] = {"relu": (1.0, -1.0), "gated_relu": (1.0,)}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Program:
    """One convex program (3): its data, strength, loss and kind, in one floating dtype.

    Attributes:
        features: (m, D) standardised rows X with a bias column, whole or compact.
        patterns: (P, m) D_i as 0 and 1 in the solver's dtype.
        labels: (m,) targets y; (n,) offsets of the pairs where the loss is pairwise; (n, k) where
            it is of groups.
        row_weight: weights in the loss, shaped as the labels.
        strength: scalar lambda_g.
        loss: l, static.
        model: static; `"relu"` has the cones, `"gated_relu"` does not.
        linear_ridge: scalar mu of the linear path; None without one.
        mesh: where the rows lie, None on one device; static.
    """

    features: Rows
    patterns: jax.Array
    labels: jax.Array
    row_weight: jax.Array
    strength: jax.Array
    loss: Loss = dataclasses.field(metadata={"static": True})
    model: Model = dataclasses.field(metadata={"static": True})
    linear_ridge: jax.Array | None = None
    mesh: RowMesh | None = dataclasses.field(default=None, metadata={"static": True})

    @property
    def has_cones(self) -> bool:
        """Whether G u >= 0 binds the weights."""
        return self.model == "relu"

    @property
    def has_path(self) -> bool:
        """Whether a linear path runs beside the network."""
        return self.linear_ridge is not None

    @property
    def parts(self) -> int:
        """In how many parts the rows lie: one on one device."""
        return parts_of(self.mesh)

    @property
    def halves(self) -> jax.Array:
        """(H,) signs with which the halves of u enter the output: (1, -1) for v and w, or (1,)."""
        return jnp.asarray(HALVES[self.model], self.features.dtype)

    @property
    def signs(self) -> jax.Array:
        """E = 2 D - 1: (P, m) of +-1."""
        return 2 * self.patterns - 1

    def value(self, output: jax.Array) -> jax.Array:
        """The loss of outputs S F u, one a label: scalar."""
        return self.loss.value(output, self.labels, self.row_weight)

    def dual_point(self, output: jax.Array) -> jax.Array:
        """R = -grad l at outputs S F u, one a label."""
        return self.loss.negative_gradient(output, self.labels, self.row_weight)


def loss_targets(config: Config, arrays: Arrays, params: Params) -> tuple[jax.Array, jax.Array]:
    """Labels and weights of the loss: (m,) each, (n,) of a pairwise one, (n, k) of groups."""
    if config.loss.grouped:
        return group_targets(config, arrays, params)
    assert isinstance(arrays, PairArrays)  # as `prepare_for` has it
    if config.loss.pairwise:
        return params.gamma + arrays.margin, arrays.weight
    ones = jnp.ones_like(arrays.weight)
    return beside(ones, -ones), arrays.row_weight


def make_program(
    x: Rows, patterns: jax.Array, arrays: Arrays, params: Params, config: Config
) -> Program:
    """The program of standardised rows and patterns; its strength is NaN until it is set.

    Args:
        x: (m, D) rows of `arrays`, standardised, with a bias column.
        patterns: (P, m) booleans.
        arrays: pairs or groups, but for their features.
        params: `gamma`, `temperature` and `linear_ridge` are read.
        config: `phase1_loss`, `advantage`, `model` and `linear_path` are read.
    """
    labels, row_weight = loss_targets(config, arrays, params)
    # Of mean 1 over the labels that have some: one without weight changes nothing.
    count = label_count(arrays, labels)
    row_weight = row_weight * (count / len(labels))
    unset = jnp.full((), jnp.nan, x.dtype)
    patterns = with_rows(arrays.mesh, patterns.astype(x.dtype))
    if isinstance(x, jax.Array):
        x = with_rows(arrays.mesh, x, 0)
    ridge = params.linear_ridge * count if config.linear_path else None
    kind = (config.loss, config.model)
    return Program(x, patterns, labels, row_weight, unset, *kind, ridge, arrays.mesh)


def label_count(arrays: Arrays, labels: jax.Array) -> jax.Array:
    """How many of the labels of a program are of pairs or groups with weight: scalar."""
    share = len(labels) // len(arrays.weight)
    return share * jnp.sum(arrays.weight > 0).astype(arrays.weight.dtype)


def network_output(program: Program, products: jax.Array) -> jax.Array:
    """S F u from the row products of u: (H, P, m) -> one value a label.

    A contraction, not the sum of a product: jaxlib 0.10.2 on CPU fuses that with the product
    before it into a kernel that is wrong under vmap (jax-ml/jax#39103).
    """
    advantage = products[0] - products[1] if program.has_cones else products[0]
    output = jnp.einsum("pm,pm->m", program.patterns, advantage)
    return from_rows(program, output)


def path_output(program: Program, linear: jax.Array | None) -> jax.Array:
    """S X w: (d,) weights of the linear path -> one value a label; zeros without a path.

    The column of ones has no part in it: no constant orders anything.
    """
    if linear is None:
        return jnp.zeros_like(program.labels)
    return from_rows(program, linear_products(program.features, linear))


def path_adjoint(program: Program, residual: jax.Array) -> jax.Array:
    """X^T S^T r without the column of ones: one value a label -> (d,)."""
    return linear_adjoint(program.features, spread_to_rows(program, residual))


def path_penalty(program: Program, linear: jax.Array | None) -> jax.Array:
    """Mu / 2 ||w||^2: scalar, zero without a path."""
    if linear is None or program.linear_ridge is None:
        return jnp.zeros_like(program.strength)
    return 0.5 * program.linear_ridge * jnp.vdot(linear, linear)


def from_rows(program: Program, output: jax.Array) -> jax.Array:
    """S z: outputs of rows (m, ...) -> one value a label, (*labels, ...)."""
    if program.loss.grouped:
        by_group = output.reshape(*program.labels.shape, *output.shape[1:])
        return less_group_mean(by_group, program.row_weight > 0)
    if not program.loss.pairwise:
        return output
    chosen, rejected = sides(output)
    return chosen - rejected


def spread_to_rows(program: Program, residual: jax.Array) -> jax.Array:
    """S^T r: one value a label -> (m,)."""
    if program.loss.grouped:
        return less_group_mean(residual, program.row_weight > 0).reshape(-1)
    return beside(residual, -residual) if program.loss.pairwise else residual


def sides(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The inverse of `beside`: (2n, ...) -> (n, ...) twice."""
    by_pair = rows.reshape(-1, 2, *rows.shape[1:])
    return by_pair[:, 0], by_pair[:, 1]


def loss_curvature(program: Program) -> float:
    """`Loss.curvature`, of all draws of a group together."""
    draws = program.labels.shape[1] - 1 if program.loss.staged else 1
    return program.loss.curvature * draws


def row_values(program: Program, residual: jax.Array) -> jax.Array:
    """D_i S^T r with the sign of each half, of which X^T makes F^T S^T r: (H, P, m)."""
    return by_halves(program, program.patterns * spread_to_rows(program, residual))


def output_adjoint(program: Program, residual: jax.Array) -> jax.Array:
    """F^T S^T r: one value a label -> (H, P, D)."""
    values = program.patterns * spread_to_rows(program, residual)
    return by_halves(program, column_products(program.features, values))


def by_halves(program: Program, block: jax.Array) -> jax.Array:
    """The blocks with the sign of each half: (P, k) -> (H, P, k)."""
    return program.halves[:, None, None] * block


def inner_product(one: jax.Array, other: jax.Array) -> jax.Array:
    """Sum over all axes of products: scalar.

    `jnp.vdot` makes vectors first, for which rows on several devices would have to come together.
    """
    axes = tuple(range(one.ndim))
    return lax.dot_general(one, other, ((axes, axes), ((), ())))


def block_norms(weights: jax.Array, at_zero: float = 0.0) -> jax.Array:
    """Euclidean norm of every block: (..., D) -> (..., 1).

    A zero block has gradient 0, and `at_zero` for its norm: 1 where it divides.
    """
    used = jnp.any(weights != 0, axis=-1, keepdims=True)
    norms = jnp.linalg.norm(jnp.where(used, weights, 1), axis=-1, keepdims=True)
    return jnp.where(used, norms, at_zero)


def objective(
    program: Program, weights: jax.Array, linear: jax.Array | None, output: jax.Array
) -> jax.Array:
    """Value of (3) at weights with output S (F u + X w); its constraints are not looked at."""
    lasso = program.strength * jnp.sum(block_norms(weights))
    return program.value(output) + lasso + path_penalty(program, linear)


def cone_violation(program: Program, weights: jax.Array) -> jax.Array:
    """max(-G u)+ / max|X u|, scalar; zero for zero weights and without cones, NaN for NaN."""
    if not program.has_cones:
        return jnp.zeros((), weights.dtype)
    signed_products = program.signs * row_products(program.features, weights)
    worst = jnp.max(jnp.maximum(-signed_products, 0))
    largest = jnp.max(jnp.abs(signed_products))
    return jnp.where(largest == 0, 0, worst / jnp.where(largest == 0, 1, largest))
