"""Figures with their intervals in words that are true of them."""

import numpy as np
import pytest

from coala_jax._intervals import UNKNOWN, Interval, cluster_interval
from coala_jax.evaluation._interval_text import interval_text
from coala_jax.evaluation._order_effect import order_effect


@pytest.mark.parametrize("grades", [[9, 7, 9, 7], [7.3, 8.7] * 2, [8, 8, 8, 8]])
def test_a_mean_that_every_question_has_is_not_said_to_be_of_values_that_are_alike(grades):
    found = cluster_interval(np.array(grades, float), ["a", "a", "b", "b"])
    assert interval_text(found) == "8.00 (same for every question, no interval)"
    assert interval_text(found, cluster="person") == "8.00 (same for every person, no interval)"


def test_a_judge_whom_the_order_never_moves_has_a_first_place_share_that_reads_well():
    first = np.array([1.0, 0.0, 1.0])
    found = order_effect(["a", "b", "c"], first, 1 - first).first
    said = interval_text(found, 1, scale=100, unit=" %")
    assert said == "50.0 % (same for every question, no interval)"


def test_ends_that_are_not_there_are_told_from_ends_that_are_the_mean():
    alone = Interval(0.5, float("nan"), float("nan"))
    assert interval_text(alone) == "0.50" and interval_text(alone, alone="one") == "0.50 (one)"
    assert interval_text(UNKNOWN, alone="one") == "unknown"
    assert interval_text(Interval(0.5, 0.25, 0.75)) == "0.50 [0.25, 0.75]"
