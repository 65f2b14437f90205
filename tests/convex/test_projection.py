"""Cone projection and interior points against non-negative least squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

from coala_jax.convex._gates import sample_gates
from coala_jax.convex._linear_system import factorize, uniform_penalties
from coala_jax.convex._program import row_products
from coala_jax.convex._projection import Cones, interior_points, project_onto_cones, push_inside


def draw_cones(seed: int, rows: int = 40, width: int = 5, blocks: int = 3):
    rng = np.random.default_rng(seed)
    x = np.c_[rng.standard_normal((rows, width - 1)), np.ones(rows)]
    gates = rng.standard_normal((blocks, width))
    signs = np.where(gates @ x.T >= 0, 1.0, -1.0)
    return x, gates, signs, rng.standard_normal((2, blocks, width))


def cones_at(x: jax.Array, signs: jax.Array) -> Cones:
    """Cones without interior points."""
    system = factorize(x)
    nowhere = jnp.zeros((len(signs), x.shape[1]), x.dtype)
    return Cones(x, signs, nowhere, system, uniform_penalties(system))


@pytest.mark.parametrize("seed", range(4))
def test_projection_agrees_with_nnls(seed):
    """Pi_K(p) = p + A^T alpha with alpha the non-negative least-squares solution (Moreau)."""
    x, _, signs, points = draw_cones(seed)
    with jax.enable_x64(True):
        found = project_onto_cones(
            cones_at(jnp.asarray(x), jnp.asarray(signs)),
            jnp.asarray(points),
            tolerance=1e-12,
            max_iterations=20_000,
        )
    for half in range(2):
        for block in range(len(signs)):
            a = signs[block][:, None] * x
            alpha, _ = nnls(a.T, -points[half, block])
            expected = points[half, block] + a.T @ alpha
            np.testing.assert_allclose(found.weights[half, block], expected, atol=1e-6)
            rebuilt = points[half, block] + a.T @ np.asarray(found.multipliers[half, block])
            np.testing.assert_allclose(rebuilt, expected, atol=1e-5)
    assert np.all(np.asarray(found.multipliers) >= 0)


@pytest.mark.parametrize("rows", [4, 40, 400])
def test_interior_points_lie_inside_by_one(rows):
    x, gates, signs, _ = draw_cones(0, rows=rows)
    x, gates, signs = (jnp.asarray(a, jnp.float32) for a in (x, gates, signs))
    interior = interior_points(cones_at(x, signs), gates)
    assert float(jnp.min(signs * row_products(x, interior))) == pytest.approx(1, abs=1e-3)
    own = gates / jnp.min(signs * row_products(x, gates), axis=-1, keepdims=True)
    longest = jnp.linalg.norm(own, axis=-1) * (1 + 1e-3)
    assert np.all(jnp.linalg.norm(interior, axis=-1) <= longest)  # never worse than the gate


def test_push_inside_makes_float32_weights_feasible_and_keeps_zero():
    x, gates, signs, points = draw_cones(1, rows=300)
    x, gates, signs, points = (jnp.asarray(a, jnp.float32) for a in (x, gates, signs, points))
    interior = interior_points(cones_at(x, signs), gates)
    points = points.at[0, 0].set(0)
    inside = push_inside(cones_at(x, signs)._replace(interior=interior), points)
    assert float(jnp.min(signs * row_products(x, inside))) >= 0
    assert not np.any(np.asarray(inside[0, 0]))


def test_a_row_on_the_hyperplane_leaves_no_interior_point():
    x = jnp.asarray([[1.0, 1.0], [-1.0, -1.0], [0.5, 1.0]])
    gates = jnp.asarray([[1.0, -1.0]])
    signs = jnp.where(gates @ x.T >= 0, 1.0, -1.0)
    interior = interior_points(cones_at(x, signs), gates)
    assert not np.any(np.asarray(interior))


def test_push_inside_allows_for_the_rounding_of_what_it_pushed():
    """In narrow cones the push is a thousand times what was pushed."""
    rng = np.random.default_rng(3)
    x = np.c_[rng.standard_normal((1000, 20)), np.ones(1000)].astype("f4")
    x = jnp.asarray(x)
    gates = sample_gates(jax.random.key(0), 8, x).vectors
    cones = cones_at(x, jnp.where(row_products(x, gates) >= 0, 1.0, -1.0))
    cones = cones._replace(interior=interior_points(cones, gates))
    points = jnp.asarray(rng.standard_normal((2, 8, 21)).astype("f4"))
    for steps in (0, 5, 30, 100):
        nearly = project_onto_cones(cones, points, max_iterations=steps).weights
        assert jnp.min(cones.products(push_inside(cones, nearly))) >= 0
