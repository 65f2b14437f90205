"""The status of both phases together."""

from types import SimpleNamespace

import numpy as np
import pytest

from coala_jax import Status
from coala_jax.study._timed_phases import TimedPhases


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (Status.SOLVED, Status.SOLVED, Status.SOLVED),
        (Status.SOLVED, Status.EPOCH_LIMIT, Status.EPOCH_LIMIT),
        (Status.SOLVED_WITHOUT_GAP, Status.SOLVED, Status.SOLVED_WITHOUT_GAP),
        (Status.SOLVED_WITHOUT_GAP, Status.EPOCH_LIMIT, Status.EPOCH_LIMIT),
        (Status.SOLVED_INACCURATE, Status.SOLVED, Status.SOLVED_INACCURATE),
        (Status.BREAKDOWN, Status.EPOCH_LIMIT, Status.BREAKDOWN),
    ],
)
def test_the_first_phase_that_failed_decides(first, second, both):
    parts = dict.fromkeys(TimedPhases._fields) | {
        "phase1": SimpleNamespace(stats=SimpleNamespace(status=np.int32(first))),
        "phase2": SimpleNamespace(stats=SimpleNamespace(status=np.int32(second))),
    }
    assert TimedPhases(**parts).status is both
