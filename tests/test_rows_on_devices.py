"""Whatever takes features takes rows that lie on several devices, and no row leaves its own."""

import pytest

from tests.collectives import on_forced_devices
from tests.row_devices import BATCH, GATES, GROUPS, PAIRS, PARTS, WIDTH

DEVICES = 8
# Of the largest sum over devices: a number a pair of candidates for gates, of which there are four
# a gate. A device has more pairs, and groups, than that.
MOST = (4 * GATES) ** 2
# Multipliers by which a device says which of its rows are the tightest: 4 D, whatever the rows.
TIGHT = 4 * (WIDTH + 1)
# Features that are a rounding off move the objective after descent by 5e-6, on one device too.
TOLERANCES = {"refine_gates": 1e-3}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_rows_stay_on_their_devices_and_change_nothing(part, tmp_path):
    assert min(PAIRS, GROUPS) // DEVICES > MOST
    found = on_forced_devices("tests.row_devices", DEVICES, tmp_path, part)
    assert tuple(found) == PARTS[part]
    for name, result in found.items():
        (counts, values), (split_counts, split_values) = result["whole"], result["split"]
        assert split_counts == counts, name
        tolerance = TOLERANCES.get(name, 1e-9)
        assert split_values == pytest.approx(values, rel=tolerance, abs=1e-13), name
        most = result["most"]
        assert most.pop("all-gather") <= DEVICES * TIGHT, name
        if name == "finetune in batches":
            # Its rows come from all devices: terms of 2 P neurons each, and no more.
            assert MOST < most.pop("all-reduce") <= BATCH * 2 * GATES, name
        assert max(most.values()) <= MOST, name
        assert most.get("all-reduce", 1) > 0, name
