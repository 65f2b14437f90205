"""What the order of two answers does to a judge: shares by hand, intervals that hold."""

import numpy as np
import pytest
from scipy.special import expit

from coala_jax.evaluation._order_effect import order_effect


def test_shares_are_counted_by_games_and_by_pairs_of_them():
    first = np.array([1.0, 0.0, 0.5, 1.0])  # how well the answer did that is shown first
    second = np.array([0.0, 0.0, 0.5, 1.0])
    found = order_effect(["a", "b", "c", "c"], first, second)
    # The same answer wins in both orders, the other place does, neither, the first place does.
    assert found.consistent.mean == 2 / 4 and found.first.mean == 3 / 6
    assert found.consistent.low < 0.5 < found.consistent.high
    ties = order_effect(["a", "b"], np.full(2, 0.5), np.full(2, 0.5))
    assert ties.consistent.mean == 1 and np.isnan(ties.first).all()
    assert np.isnan(order_effect([], np.zeros(0), np.zeros(0))).all()


def test_intervals_cover_as_they_say():
    """1000 studies of two judged turns a question, which share how clear it is and its place."""
    rng, questions = np.random.default_rng(0), 80
    names = [str(number) for number in np.repeat(np.arange(questions), 2)]

    def games(count):
        better, place = (np.repeat(rng.normal(mean, 1.5, count), 2) for mean in (0.3, 0.4))
        wins = [rng.random(2 * count) < expit(place + side * better) for side in (1, -1)]
        ties = rng.random((2, 2 * count)) < 0.2
        return np.where(ties, 0.5, np.array(wins, float))

    truth = [share.mean for share in order_effect(["all"] * 1_000_000, *games(500_000))]
    inside = np.zeros(2)
    for _ in range(1000):
        found = order_effect(names, *games(questions))
        inside += [each.low <= true <= each.high for each, true in zip(found, truth, strict=True)]
    assert inside / 1000 == pytest.approx([0.95, 0.95], abs=0.02)
