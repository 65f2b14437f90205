"""The clustered interval against the closed form and against what it promises."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from coala_jax._intervals import cluster_interval, share_interval


def test_clusters_of_one_give_the_t_interval_of_a_mean():
    values = np.random.default_rng(0).normal(size=30)
    truth = stats.t.interval(0.95, 29, values.mean(), stats.sem(values))
    interval = cluster_interval(values, [str(i) for i in range(30)])
    np.testing.assert_allclose(interval, (values.mean(), *truth))


def test_copies_of_a_pair_tell_nothing_new():
    values = np.random.default_rng(0).normal(size=30)
    names = [str(i) for i in range(30)]
    once = cluster_interval(values, names)
    thrice = cluster_interval(np.tile(values, 3), names * 3)
    np.testing.assert_allclose(thrice, once)


def test_a_weight_of_two_is_a_row_twice():
    values, names = np.array([1.0, 0.0, 0.5, 1.0]), ["a", "a", "b", "c"]
    double = cluster_interval(values, names, weight=np.array([1.0, 1.0, 2.0, 1.0]))
    np.testing.assert_allclose(double, cluster_interval(values[[0, 1, 2, 2, 3]], list("aabbc")))


def test_it_covers_the_truth_where_pairs_of_a_cluster_depend_on_each_other():
    rng = np.random.default_rng(0)
    names = np.repeat(np.arange(22), 20).astype(str)
    covered = 0
    for _ in range(400):
        shares = np.repeat(rng.beta(4, 2, 22), 20)
        interval = cluster_interval((rng.random(440) < shares).astype(float), names)
        covered += interval.low <= 2 / 3 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(("pairs", "low"), [(2, 0.158), (10, 0.692), (300, 0.988)])
def test_a_share_of_all_or_none_has_the_interval_of_as_many_clusters(pairs, low):
    names = [str(number) for number in range(pairs)]
    exact = stats.binomtest(pairs, pairs).proportion_ci(method="exact")
    found = share_interval(np.ones(pairs), names)
    np.testing.assert_allclose(found, (1, exact.low, 1), atol=1e-9)
    assert found.low == pytest.approx(low, abs=1e-3)
    assert share_interval(np.zeros(pairs), names).high == pytest.approx(1 - found.low)
    # Copies add nothing, and neither do pairs without weight.
    assert share_interval(np.ones(2 * pairs), names * 2) == found
    padded = share_interval(np.ones(pairs + 1), [*names, "x"], np.r_[np.ones(pairs), 0])
    assert padded == found


def test_long_names_of_clusters_cost_nothing():
    names = ["x" * 2_000_000, *map(str, range(5000))]
    tracemalloc.start()
    cluster_interval(np.ones(5001), names)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_cluster_without_weight_is_none():
    values, weight = np.array([1, 1, 0, 1.0]), np.array([1, 1, 0, 0.0])
    assert np.isnan(share_interval(values, list("aabc"), weight).low)
    values, clusters = np.array([1, 0, 1, 1, 0.0]), list("abcde")
    some = cluster_interval(values, clusters, np.array([1, 1, 1, 0, 0.0]))
    np.testing.assert_allclose(some, cluster_interval(values[:3], clusters[:3]))


def test_one_cluster_has_no_interval_and_none_is_an_error():
    interval = cluster_interval(np.array([1.0, 0.0]), ["a", "a"])
    assert interval.mean == 0.5
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)
    with pytest.raises(ValueError, match="0 values"):
        cluster_interval(np.array([]), [])
