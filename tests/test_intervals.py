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


@pytest.mark.parametrize("truth", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("count", [40, 200])
def test_a_share_is_covered_near_0_and_1_too(truth, count):
    """A mean's t interval covers 0.05 in 89 % of such studies: two correlated games a question."""
    rng = np.random.default_rng(1)
    names = [str(number) for number in range(count)] * 2
    shares = rng.beta(4 * truth, 4 * (1 - truth), (1000, count))
    games = (rng.random((2, 1000, count)) < shares).astype(float)
    found = [share_interval(each.ravel(), names) for each in games.swapaxes(0, 1)]
    covered = np.mean([interval.low <= truth <= interval.high for interval in found])
    assert 0.93 <= covered <= 0.975


def test_a_share_has_wilsons_interval_of_independent_rows():
    values = np.repeat([1.0, 0.0], [45, 15])
    found = share_interval(values, [str(number) for number in range(60)])
    quantile = stats.t.ppf(0.975, 59) * np.sqrt(60 / 59)  # a sample's variance, not a binomial's
    shrunk = quantile**2 / 60
    center = (0.75 + shrunk / 2) / (1 + shrunk)
    half_width = np.sqrt(0.75 * 0.25 * shrunk + shrunk**2 / 4) / (1 + shrunk)
    np.testing.assert_allclose(found, (0.75, center - half_width, center + half_width))


def test_a_heavy_cluster_counts_for_few_where_all_are_right():
    heavy = share_interval(np.ones(100), [str(n) for n in range(100)], np.r_[np.ones(99), 99.0])
    assert heavy.low == pytest.approx(0.025 ** (1 / (198**2 / (99 + 99**2))))
    assert heavy.low < share_interval(np.ones(5), list("abcde")).low


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
