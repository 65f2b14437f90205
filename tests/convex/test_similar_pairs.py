"""Pairs whose sides are similar: what separates them is a small part of the features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, PreferenceFeatures, Status, cronos
from coala_jax.convex._output_penalties import (
    OUTPUT_SHARE,
    difference_share,
    output_penalties,
    output_prox,
    weighed,
)
from coala_jax.convex._program import Program
from coala_jax.losses import LOSSES
from tests.helpers import rows_of

PAIRS, WIDTH = 200, 6


def similar(difference: float) -> PreferenceFeatures:
    """Gaussian pairs with sides this far apart, in standard deviations of a feature."""
    rng = np.random.default_rng(0)
    chosen, noise = rng.standard_normal((2, PAIRS, WIDTH))
    return PreferenceFeatures(chosen.astype("f4"), (chosen + difference * noise).astype("f4"))


def program_of(loss: str, difference: float) -> Program:
    """Of the rows of `similar`, not standardised, and weights of pairs from 0.5 to 1.5."""
    loss = LOSSES[loss]
    rows = jnp.pad(rows_of(similar(difference)), ((0, 0), (0, 1)), constant_values=1.0)
    weight = jnp.linspace(0.5, 1.5, PAIRS)
    labels = jnp.ones(PAIRS)
    if not loss.pairwise:
        weight, labels = jnp.repeat(weight, 2), jnp.tile(jnp.array([1.0, -1.0]), PAIRS)
    patterns = jnp.ones((1, 2 * PAIRS))
    return Program(rows, patterns, labels, weight, jnp.ones(()), loss, "relu")


@pytest.mark.parametrize(
    ("loss", "model", "difference", "budget"),
    [  # beside what one penalty for all outputs takes, in float32
        pytest.param("squared", "relu", 0.1, 250, marks=pytest.mark.slow),  # 300
        ("squared", "gated_relu", 0.01, 125),  # 100: no worse
        pytest.param("bradley_terry", "relu", 0.1, 250, marks=pytest.mark.slow),  # 350
        ("bradley_terry", "relu", 0.01, 350),  # over 1000
    ],
)
def test_they_take_about_as_many_steps_as_others(loss, model, difference, budget):
    config = Config(n_gates=8, phase1_loss=loss, model=model, max_iterations=budget)
    solution = cronos(Params(), similar(difference), config=config)
    assert Status(int(solution.status)) == Status.SOLVED, solution.summary()
    assert float(solution.stats.explained) >= 0.9


@pytest.mark.parametrize("difference", [0.1, 0.01])
def test_the_share_of_differences_is_that_of_the_squares(difference):
    program = program_of("squared", difference)
    chosen, rejected, *_ = (np.asarray(side, np.float64) for side in similar(difference)[:2])
    share = np.sum((chosen - rejected) ** 2) / np.sum(chosen**2 + rejected**2)
    assert float(difference_share(program)) == pytest.approx(share / 0.1, rel=1e-4)
    outputs = output_penalties(program)
    assert float(outputs.together) == pytest.approx(OUTPUT_SHARE)
    assert float(outputs.apart) == pytest.approx(OUTPUT_SHARE * 0.1 / share, rel=1e-4)


def test_sides_that_have_little_in_common_have_one_penalty():
    outputs = output_penalties(program_of("squared", 1.0))
    assert float(outputs.apart) == pytest.approx(float(outputs.together))


@pytest.mark.parametrize("loss", ["squared", "logistic", "huber", "bradley_terry"])
def test_the_prox_of_outputs_is_stationary(loss):
    """-grad l(z) = rho T (z - output) at the argmin."""
    with jax.enable_x64(True):
        program = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), program_of(loss, 0.05))
        outputs = output_penalties(program)
        rho = jnp.asarray(0.7)
        at = jnp.asarray(np.random.default_rng(1).standard_normal(program.labels.shape))
        found = output_prox(program, outputs, rho, at)
        pull = rho * weighed(program, outputs, found - at)
        np.testing.assert_allclose(program.dual_point(found), pull, atol=1e-9)
