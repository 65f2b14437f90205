"""`certify` trusts no claim: its bounds are those of the weights and dual points it is given."""

import jax
import numpy as np
import pytest

from coala_jax import Config, Params, certify, cronos
from tests.helpers import draw_pairs

CONFIG = Config(n_gates=5, max_iterations=5000)


@pytest.fixture(scope="module")
def solved():
    features = draw_pairs(1, pairs=30, width=4)
    with jax.enable_x64(True):
        solution = cronos(Params(group_lasso=0.1, gap_tolerance=1e-5), features, config=CONFIG)
    return features, solution


def recompute(features, certificate):
    with jax.enable_x64(True):
        return jax.tree.map(float, certify(Params(), features, certificate))


def test_it_confirms_what_the_solver_reports(solved):
    features, solution = solved
    report = recompute(features, solution.certificate)
    assert report.primal_value == pytest.approx(float(solution.stats.primal_value), rel=1e-9)
    assert report.dual_bound >= float(solution.stats.dual_bound) * (1 - 1e-9)
    assert report.relative_gap <= float(solution.stats.relative_gap) + 1e-9
    assert report.explained == pytest.approx(float(solution.stats.explained), abs=1e-5)
    assert report.cone_violation == 0


def test_a_pairwise_certificate_is_confirmed_with_its_offset_and_margins():
    features = draw_pairs(2, pairs=30, width=4)._replace(margin=np.linspace(0, 1, 30))
    config = Config(n_gates=5, max_iterations=5000, phase1_loss="bradley_terry")
    with jax.enable_x64(True):
        params = Params(group_lasso=0.1, gamma=0.5)
        solution = cronos(params, features, config=config)
        report = certify(params, features, solution.certificate, config=config)
        other = certify(params._replace(gamma=0.0), features, solution.certificate, config=config)
    assert float(report.primal_value) == pytest.approx(float(solution.stats.primal_value), rel=1e-9)
    assert float(report.dual_bound) >= float(solution.stats.dual_bound) * (1 - 1e-9)
    assert float(other.primal_value) < float(report.primal_value)


def test_claims_are_not_believed(solved):
    features, solution = solved
    honest = recompute(features, solution.certificate)
    lies = solution.certificate._replace(
        primal_value=1.0,
        dual_bound=1.0,
        patterns=~np.asarray(solution.certificate.patterns),
        labels=-np.asarray(solution.certificate.labels),
        dual_point=1e6 * np.asarray(solution.certificate.dual_point),
    )
    report = recompute(features, lies)
    assert report.primal_value == pytest.approx(honest.primal_value, rel=1e-9)
    assert report.dual_bound <= honest.primal_value


def test_a_dual_point_on_a_pair_without_weight_proves_nothing():
    """There the conjugate is infinite: a forged value must not raise the bound."""
    features = draw_pairs(3, pairs=30, width=4)._replace(weight=np.r_[0.0, np.ones(29)])
    with jax.enable_x64(True):
        certificate = cronos(Params(group_lasso=0.1), features, config=CONFIG).certificate
        forged = np.array(certificate.dual_point)
        forged[0] = 1e-3
        bounds = [
            certify(Params(), features, certificate._replace(dual_point=point)).dual_bound
            for point in (certificate.dual_point, forged)
        ]
    assert float(bounds[1]) == pytest.approx(float(bounds[0]), rel=1e-12)


def test_invalid_input_proves_nothing(solved):
    features, solution = solved
    report = recompute(features, solution.certificate._replace(group_lasso_strength=-1.0))
    assert all(np.isnan(value) for value in report)
    poisoned = features._replace(chosen=np.where(np.arange(30)[:, None] == 3, np.nan, 1.0) * 0.5)
    poisoned = poisoned._replace(chosen=np.broadcast_to(poisoned.chosen, features.chosen.shape))
    assert all(np.isnan(value) for value in recompute(poisoned, solution.certificate))


def test_weights_alone_are_enough_for_a_bound(solved):
    features, solution = solved
    certificate = solution.certificate
    alone = certificate._replace(
        dual_point=np.zeros_like(certificate.dual_point),
        multipliers=np.zeros_like(certificate.multipliers),
    )
    assert 0 <= recompute(features, alone).relative_gap < 2e-2


def test_weights_outside_the_cones_are_projected_before_they_count(solved):
    features, solution = solved
    rng = np.random.default_rng(0)
    weights = np.asarray(solution.certificate.weights)
    moved = weights + 0.1 * rng.standard_normal(weights.shape)
    report = recompute(features, solution.certificate._replace(weights=moved))
    assert report.cone_violation > 1e-2
    assert report.primal_value > float(solution.stats.primal_value)
    assert report.primal_value >= report.dual_bound


def test_zero_weights_explain_nothing(solved):
    features, solution = solved
    zero = np.zeros_like(solution.certificate.weights)
    report = recompute(features, solution.certificate._replace(weights=zero))
    assert report.primal_value == pytest.approx(30)  # half of 60 rows of ones
    assert report.explained == pytest.approx(0, abs=1e-12)


def test_a_certificate_of_another_model_asks_for_its_config(solved):
    features, solution = solved
    with pytest.raises(ValueError, match=r"weights of Config\(model='gated_relu'\) must be \(1, "):
        certify(Params(), features, solution.certificate, config=Config(model="gated_relu"))


@pytest.mark.parametrize("name", ["gates", "center", "weights", "dual_point", "multipliers"])
def test_misshapen_fields_are_named(solved, name):
    features, solution = solved
    bad = solution.certificate._replace(**{name: np.zeros((7, 2))})
    with pytest.raises(ValueError, match=rf"certificate\.{name}.* must be"):
        certify(Params(), features, bad)
