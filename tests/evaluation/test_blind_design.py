"""Who is shown what in a blind study."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation.blind._design import Design, draw_places


def drawn(systems=3, items=20, checks=3, seed=0, **fields):
    design = Design(**{"places": 30, "items": 12, "repeats": 2, "checks": 2, **fields})
    pairs = list(combinations(range(systems), 2))
    return draw_places([pairs] * items, checks, design, np.random.default_rng(seed)), items


def main_trials(place, items):
    """Those that are no checks, the first of each item."""
    first = {}
    for trial in place:
        if trial.item < items:
            first.setdefault(trial.item, trial)
    return list(first.values())


@pytest.mark.parametrize("systems", [2, 3, 4])
def test_items_and_pairs_are_shown_equally_often(systems):
    places, items = drawn(systems=systems)
    shown = [trial for place in places for trial in main_trials(place, items)]
    of_items = Counter(trial.item for trial in shown)
    assert set(of_items) == set(range(items))
    assert max(of_items.values()) - min(of_items.values()) <= 1
    of_pairs = Counter((trial.item, frozenset(trial[1:])) for trial in shown)
    for item in range(items):
        counts = [of_pairs[item, frozenset(pair)] for pair in combinations(range(systems), 2)]
        assert max(counts) - min(counts) <= 1
    overall = Counter(frozenset(trial[1:]) for trial in shown)
    assert max(overall.values()) - min(overall.values()) <= 0.1 * len(shown) / len(overall)


def test_of_two_systems_each_is_left_in_half_of_a_persons_trials_and_of_a_prompts():
    places, items = drawn(systems=2)
    for place in places:
        assert sum(trial.left == 0 for trial in main_trials(place, items)) == 6
    shown = [trial for place in places for trial in main_trials(place, items)]
    for item in range(items):
        left = [trial.left == 0 for trial in shown if trial.item == item]
        assert abs(sum(left) - len(left) / 2) <= 0.3 * len(left)


def test_of_several_systems_sides_are_nearly_even_within_a_person():
    places, items = drawn(systems=4)
    for place in places:
        lean = Counter()
        for trial in main_trials(place, items):
            lean[trial.left] += 1
            lean[trial.right] -= 1
        assert max(map(abs, lean.values())) <= 2


def test_repeats_are_turned_round_and_far_from_what_they_repeat():
    places, items = drawn()
    for place in places:
        assert len(place) == 12 + 2 + 2
        seen, repeats = {}, 0
        for number, trial in enumerate(place):
            if trial.item in seen:
                before, first = seen[trial.item]
                assert trial == first.turned and number - before >= 4
                repeats += 1
            seen[trial.item] = (number, trial)
        assert repeats == 2
        checks = [trial.item for trial in place if trial.item >= items]
        assert len(set(checks)) == 2


def test_checks_have_the_good_answer_on_either_side_and_orders_differ():
    places, items = drawn(places=60)
    good_left = [trial.left == 0 for place in places for trial in place if trial.item >= items]
    assert 0.4 < np.mean(good_left) < 0.6
    assert len({tuple(place) for place in places}) == 60
    assert drawn(seed=1)[0] == drawn(seed=1)[0]


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(EvaluationError, match="20 prompts"):
        draw_places(
            [[(0, 1)]] * 20, 0, Design(places=2, items=21, checks=0), np.random.default_rng(0)
        )
    with pytest.raises(EvaluationError, match="checks=2"):
        drawn(checks=1)
    for wrong in ({"places": 1}, {"repeats": 5}, {"checks": -1}, {"items": 0}):
        with pytest.raises(EvaluationError, match=next(iter(wrong))):
            Design(**{"places": 4, "items": 12, **wrong})
