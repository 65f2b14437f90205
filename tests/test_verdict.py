"""What a verdict warns of, and what it does not."""

import numpy as np
import pytest

from coala_jax._verdict import Unseen, judge, verdict_lines


def warnings_of(margins, keys, rivals=None):
    unseen = Unseen(np.array(margins, float), tuple(map(str, keys)), None)
    return judge(unseen, rivals or {}, temperature=1.0, train_accuracy=0.9).warnings


def test_nothing_is_said_against_a_head_that_orders_unseen_pairs():
    assert warnings_of([1.0] * 180 + [-0.5] * 20, range(200)) == ()


@pytest.mark.parametrize(
    ("margins", "keys", "expected"),
    [
        ([0.3] * 10 + [-0.1] * 9, range(19), "its interval reaches chance (0.5)"),
        # Right everywhere, and yet of four prompts alone.
        ([1.0] * 40, [0, 1, 2, 3] * 10, "interval over 4 groups of pairs reaches chance (0.5)"),
        ([1.0] * 40, [0] * 40, "all of them belong together"),
        ([0.1] * 180 + [-40.0] * 20, range(200), "above that of a coin (0.693)"),
    ],
)
def test_a_warning_says_what_was_seen(margins, keys, expected):
    (warning,) = warnings_of(margins, keys)
    assert expected in warning


def test_groups_without_weight_are_not_counted():
    unseen = Unseen(np.ones(4), ("a", "a", "b", "c"), np.array([1.0, 1.0, 1.0, 0.0]))
    (warning,) = judge(unseen, {}, temperature=1.0, train_accuracy=0.9).warnings
    assert "over 2 groups of pairs" in warning


def test_a_rival_that_orders_more_is_named():
    margins = [1.0] * 160 + [-0.5] * 40
    (warning,) = warnings_of(margins, range(200), {"length rule": np.ones(200)})
    assert warning.startswith(
        "the length rule orders more unseen pairs: 1.000, head less that -0.2"
    )


def test_warnings_stand_last_in_the_lines():
    unseen = Unseen(np.array([1.0, -1.0]), ("a", "b"), None)
    verdict = judge(unseen, {}, temperature=1.0, train_accuracy=0.5, notes=("a note",))
    lines = verdict_lines(verdict, "two pairs")
    assert lines[0].startswith("accuracy 0.500 [") and "on two pairs; chance 0.500" in lines[0]
    assert lines[-1] == "warning: a note" and lines[1].startswith("log loss ")
