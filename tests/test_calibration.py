"""Temperatures, log losses and calibration errors against what they must be."""

import numpy as np
import pytest

from coala_jax._calibration import (
    calibration_error,
    fit_temperature,
    given_temperature,
    log_losses,
)

RNG = np.random.default_rng(0)


def draw_margins(pairs: int, scale: float) -> np.ndarray:
    """Margins, chosen less rejected, of which `scale` times the true log-odds are shown."""
    odds = 2 * RNG.standard_normal(pairs)
    right = RNG.uniform(size=pairs) < 1 / (1 + np.exp(-np.abs(odds)))
    return scale * np.abs(odds) * np.where(right, 1, -1)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_temperature_is_what_the_margins_are_too_large_by(scale):
    margins = draw_margins(20_000, scale)
    temperature = fit_temperature(margins)
    assert temperature == pytest.approx(scale, rel=0.05)
    assert calibration_error(margins, temperature) < 0.015
    assert calibration_error(margins, temperature / 5) > 0.05


def test_the_temperature_has_the_least_log_loss():
    margins = draw_margins(500, 3.0)
    best = log_losses(margins, fit_temperature(margins)).mean()
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert log_losses(margins, factor * fit_temperature(margins)).mean() > best


def test_margins_that_order_nothing_give_a_half():
    margins = RNG.standard_normal(1000) - 0.5
    temperature = fit_temperature(margins)
    assert log_losses(margins, temperature).mean() == pytest.approx(np.log(2), abs=1e-3)
    assert fit_temperature(np.zeros(5)) == 1.0


def test_weights_count_as_repetitions():
    margins, weight = draw_margins(300, 2.0), RNG.integers(0, 4, 300)
    repeated = np.repeat(margins, weight)
    assert fit_temperature(margins, weight) == pytest.approx(fit_temperature(repeated), rel=1e-3)
    assert calibration_error(margins, 2.0, weight) == pytest.approx(
        calibration_error(repeated, 2.0)
    )


def test_a_pair_without_weight_has_no_say_however_large_it_is():
    margins, weight = draw_margins(300, 2.0), np.ones(300)
    outlier, silent = np.append(margins, 1e6), np.append(weight, 0.0)
    assert fit_temperature(outlier, silent) == pytest.approx(fit_temperature(margins), rel=1e-3)


@pytest.mark.parametrize(("beta", "after", "expected"), [(4.0, True, 0.25), (4.0, False, 1.0)])
def test_a_temperature_that_nothing_fitted_is_that_of_the_last_loss(beta, after, expected):
    assert given_temperature(beta, after) == expected
    assert np.isnan(given_temperature(0.0, True)) and given_temperature(0.0, False) == 1.0


def test_the_error_is_the_distance_of_confidence_and_share():
    """Confidence .9 on all, of which 7 in 10 are right."""
    margins = np.log(9) * np.where(np.arange(10) < 7, 1, -1)
    assert calibration_error(margins) == pytest.approx(0.2)
    ties = np.zeros(6)  # confidence a half, half right
    assert calibration_error(ties) == 0


def test_huge_margins_neither_overflow_nor_leave_the_bins():
    margins = np.array([1e5, -1e5, 1e308])
    assert np.isfinite(log_losses(margins)).all()
    assert calibration_error(margins) == pytest.approx(1 / 3)
