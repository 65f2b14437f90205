"""Clusters that are drawn for intervals."""

import numpy as np
import pytest

from coala_jax.evaluation._bootstrap import cluster_draws


def test_as_many_clusters_are_drawn_as_there_are_and_means_spread_as_they_should():
    effects = np.random.default_rng(0).normal(size=200)
    drawn = cluster_draws(200, 2000, 1)
    assert (drawn.sum(1) == 200).all()
    assert np.std(drawn @ effects / 200) == pytest.approx(effects.std() / np.sqrt(200), rel=0.05)
