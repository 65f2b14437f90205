"""A vmapped solve is its single solves, element after element, on one factorisation."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, Status, cronos
from tests.helpers import draw_pairs

# As the sweep of the measurements: adaptation off, so that all elements share one inverse.
CONFIG = Config(n_gates=3, max_iterations=4000, adapt_rho=False, adapt_rows=False)
RHOS = np.array([0.3, 1.0, 3.0, 10.0])


@pytest.fixture(scope="module")
def features():
    return draw_pairs(2, pairs=30)


@pytest.mark.slow
def test_a_sweep_of_rho_ends_every_element_where_its_single_solve_ends(features):
    with jax.enable_x64(True):

        def run(rho):
            return cronos(Params(rho=rho), features, config=CONFIG)

        swept = jax.vmap(run)(jnp.asarray(RHOS))
        for index, rho in enumerate(RHOS):
            single = run(rho)
            element = jax.tree.map(lambda leaf, i=index: leaf[i], swept)
            assert int(element.stats.iterations) == int(single.stats.iterations)
            chex.assert_trees_all_close(element, single, rtol=1e-6, atol=1e-9)
        assert len(set(np.asarray(swept.stats.iterations).tolist())) > 1
        assert set(np.asarray(swept.status).tolist()) == {Status.SOLVED}


def cholesky_shapes(jaxpr) -> list[tuple[int, ...]]:
    """Shapes of all matrices that a jaxpr factorises, those in its inner programs included."""
    shapes = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "cholesky":
            shapes.append(equation.outvars[0].aval.shape)
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda p: hasattr(p, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                shapes += cholesky_shapes(inner.jaxpr)
            elif hasattr(inner, "eqns"):
                shapes += cholesky_shapes(inner)
    return shapes


@pytest.mark.parametrize("leaf", ["rho", "group_lasso", "gamma"])
def test_the_factorisation_is_shared_by_a_sweep_of(leaf, features):
    config = dataclasses.replace(CONFIG, phase1_loss="bradley_terry")

    def run(value):
        return cronos(Params()._replace(**{leaf: value}), features, config=config).stats

    shapes = cholesky_shapes(jax.make_jaxpr(jax.vmap(run))(RHOS).jaxpr)
    width = features.chosen.shape[1] + 1
    # One of the iteration, one of projections.
    assert shapes == [(width, width)] * 2
