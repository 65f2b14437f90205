"""What the solver reports, recomputed from scratch in plain numpy."""

import jax
import numpy as np
import pytest

import coala_jax
from benchmarks.adversary.losses import LOSSES
from coala_jax import Config, Params, PreferenceFeatures, Status, cronos
from tests.helpers import draw_pairs, rows_of, standardised_rows


def loss_value(name: str, z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """Of outputs z of all rows; y are labels of rows, or offsets of pairs."""
    outputs = z[::2] - z[1::2] if LOSSES[name].pairwise else z
    return LOSSES[name].value(outputs, y, weight)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_reported_certificate_is_the_one_recomputed_in_numpy(loss, seed):
    weight = np.random.default_rng(seed).uniform(0.5, 2, 15)
    features = draw_pairs(seed)._replace(weight=weight)
    with jax.enable_x64(True):
        solution = cronos(
            Params(group_lasso=0.1, gamma=0.4, gap_tolerance=1e-4),
            features,
            config=Config(phase1_loss=loss, n_gates=5, max_iterations=20_000),
            key=jax.random.key(seed),
        )
    certificate = jax.tree.map(np.asarray, solution.certificate)
    x = standardised_rows(features, certificate)
    d, y, w = certificate.patterns.astype(float), certificate.labels, certificate.row_weight
    strength = float(certificate.group_lasso_strength)
    np.testing.assert_array_equal(certificate.patterns, certificate.gates @ x.T >= 0)
    pairwise = LOSSES[loss].pairwise
    np.testing.assert_allclose(w, np.repeat(weight / weight.mean(), 1 if pairwise else 2))
    if pairwise:
        np.testing.assert_allclose(y, 0.4)

    v = certificate.weights
    products = v @ x.T
    assert np.min((2 * d - 1) * products) >= 0
    z = np.sum(d * (products[0] - products[1]), axis=0)
    primal = loss_value(loss, z, y, w) + strength * np.linalg.norm(v, axis=-1).sum()
    assert primal == pytest.approx(float(solution.stats.primal_value), rel=1e-9)

    r, alpha = certificate.dual_point, certificate.multipliers
    assert np.all(alpha >= 0)
    rows = np.stack([r, -r], axis=1).ravel() if pairwise else r
    pulled = (d * rows) @ x
    blocks = np.stack([pulled, -pulled]) + ((2 * d - 1) * alpha) @ x
    assert np.linalg.norm(blocks, axis=-1).max() <= strength * (1 + 1e-9)
    dual = LOSSES[loss].dual_value(r, y, w)
    assert dual == pytest.approx(float(solution.stats.dual_bound), rel=1e-9)

    zero = loss_value(loss, np.zeros(len(x)), y, w)
    assert (primal - dual) / abs(dual) == pytest.approx(float(solution.stats.relative_gap))
    explained = (zero - primal) / (zero - dual)
    assert explained == pytest.approx(float(solution.stats.explained))
    assert int(solution.status) == Status.SOLVED


@pytest.mark.parametrize(
    "loss",
    [
        "squared",
        "bradley_terry",
        *(
            pytest.param(loss, marks=pytest.mark.slow)
            for loss in sorted(set(LOSSES) - {"squared", "bradley_terry"})
        ),
    ],
)
def test_the_networks_own_objective_is_the_certified_value(loss):
    """Objective (2) of relu(X theta1) theta2 with lambda/2 on both layers' squares equals (3)."""
    features = draw_pairs(3, pairs=60, width=6)
    with jax.enable_x64(True):
        solution = cronos(Params(), features, config=Config(phase1_loss=loss))
        rewards = np.asarray(solution.head(rows_of(features)))
    certificate = jax.tree.map(np.asarray, solution.certificate)
    norms = np.linalg.norm(certificate.weights, axis=-1)
    penalty = float(certificate.group_lasso_strength) * norms.sum()
    value = loss_value(loss, rewards, certificate.labels, certificate.row_weight) + penalty
    assert value == pytest.approx(float(solution.stats.primal_value), rel=1e-10)


def test_an_unsolved_run_still_carries_a_valid_certificate():
    solution = cronos(
        Params(gap_tolerance=0.0), draw_pairs(0), config=Config(max_iterations=25, check_every=25)
    )
    assert int(solution.status) == Status.ITERATION_LIMIT
    assert float(solution.stats.primal_value) >= float(solution.stats.dual_bound)
    assert np.isfinite(float(solution.stats.relative_gap))


def test_lambda_max_is_where_the_network_vanishes():
    """Just below it the optimum beats the zero network; just above it nothing does."""
    features = draw_pairs(5, pairs=30, width=4)
    tight = {"gap_tolerance": 1e-7, "violation_tolerance": 1e-5, "explained_minimum": 0.0}
    with jax.enable_x64(True):
        config = Config(max_iterations=5000)
        below = cronos(Params(group_lasso=0.97, **tight), features, config=config)
        assert float(below.stats.dual_bound) < 30
        assert float(below.stats.primal_value) < 30 * (1 - 1e-5)
        above = cronos(Params(group_lasso=1.0, **tight), features, config=config)
    assert int(above.status) == Status.ZERO_NETWORK
    assert not np.any(np.asarray(above.head.theta2))


def test_lambda_max_is_well_below_the_norm_bound():
    features = draw_pairs(6, pairs=200, width=10)
    solution = cronos(Params(), features)
    certificate = jax.tree.map(np.asarray, solution.certificate)
    x = standardised_rows(features, certificate)
    bound = np.linalg.norm((certificate.patterns * certificate.labels) @ x, axis=1).max()
    assert float(solution.stats.lambda_max) < 0.9 * bound


def test_constant_features_are_counted_and_ignored():
    features = draw_pairs(0)
    wide = PreferenceFeatures(
        np.c_[features.chosen, np.full(15, 7.0)], np.c_[features.rejected, np.full(15, 7.0)]
    )
    narrow, padded = cronos(Params(), features), cronos(Params(), wide)
    assert int(narrow.stats.constant_features) == 0
    assert int(padded.stats.constant_features) == 1
    assert int(padded.status) == Status.SOLVED
    assert isinstance(padded.head, coala_jax.ConvexHead)
