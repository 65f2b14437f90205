"""Who is shown what: prompts, pairs of systems, sides and order, balanced over all places."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from coala_jax.evaluation._errors import EvaluationError


class Trial(NamedTuple):
    """Two answers to one prompt, side by side.

    Attributes:
        item: number of the prompt; those of checks come after all others.
        left: number of the system whose answer is on the left.
        right: number of the other system.
    """

    item: int
    left: int
    right: int

    @property
    def turned(self) -> Trial:
        """The same with its sides exchanged."""
        return Trial(self.item, self.right, self.left)


@dataclass(frozen=True)
class Design:
    """What a place in the study consists of.

    Attributes:
        places: how many people the study is balanced for.
        items: prompts that each of them judges.
        repeats: of these, how many are shown again with the sides exchanged.
        checks: further prompts with an answer that no attentive reader prefers.
    """

    places: int
    items: int
    repeats: int = 2
    checks: int = 2

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            EvaluationError: names the field, its value and what it may be.
        """
        if self.places < 2 or self.items < 1:
            raise EvaluationError(
                f"places={self.places}, items={self.items} must be at least 2 and 1"
            )
        # A repeat comes in the last third, what it repeats in the first.
        most = math.ceil(self.items / 3)
        if not 0 <= self.repeats <= most:
            raise EvaluationError(
                f"repeats={self.repeats} must be from 0 to {most}, a third of items={self.items}"
            )
        if self.checks < 0:
            raise EvaluationError(f"checks={self.checks} must be at least 0")


def draw_places(
    pairs_of: Sequence[Sequence[tuple[int, int]]],
    checks: int,
    design: Design,
    rng: np.random.Generator,
) -> list[list[Trial]]:
    """The trials of every place, in order.

    Every prompt is shown equally often up to one, and of each prompt every pair of systems. Within
    a place pairs and sides are as even as that allows: of two systems, each is on the left in half
    of the trials.

    Args:
        pairs_of: (items,) pairs of systems that may be shown of each prompt.
        checks: how many checks there are; each is of a good answer, 0, and a bad one, 1.
        design: of a place.
        rng: draws everything.

    Raises:
        EvaluationError: more items or checks a place than there are.
    """
    if design.items > len(pairs_of):
        raise EvaluationError(
            f"items={design.items}: there are {len(pairs_of)} prompts with answers that differ; "
            "ask for at most as many"
        )
    if design.checks > checks:
        raise EvaluationError(
            f"checks={design.checks}: there are {checks} of them; ask for at most as many"
        )
    of_item, of_check = _Deal(len(pairs_of), rng), _Deal(checks, rng)
    seen: Counter[object] = Counter()
    places = []
    for _ in range(design.places):
        within: Counter[object] = Counter()
        main = [
            _least_shown(item, pairs_of[item], seen, within, rng)
            for item in of_item.next(design.items)
        ]
        gold = [
            _least_shown(len(pairs_of) + check, [(0, 1)], seen, within, rng)
            for check in of_check.next(design.checks)
        ]
        places.append(_in_order(main, gold, design.repeats, rng))
    return places


class _Deal:
    """Numbers dealt from shuffled decks, one after the other, none twice in one hand."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self._count, self._rng = count, rng
        self._deck: list[int] = []

    def next(self, size: int) -> list[int]:
        hand, self._deck = self._deck[:size], self._deck[size:]
        if len(hand) < size:
            deck = [int(number) for number in self._rng.permutation(self._count)]
            fresh = [number for number in deck if number not in hand][: size - len(hand)]
            self._deck = [number for number in deck if number not in fresh]
            hand = hand + fresh
        return hand


def _least_shown(
    item: int,
    pairs: Sequence[tuple[int, int]],
    seen: Counter[object],
    within: Counter[object],
    rng: np.random.Generator,
) -> Trial:
    """The pair and the sides that were shown least: of the prompt, then of the place."""
    order = [pairs[place] for place in rng.permutation(len(pairs))]
    pair = min(order, key=lambda two: (seen[item, two], within[two], seen[two]))
    sides = [pair, pair[::-1]] if rng.random() < 0.5 else [pair[::-1], pair]
    left, right = min(
        sides,
        key=lambda two: (within["left", two[0]] - within["left", two[1]], seen[item, "left", two]),
    )
    for counts in (seen, within):
        counts[pair] += 1
    seen[item, pair] += 1
    seen[item, "left", (left, right)] += 1
    within["left", left] += 1
    within["left", right] -= 1
    return Trial(item, left, right)


def _in_order(
    main: Sequence[Trial], gold: Sequence[Trial], repeats: int, rng: np.random.Generator
) -> list[Trial]:
    """Trials in random order; repeats in the last third of trials of the first, checks between."""
    shuffled = [main[place] for place in rng.permutation(len(main))]
    first_third = shuffled[: math.ceil(len(main) / 3)]
    again = [first_third[place].turned for place in rng.permutation(len(first_third))[:repeats]]
    keyed = [(number / len(main), trial) for number, trial in enumerate(shuffled)]
    keyed += [(float(rng.uniform(0.67, 1.0)), trial) for trial in again]
    keyed += [(float(rng.uniform(0.15, 0.95)), trial) for trial in gold]
    return [trial for _, trial in sorted(keyed, key=lambda one: one[0])]
