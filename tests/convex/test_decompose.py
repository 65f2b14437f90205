"""`decompose_gated`: a ReLU network with a gated network's outputs, inside the cones."""

import cvxpy as cp
import jax
import numpy as np
import pytest

from coala_jax import Config, ConvexHead, GatedHead, Params, Status, cronos, decompose_gated
from tests.helpers import draw_pairs, rows_of, standardised_rows

CONFIG = Config(n_gates=6, max_iterations=2000, model="gated_relu")
# A small strength, so that all gates are in use, and one that leaves some neurons zero.
STRENGTHS = (0.02, 0.3)
RELATIVE = {False: 1e-4, True: 1e-8}


@pytest.fixture(
    scope="module",
    params=[(x64, strength) for x64 in (False, True) for strength in STRENGTHS],
    ids=lambda param: f"{'float64' if param[0] else 'float32'}-{param[1]}",
)
def decomposed(request):
    """x64 or not, features, the gated solution and the head made of it."""
    x64, strength = request.param
    features = draw_pairs(2, pairs=30, width=4)
    with jax.enable_x64(x64):
        solution = cronos(Params(group_lasso=strength), features, config=CONFIG)
        head = decompose_gated(features, solution.certificate)
    assert int(solution.status) == Status.SOLVED
    assert (int(solution.stats.active_neurons) < CONFIG.n_gates) == (strength == STRENGTHS[1])
    return x64, features, solution, head


def blocks(head: ConvexHead, certificate) -> np.ndarray:
    """(v, w) on standardised rows from a head on raw features: (2, P, D)."""
    theta1, bias, theta2, _ = (np.asarray(leaf, np.float64) for leaf in head[:4])
    weights = theta1 * np.asarray(certificate.scale)[:, None]
    layer = np.concatenate([weights, bias[None]])
    half = layer.shape[1] // 2
    assert np.all(theta2[:half] >= 0) and np.all(theta2[half:] <= 0)
    return (layer * np.abs(theta2)).T.reshape(2, half, -1)


def rewards(head, rows: np.ndarray, x64: bool) -> np.ndarray:
    with jax.enable_x64(x64):
        return np.asarray(head(rows))


def test_outputs_are_the_gated_networks_on_the_rows_it_saw(decomposed):
    x64, features, solution, head = decomposed
    expected = rewards(solution.head, rows_of(features), x64)
    found = rewards(head, rows_of(features), x64)
    assert np.abs(found - expected).max() <= RELATIVE[x64] * np.abs(expected).max()


def test_it_is_a_plain_relu_head(decomposed):
    x64, features, solution, head = decomposed
    assert isinstance(solution.head, GatedHead) and isinstance(head, ConvexHead)
    width, neurons = features.chosen.shape[1], 2 * CONFIG.n_gates
    assert head.theta1.shape == (width, neurons)
    assert head.bias.shape == head.theta2.shape == (neurons,)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(head)} == {"float64" if x64 else "float32"}


def test_every_neuron_is_on_exactly_where_its_gate_is(decomposed):
    x64, features, solution, head = decomposed
    signs = 2 * np.asarray(solution.certificate.patterns) - 1.0
    x = standardised_rows(features, solution.certificate)
    products = blocks(head, solution.certificate) @ x.T
    rounding = (1e-12 if x64 else 1e-5) * np.abs(products).max()
    assert np.min(signs * products) >= -rounding


def test_halves_differ_by_the_gated_weights(decomposed):
    x64, _, solution, head = decomposed
    v, w = blocks(head, solution.certificate)
    expected = np.asarray(solution.certificate.weights)[0]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(v - w, expected, atol=(1e-12 if x64 else 1e-5) * scale)


def test_a_zero_gated_neuron_stays_zero_in_both_halves(decomposed):
    _, _, solution, head = decomposed
    unused = ~np.any(np.asarray(solution.certificate.weights)[0], axis=1)
    assert np.sum(~unused) == int(solution.stats.active_neurons)
    for leaf in head[:3]:
        columns = np.asarray(leaf).reshape(-1, 2, CONFIG.n_gates)
        assert not np.any(columns[:, :, unused])
        assert np.all(np.any(columns[:, :, ~unused], axis=0))


def test_the_decomposition_is_near_the_least_one_of_a_cone_solver(decomposed):
    _, features, solution, head = decomposed
    x = standardised_rows(features, solution.certificate)
    signs = 2 * np.asarray(solution.certificate.patterns) - 1.0
    u = np.asarray(solution.certificate.weights, np.float64)[0]
    w = cp.Variable(u.shape)
    inside = [cp.multiply(signs, half @ x.T) >= 0 for half in (u + w, w)]
    least = cp.Problem(cp.Minimize(cp.sum_squares(u + w) + cp.sum_squares(w)), inside).solve(
        solver=cp.CLARABEL
    )
    found = np.sum(blocks(head, solution.certificate) ** 2)
    assert least * (1 - 1e-4) <= found <= least * 1.0005


def test_the_penalty_grows(decomposed):
    """What the docstring warns of: the ReLU network is not the optimum of its own program."""
    _, _, solution, head = decomposed
    norms = np.linalg.norm(blocks(head, solution.certificate), axis=-1).sum()
    assert norms > 1.1 * np.linalg.norm(np.asarray(solution.certificate.weights), axis=-1).sum()


def test_gated_weights_taken_for_relu_ones_give_other_outputs(decomposed):
    """Why there is a decomposition: a gated neuron may be negative where its gate is open."""
    x64, features, solution, _ = decomposed
    expected = rewards(solution.head, rows_of(features), x64)
    naive = rewards(ConvexHead(*solution.head[:3], solution.head.center), rows_of(features), x64)
    assert np.abs(naive - expected).max() > 0.1 * np.abs(expected).max()


def test_it_works_under_jit():
    features = draw_pairs(2, pairs=30, width=4)
    solution = cronos(Params(group_lasso=STRENGTHS[0]), features, config=CONFIG)
    bare = decompose_gated(features, solution.certificate)
    jitted = jax.jit(decompose_gated)(features, solution.certificate)
    expected = np.asarray(bare(features.chosen))
    np.testing.assert_allclose(jitted(features.chosen), expected, atol=1e-4 * abs(expected).max())


def test_a_relu_certificate_is_refused():
    features = draw_pairs(0)
    blocks, width = 2, 4
    relu = cronos(Params(), features, config=Config(n_gates=blocks, max_iterations=25))
    assert relu.certificate.weights.shape == (2, blocks, width)
    with pytest.raises(ValueError, match=r"certificate\.weights must be \(1, P, d \+ 1\), of a ga"):
        decompose_gated(features, relu.certificate)
