"""What a Phase I loss must provide; a new loss is one file that makes one of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

Array = jax.Array
Labels: TypeAlias = Literal["usual", "differences", "shares", "levels"]


class Loss(NamedTuple):
    """A convex loss sum_j weight_j l(z_j, y_j) on outputs z; all arrays have one shape.

    A pointwise loss sees the output of each row, with labels +1 for chosen and -1 for rejected; a
    pairwise one sees the difference of each pair, with the pair's offset gamma + margin as label. A
    grouped one sees (n, k) outputs less their mean over each group of up to k members, with their
    advantages as labels; members that are missing have weight 0, the others that of their group.
    `labels` says where these are others.

    Attributes:
        value: (z, labels, weight) -> scalar sum.
        negative_gradient: (z, labels, weight) -> the dual point r = -grad l(z).
        prox: (z, labels, step) -> argmin_x step_j l(x_j, y_j) + (x_j - z_j)^2 / 2.
        dual_value: (r, labels, weight) -> scalar -l*(-r), the dual objective.
        best_scale: (r, labels, weight, cap) -> scalar t in [0, cap] that maximises
            dual_value(t r).
        curvature: largest second derivative of l, of a grouped one along half the difference of two
            outputs; the unit of the ADMM penalty.
        pairwise: whether z are differences of pairs.
        grouped: whether z are outputs of groups.
        staged: whether the curvature of a grouped loss grows with the k - 1 draws that it sums.
        shares: (labels, weight) -> what the dual point of a grouped loss is subtracted from to give
            shares that must not be below zero, (n, k); None where its conjugate is finite.
        change: (z, step, labels, weight) -> the sum at z + step less that at z, accurate where both
            agree to all digits; of the losses that Phase II fits too, else None.
        isotropic: whether l is a function of |z - y| alone for rows of one weight, in any
            orthonormal basis: the prox may then be taken of sums and differences.
        labels: `"usual"`, those above; of a pairwise loss `"differences"`, offsets that say what
            the differences are to be, of any sign, so that no Phase II follows; of a grouped one
            `"shares"`, the softmax of advantages over `Params.temperature`, or `"levels"`, how many
            different scores of its group are above a member's.
    """

    value: Callable[[Array, Array, Array], Array]
    negative_gradient: Callable[[Array, Array, Array], Array]
    prox: Callable[[Array, Array, Array], Array]
    dual_value: Callable[[Array, Array, Array], Array]
    best_scale: Callable[[Array, Array, Array, Array], Array]
    curvature: float
    pairwise: bool = False
    grouped: bool = False
    staged: bool = False
    isotropic: bool = False
    shares: Callable[[Array, Array], Array] | None = None
    change: Callable[[Array, Array, Array, Array], Array] | None = None
    labels: Labels = "usual"


def scaled_dual(r: Array, weight: Array) -> Array:
    """r_j / weight_j, and 0 for a row without weight: (m,), (m,) -> (m,)."""
    return jnp.where(weight > 0, r / jnp.where(weight > 0, weight, 1), 0)
