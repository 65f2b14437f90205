"""Phase I across losses and settings: bare, under vmap, in both precisions; steps and penalties."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coala_jax import Config, Params, PreferenceFeatures, Status, cronos
from coala_jax.convex._linear_path import path_system
from coala_jax.convex._linear_system import (
    OutputSystem,
    Point,
    factorize,
    solve_correction,
    tight_penalties,
    uniform_penalties,
)
from coala_jax.convex._output_penalties import OutputPenalties, output_penalties
from coala_jax.convex._program import Program, network_output, path_output
from coala_jax.losses import LOSSES
from tests.helpers import draw_pairs

CONFIG = Config(n_gates=4, max_iterations=2000)
RHO = 0.7


# test_against_clarabel.py solves with every loss and model, test_groups.py those of groups.
@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ("relu", "squared"),
        ("gated_relu", "bradley_terry"),
        pytest.param("relu", "huber", marks=pytest.mark.slow),
        pytest.param("gated_relu", "squared_hinge", marks=pytest.mark.slow),
    ],
)
def test_every_loss_and_model_solves_bare_in_float32_and_under_vmap_in_float64(model, loss):
    features = draw_pairs(4, pairs=30)
    config = dataclasses.replace(CONFIG, model=model, phase1_loss=loss)
    strengths = np.array([0.1, 0.4])
    # Given, since the same key draws other gates in another precision.
    gates = np.random.default_rng(0).standard_normal((4, 4))

    def run(strength):
        params = Params(group_lasso=strength, gamma=0.2)
        return cronos(params, features, config=config, gates=gates).stats

    singles = [run(strength) for strength in strengths]
    with jax.enable_x64(True):
        swept = jax.tree.map(np.asarray, jax.vmap(run)(jnp.asarray(strengths)))
    for index, single in enumerate(singles):
        assert int(single.status) == int(swept.status[index]) == Status.SOLVED
        # Both values lie above one optimum, and within 1 % of it.
        bound = max(float(single.dual_bound), float(swept.dual_bound[index]))
        for value in (single.primal_value, swept.primal_value[index]):
            assert bound * (1 - 1e-6) <= float(value) <= bound * 1.0101


@pytest.mark.parametrize("change", [{"adapt_rows": False}, {"adapt_rho": False}])
@pytest.mark.slow
def test_how_the_penalties_adapt_moves_the_path_and_not_the_optimum(change):
    features = draw_pairs(5, pairs=40)
    # A rho far from where it belongs, so that there is something to adapt.
    tight = Params(rho=0.01, gap_tolerance=1e-4, violation_tolerance=1e-4)
    config = dataclasses.replace(CONFIG, max_iterations=20_000)
    with jax.enable_x64(True):
        one = cronos(tight, features, config=config).stats
        other = cronos(tight, features, config=dataclasses.replace(config, **change)).stats
    assert int(one.status) == int(other.status) == Status.SOLVED
    assert int(one.iterations) != int(other.iterations)
    assert float(one.primal_value) == pytest.approx(float(other.primal_value), rel=2e-4)


@pytest.mark.slow
def test_penalties_of_single_rows_save_steps():
    rng = np.random.default_rng(0)
    chosen = rng.standard_normal((300, 12)) + 0.1
    features = PreferenceFeatures(chosen, rng.standard_normal((300, 12)))
    params = Params(gap_tolerance=1e-4, violation_tolerance=1e-4)
    config = dataclasses.replace(CONFIG, max_iterations=20_000)
    with jax.enable_x64(True):
        steps = {
            rows: int(
                cronos(
                    params, features, config=dataclasses.replace(config, adapt_rows=rows)
                ).stats.iterations
            )
            for rows in (True, False)
        }
    assert steps[True] < steps[False]


def dense_system(
    program: Program, shift: float, penalty: np.ndarray, outputs: OutputPenalties
) -> np.ndarray:
    """shift I + G^T Sigma G + F^T S^T T S F, entry by entry.

    With a linear path its columns come last, with a shift of mu / rho.
    """
    x, d = np.asarray(program.features), np.asarray(program.patterns)
    blocks, width = len(d), x.shape[1]
    f = np.hstack([d[i][:, None] * x for i in range(blocks)])
    f = np.hstack([f, -f])
    shifts = np.full(f.shape[1], shift)
    if program.linear_ridge is not None:
        f = np.hstack([f, x[:, :-1]])
        shifts = np.append(shifts, np.full(width - 1, program.linear_ridge / RHO))
    apart = f[::2] - f[1::2]
    taus = np.asarray(outputs)
    matrix = np.diag(shifts)
    if program.loss.pairwise:
        matrix += taus[1] * apart.T @ apart
    else:
        together = f[::2] + f[1::2]
        matrix += (taus[0] * together.T @ together + taus[1] * apart.T @ apart) / 2
    for number, sigma in enumerate(np.broadcast_to(penalty, (2, *d.shape)).reshape(-1, len(x))):
        block = slice(number * width, (number + 1) * width)
        matrix[block, block] += x.T @ (sigma[:, None] * x)
    return matrix


@pytest.mark.parametrize("path", [False, True])
@pytest.mark.parametrize("loss", ["squared", "logistic", "bradley_terry"])
@pytest.mark.parametrize("rows", ["uniform", "tight"])
def test_the_linear_system_is_the_dense_one(loss, rows, path):
    """With a path, of the system of both, from which it is eliminated."""
    loss = LOSSES[loss]
    rng = np.random.default_rng(0)
    m, width, blocks = 40, 3, 4
    with jax.enable_x64(True):
        chosen = rng.standard_normal((m // 2, width))
        x = np.stack([chosen, chosen + 0.1 * rng.standard_normal(chosen.shape)], axis=1)
        x = jnp.asarray(x.reshape(m, width))
        program = Program(
            features=x,
            patterns=jnp.asarray(rng.integers(0, 2, (blocks, m)), float),
            labels=jnp.zeros(m // 2 if loss.pairwise else m),
            row_weight=jnp.ones(m // 2 if loss.pairwise else m),
            strength=jnp.ones(()),
            loss=loss,
            model="relu",
            linear_ridge=jnp.full((), 3.0) if path else None,
        )
        system = factorize(x)
        multipliers = jnp.asarray(np.maximum(rng.standard_normal((2, blocks, m)) - 1, 0))
        penalties = (
            uniform_penalties(system)
            if rows == "uniform"
            else tight_penalties(x, system, multipliers)
        )
        right = jnp.asarray(rng.standard_normal((2, blocks, width)))
        outputs = output_penalties(program)
        of_path = path_system(program, outputs, jnp.full((), RHO)) if path else None
        start = Point(
            jnp.asarray(rng.standard_normal(right.shape)),
            jnp.asarray(rng.standard_normal((2, blocks, m))),
            jnp.asarray(rng.standard_normal(program.labels.shape)),
            jnp.asarray(rng.standard_normal(width - 1)) if path else None,
        )
        moved, _ = solve_correction(
            program,
            penalties,
            OutputSystem(outputs, of_path),
            right,
            start,
            tolerance=jnp.asarray(1e-12),
            max_iterations=200,
        )
        found = jax.tree.map(jnp.subtract, moved, start)
        seen = network_output(program, found.products) + path_output(program, found.linear)
        dense = dense_system(program, float(system.shift), np.asarray(penalties.penalty), outputs)
        alike = loss.pairwise or loss.isotropic
        assert (outputs.apart > 2 * outputs.together) == alike
    filled = np.concatenate([np.asarray(right).ravel(), np.zeros(len(dense) - right.size)])
    expected = np.linalg.solve(dense, filled)
    weights = np.asarray(found.weights)
    np.testing.assert_allclose(weights.ravel(), expected[: right.size], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.products, weights @ np.asarray(x).T, atol=1e-12)
    np.testing.assert_allclose(found.output, seen, atol=1e-12)
    if path:
        np.testing.assert_allclose(found.linear, expected[right.size :], atol=1e-12)


def test_only_the_largest_multipliers_of_a_block_make_tight_rows():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((100, 2)))
        multipliers = jnp.arange(100.0)[None, None] * jnp.ones((2, 1, 1))
        penalty = np.asarray(tight_penalties(x, factorize(x), multipliers).penalty)
    high = np.flatnonzero(penalty[0, 0] > 1)
    assert high.tolist() == list(range(92, 100))  # 4 D of them
