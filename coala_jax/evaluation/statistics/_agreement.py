"""How far people who judged the same pair of answers agree."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class PairwiseAgreement(NamedTuple):
    """Of all pairs of votes on one unit, how many are equal.

    Attributes:
        equal: pairs of votes that are the same.
        pairs: of votes that were compared.
    """

    equal: int
    pairs: int

    @property
    def share(self) -> float:
        """Equal pairs over all; NaN without any."""
        return self.equal / self.pairs if self.pairs else float("nan")


class Coincidences(NamedTuple):
    """What alpha needs of each unit that has two values or more.

    Attributes:
        unequal: (units,) ordered pairs of different values, over the number of values less one.
        counts: (units, values) how often each value was given.
    """

    unequal: np.ndarray
    counts: np.ndarray


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float:
    """Krippendorff's alpha of nominal values.

    alpha = 1 - D_o / D_e from the coincidences of values within units (Krippendorff 2011,
    "Computing Krippendorff's Alpha-Reliability", section C). A unit with one value says nothing.

    Args:
        units: the values that were given to each unit, as many or as few as there are.

    Returns:
        1 of full agreement, 0 of chance, below 0 of less than chance. NaN where no unit has two
        values, or all values are the same: chance would then agree as well.

    Example:
        >>> from coala_jax.evaluation.statistics import krippendorff_alpha
        >>> round(krippendorff_alpha([["a", "a"], ["b", "b"], ["a", "b"], ["b", "b"]]), 3)
        0.533
    """
    found = coincidences(units)
    return alpha_of(found, np.ones(len(found.unequal)))


def coincidences(units: Iterable[Sequence[Hashable]]) -> Coincidences:
    """Count the values of each unit; those with one value are rows of zeros."""
    units = list(units)
    names = {value: number for number, value in enumerate(dict.fromkeys(itertools.chain(*units)))}
    counts = np.zeros((len(units), len(names)))
    for row, values in zip(counts, units, strict=True):
        if len(values) > 1:
            np.add.at(row, [names[value] for value in values], 1)
    total = counts.sum(1)
    unequal = (total**2 - np.square(counts).sum(1)) / np.maximum(total - 1, 1)
    return Coincidences(unequal, counts)


def alpha_of(found: Coincidences, times: np.ndarray) -> float:
    """Alpha of units that count (units,) times each, as in a bootstrap."""
    by_value = times @ found.counts
    total = float(by_value.sum())
    expected = total**2 - float(by_value @ by_value)
    if not expected > 0:
        return float("nan")
    return 1 - (total - 1) * float(times @ found.unequal) / expected


def pairwise_agreement(
    units: Iterable[Sequence[Hashable]], *, without: Hashable = None
) -> PairwiseAgreement:
    """Share of equal votes among all pairs of votes on a unit, pooled over units.

    As FastChat counts the agreement of people (`llm_judge/compute_agreement.py`), whose setups are
    with ties, and without the votes for a tie.

    Args:
        units: the votes on each.
        without: a vote that is left out; None leaves out none.

    Example:
        >>> from coala_jax.evaluation.statistics import pairwise_agreement
        >>> pairwise_agreement([["a", "a", "tie"], ["b", "b"]])
        PairwiseAgreement(equal=2, pairs=4)
        >>> pairwise_agreement([["a", "a", "tie"], ["b", "b"]], without="tie")
        PairwiseAgreement(equal=2, pairs=2)
    """
    equal = pairs = 0
    for votes in units:
        counted = [vote for vote in votes if without is None or vote != without]
        for one, other in itertools.combinations(counted, 2):
            pairs += 1
            equal += one == other
    return PairwiseAgreement(equal, pairs)


def values_by_unit(
    units: Sequence[Hashable], values: Sequence[Hashable]
) -> Mapping[Hashable, list[Hashable]]:
    """The values that were given to each unit, in their order."""
    found: dict[Hashable, list[Hashable]] = {}
    for unit, value in zip(units, values, strict=True):
        found.setdefault(unit, []).append(value)
    return found
