"""Group-relative squared loss sum_j (z_j - A_j)^2 / 2 on outputs z less their mean over a group.

A are the advantages of the members, scores less their mean over the group, so that the head fits by
how much an answer is better than the others of its prompt, as REBEL does (Gao et al. 2024, arXiv
2404.16767): summed over the pairs of a group of g, ((z_i - z_j) - (A_i - A_j))^2 is g times
sum_j (z_j - A_j)^2.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from coala_jax.losses._squared import SQUARED


def _change(z: jax.Array, step: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.sum(weight * step * (z - labels + 0.5 * step))


# Along half the difference of two outputs, in which all curvatures of groups are.
GROUP_SQUARED = SQUARED._replace(grouped=True, isotropic=False, curvature=0.5, change=_change)
