"""Held-out pairs in bins: none is lost, and the bins give the figures of the whole again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coala_jax._calibration import calibration_error
from coala_jax._verdict import Unseen
from coala_jax.study._held_out_bins import margin_histogram, reliability
from tests.study.head_figures import TEMPERATURE, made_margins

MARGINS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=30).map(np.array)


@given(MARGINS)
def test_every_pair_is_in_a_step_and_right_and_wrong_are_apart(margins):
    found = margin_histogram(margins)
    edges = np.array(found["edges"])
    assert 2 <= len(edges) - 1 <= 42
    middle = int(np.flatnonzero(edges == 0)[0])
    assert sum(found["pairs"]) == len(margins)
    assert sum(found["pairs"][:middle]) == np.sum(margins < 0)


def test_outliers_do_not_decide_the_steps():
    margins = np.concatenate([np.linspace(-1, 1, 1000), [1e6, np.nan]])
    found = margin_histogram(margins)
    assert found["edges"][-1] < 2
    assert sum(found["pairs"]) == 1001  # what is no number is not counted


@pytest.mark.parametrize("weighted", [False, True])
def test_the_bins_give_the_calibration_error_again(weighted):
    _, margins = made_margins()
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 3, len(margins)).astype(float) if weighted else None
    keys = tuple(map(str, range(len(margins))))
    bins = reliability(Unseen(margins, keys, weight), TEMPERATURE)
    counted = np.ones(len(margins)) if weight is None else weight
    assert sum(each["pairs"] for each in bins) == np.sum(counted > 0)
    confidence = 1 / (1 + np.exp(-np.abs(margins) / TEMPERATURE))
    error = 0.0
    for each in bins:
        assert each["low"] <= each["confidence"] <= each["high"]
        assert each["right"]["low"] <= each["right"]["mean"] <= each["right"]["high"]
        inside = (confidence >= each["low"]) & (confidence < each["high"])
        share = counted[inside].sum() / counted.sum()
        error += share * abs(each["right"]["mean"] - each["confidence"])
    assert error == pytest.approx(calibration_error(margins, TEMPERATURE, weight))
