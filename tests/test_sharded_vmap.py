"""Sweeps over devices give what single solves give, and no device waits for another."""

import jax
import numpy as np
import pytest

from coala_jax import CoalaError, sharded_vmap
from tests.collectives import on_forced_devices

DEVICES = 8


@pytest.fixture(scope="module")
def found():
    return on_forced_devices("tests.sweep_devices", DEVICES)


@pytest.mark.slow
def test_every_element_takes_the_steps_of_a_single_solve(found):
    sweep = found["sweep"]
    counts, values = sweep["singles"]
    assert len({steps for _, steps, _ in counts}) > 3  # of many lengths
    for name in ("one a device", "one more"):
        swept_counts, swept_values = sweep[name]
        assert swept_counts == counts[: len(swept_counts)], name
        np.testing.assert_allclose(swept_values, values[: len(swept_values)], rtol=1e-9)
    assert len(sweep["one more"][0]) == DEVICES + 1


@pytest.mark.slow
def test_no_loop_waits_for_another_device_and_results_stay_where_they_were_made(found):
    sweep = found["sweep"]
    assert sweep["loops"] > 10
    # A loop whose end devices decide together has a sum of their conditions.
    assert sweep["collectives"] == 0
    assert sweep["devices of leaves"] == [DEVICES]
    assert sweep["elements of shards"] == [1]


@pytest.mark.slow
def test_gradients_are_those_of_vmap_and_none_where_a_solve_is_not_solved(found):
    gradients = found["gradients"]
    assert gradients["devices"] == pytest.approx(gradients["vmap"], rel=1e-3, abs=1e-4)
    assert any(abs(value) > 1e-3 for value in gradients["vmap"])
    assert gradients["unsolved"] == 4


@pytest.mark.slow
def test_folds_on_copies_of_features_choose_what_one_device_does(found):
    one, two = found["folds"]
    assert two["choice"] == one["choice"]
    assert two["values"] == pytest.approx(one["values"], rel=1e-9)


@pytest.mark.slow
def test_elements_on_parts_of_the_devices_have_their_rows_split(found):
    for (counts, values), (alone, exact) in zip(*found["parts"].values(), strict=True):
        assert counts == alone
        # 225 steps make 1e-7 of a rounding, as one element in a vmap shows too.
        assert values == pytest.approx(exact, rel=1e-6)


@pytest.mark.slow
def test_split_rows_in_a_split_sweep_are_refused(found):
    assert len(found["refusals"]) == 2
    for message in found["refusals"]:
        assert "features are split over devices by their first axis" in message
        assert "rows over a part of the devices" in message


def test_a_batch_on_one_device_is_that_of_vmap():
    def line(slope, shared):
        return {"at": slope["a"] * shared + jax.random.uniform(slope["key"])}

    slopes = {"a": np.arange(3.0), "key": jax.random.split(jax.random.key(0), 3)}
    swept, mapped = (map_(line, (0, None))(slopes, 2.0) for map_ in (sharded_vmap, jax.vmap))
    np.testing.assert_array_equal(swept["at"], mapped["at"])


@pytest.mark.parametrize(
    ("in_axes", "arguments", "message"),
    [
        (1, None, "in_axes=1"),
        ((0, True), None, "in_axes"),
        ((0, 0), (np.ones(3),), "for 2 arguments, and 1 were given"),
        ((0, 0), (np.ones(3), np.ones(4)), r"got \(3,\), \(4,\)"),
        (0, (np.ones(3), 1.0), r"got \(\), \(3,\)"),
        (0, (np.ones((0, 2)),), r"got \(0,\)"),
        (None, (np.ones(3),), "no argument"),
    ],
)
def test_what_cannot_be_split_is_named(in_axes, arguments, message):
    with pytest.raises(CoalaError, match=message):
        sharded_vmap(lambda *values: values[0], in_axes)(*arguments)
