"""Percentile intervals over resampled clusters."""

import numpy as np
import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._bootstrap import cluster_bootstrap


def mean_of(values):
    return lambda times: float(times @ values / times.sum())


def test_spread_is_that_of_cluster_means():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=200)
    values = np.repeat(effects, 5)
    clusters = np.repeat([f"c{number}" for number in range(200)], 5)
    interval = cluster_bootstrap(mean_of(values), clusters, draws=2000)
    assert interval.mean == pytest.approx(values.mean())
    reach = 1.96 * effects.std() / np.sqrt(200)
    assert interval.high - interval.low == pytest.approx(2 * reach, rel=0.08)
    assert interval.low < interval.mean < interval.high


def test_rows_of_one_cluster_allow_no_interval():
    interval = cluster_bootstrap(mean_of(np.arange(3.0)), ["a"] * 3, draws=4)
    assert interval.mean == 1.0 and np.isnan([interval.low, interval.high]).all()
    with pytest.raises(EvaluationError, match="no rows"):
        cluster_bootstrap(mean_of(np.zeros(0)), [])
