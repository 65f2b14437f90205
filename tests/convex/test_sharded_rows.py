"""Rows split over devices are solved in the same steps, pairs and groups alike."""

import pytest

from tests.collectives import on_forced_devices


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 8])
def test_split_rows_are_solved_as_whole_ones_are_and_no_row_leaves_its_device(devices):
    found = on_forced_devices("tests.convex.devices", devices)
    for loss, result in found.items():
        whole, split = result["whole"], result["split"]
        assert split.pop("values") == pytest.approx(whole.pop("values"), rel=1e-9), loss
        assert split == whole, loss
        assert whole["status"] == 0
        # Sums over all rows meet, of weights, of Gram matrices and of pairs of candidate gates, and
        # the multipliers of each device's tightest rows; nothing of which there is one a row does.
        most = result["most"]
        assert most["all-gather"] <= devices * result["tight"], loss
        # A number a group at most: Plackett-Luce's levels.
        assert most["all-to-all"] <= result["groups"], loss
        assert most["collective-permute"] <= result["weights"] and not most["reduce-scatter"], loss
        assert 0 < most["all-reduce"] <= result["candidates"] ** 2, loss
        # One sum of weights a step of conjugate gradients, and one more for a linear path.
        assert result["cg"] == 1 + result["has_path"], loss
