"""Many rows and few features make narrow cones: solves there end solved, and within a budget."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, PreferenceFeatures, Status, cronos
from coala_jax._inputs import prepare_features, prepare_params
from coala_jax.convex._certificate import evaluated, zero_network
from coala_jax.convex._lambda_max import lambda_max
from coala_jax.convex._penalties import rows_pay
from coala_jax.convex._prepare import at_strength, prepare
from coala_jax.convex._program import Program
from coala_jax.convex._rays import best_lengths
from coala_jax.losses import get_loss
from tests.helpers import draw_pairs

BUDGET = 500


def gaussian(pairs: int, width: int, seed: int = 0) -> PreferenceFeatures:
    """Gaussian pairs whose chosen side is half a deviation ahead in the first column."""
    rng = np.random.default_rng(seed)
    chosen, rejected = rng.standard_normal((2, pairs, width)).astype("f4")
    chosen[:, 0] += 0.5
    return PreferenceFeatures(chosen, rejected)


def solved_within(pairs: int, width: int, gates: int) -> None:
    config = Config(n_gates=gates, max_iterations=BUDGET)
    solution = cronos(Params(), gaussian(pairs, width), config=config)
    assert Status(int(solution.status)) == Status.SOLVED, solution.summary()
    assert float(solution.stats.explained) >= 0.9
    assert int(solution.stats.active_neurons) > 0


@pytest.mark.parametrize(
    ("pairs", "width", "gates"),
    [pytest.param(1000, 64, 8, marks=pytest.mark.slow), (1000, 16, 8)],
)
def test_default_programs_are_solved_in_the_budget(pairs, width, gates):
    solved_within(pairs, width, gates)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pairs", "width", "gates"),  # benchmarks/convergence.py has all of them
    [(1000, 256, 8), (4000, 64, 32)],
)
def test_programs_of_many_rows_are_solved_in_the_budget(pairs, width, gates):
    solved_within(pairs, width, gates)


@pytest.mark.slow
def test_no_solve_ends_worse_than_the_rays_of_its_cones():
    params, config = prepare_params(Params()), Config(n_gates=6, max_iterations=25)
    features = gaussian(2000, 12)
    solution = cronos(params, features, config=config)
    prepared = jax.jit(prepare, static_argnums=(2, 3, 4))(
        params, prepare_features(features), config, None, None
    )
    problem, _ = at_strength(params, config, prepared)
    interior = prepared.cones.interior
    rays = best_lengths(problem.program, jnp.stack([interior, interior]), start=0.0)
    on_rays = float(evaluated(problem.program, rays).value)
    assert float(solution.stats.primal_value) <= on_rays * (1 + 1e-6)
    assert on_rays < float(zero_network(problem.program).value) * (1 - 1e-3)
    assert int(solution.stats.active_neurons) > 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("adapt_rows", "ratio"), [(True, 1.011), (False, 1.03)])
def test_lambda_max_is_certified_from_both_sides(seed, adapt_rows, ratio):
    """At the upper bound zero is optimal; below the lower one a network is better."""
    features = draw_pairs(seed, pairs=150, width=6, dtype="float32")
    params, config = prepare_params(Params()), Config(n_gates=6)
    prepared = jax.jit(prepare, static_argnums=(2, 3, 4))(
        params, prepare_features(features), config, None, None
    )
    search = jax.jit(lambda_max, static_argnames="adapt_rows")
    bounds = search(prepared.program, prepared.cones, tolerance=1e-2, adapt_rows=adapt_rows)
    assert float(bounds.lower) <= float(bounds.upper) <= ratio * float(bounds.lower)
    absolute = Config(n_gates=6, strength_unit="absolute")
    above = cronos(Params(group_lasso=bounds.upper * 1.001), features, config=absolute)
    below = cronos(Params(group_lasso=bounds.lower * 0.95), features, config=absolute)
    assert int(above.stats.active_neurons) == 0
    assert int(below.stats.active_neurons) > 0


@pytest.mark.parametrize(
    ("rows", "width", "model", "pays"),
    [
        (400, 21, "relu", True),
        (8726, 385, "relu", True),
        (1920, 641, "relu", False),
        (400, 21, "gated_relu", False),
    ],
)
def test_row_penalties_pay_by_the_shapes_alone(rows, width, model, pays):
    ones = jnp.ones(rows)
    program = Program(
        jnp.ones((rows, width)), ones[None], ones, ones, jnp.ones(()), get_loss("squared"), model
    )
    assert rows_pay(Config(), program) == pays
    assert not rows_pay(Config(adapt_rows=False), program)
