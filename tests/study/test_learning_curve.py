"""The learning curve: parts within each other, one held-out set, the strengths of the whole."""

from types import SimpleNamespace

import numpy as np

from coala_jax._intervals import Interval
from coala_jax._status import SolveError
from coala_jax.study import _learning_curve
from coala_jax.study._experiment import Settings
from coala_jax.study._learning_curve import learning_curve
from coala_jax.study._pair_set import PairSet


def _pairs(count):
    rows = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    return PairSet("made", rows, -rows, tuple(f"key {row // 2}" for row in range(count)), "group")


def test_parts_lie_within_each_other_and_are_judged_by_the_same_pairs(monkeypatch):
    pairs, said, solved = _pairs(800), [], []
    held_out = np.arange(800) // 2 % 5 == 0

    def run(own, held, settings, _):
        if not solved:
            solved.append(None)
            raise SolveError("broke down")
        train = own.take(~held)
        solved.append((train, own.take(held), settings))
        return _found(train, own.take(held))

    def _found(train, held):
        reached = SimpleNamespace(accuracy=Interval(0.6, 0.5, 0.7))
        right = SimpleNamespace(probe=np.tile([1.0, 1.0, 0.0, 1.0], len(held.keys) // 4))
        return SimpleNamespace(verdict=reached, correct=right, train=train, eval=held)

    monkeypatch.setattr(_learning_curve, "run_experiment", run)
    whole = _found(pairs.take(~held_out), pairs.take(held_out))
    whole.settings = Settings(seed=3, select=True)
    points = learning_curve(pairs, held_out, whole, said.append)
    (few, held, settings), (half, _, _) = solved[1:]
    assert not settings.select and settings.seed == 3
    assert held.keys == whole.eval.keys
    assert set(few.keys) < set(half.keys) < set(whole.train.keys)
    assert len(half.keys) == 2 * len(set(half.keys))  # keys are whole
    assert [point["pairs"] for point in points] == [len(few.keys), len(half.keys), 640]
    assert 100 < points[0]["pairs"] < 220 and 260 < points[1]["pairs"] < 380
    assert points[-1]["head"] == {"mean": 0.6, "low": 0.5, "high": 0.7}
    assert points[-1]["linear_probe"]["mean"] == 0.75
    assert "learning curve: not solved there: broke down" in said
