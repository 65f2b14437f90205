"""How far people who judged the same pair of answers agree."""

from __future__ import annotations

import itertools
from collections import Counter
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


def krippendorff_alpha(
    units: Iterable[Sequence[Hashable]], weight: np.ndarray | None = None
) -> float:
    """Krippendorff's alpha of nominal values.

    alpha = 1 - D_o / D_e from the coincidences of values within units (Krippendorff 2011,
    "Computing Krippendorff's Alpha-Reliability", section C). A unit with one value says nothing.

    Args:
        units: the values that were given to each unit, as many or as few as there are.
        weight: (units,) how often each unit counts, for a bootstrap; None is once.

    Returns:
        1 of full agreement, 0 of chance, below 0 of less than chance. NaN where no unit has two
        values, or all values are the same: chance would then agree as well.
    """
    units = list(units)
    times = np.ones(len(units)) if weight is None else weight
    totals: dict[Hashable, float] = {}
    observed = 0.0
    for values, often in zip(units, times, strict=True):
        if len(values) < 2:
            continue
        counts = Counter(values)
        unequal = len(values) ** 2 - sum(count**2 for count in counts.values())
        observed += often * unequal / (len(values) - 1)
        for value, count in counts.items():
            totals[value] = totals.get(value, 0) + often * count
    total = sum(totals.values())
    expected = total**2 - sum(count**2 for count in totals.values())
    if not expected > 0:
        return float("nan")
    return float(1 - (total - 1) * observed / expected)


def pairwise_agreement(
    units: Iterable[Sequence[Hashable]], *, without: Hashable = None
) -> PairwiseAgreement:
    """Share of equal votes among all pairs of votes on a unit, pooled over units.

    As FastChat counts the agreement of people (`llm_judge/compute_agreement.py`), whose setups are
    with ties, and without the votes for a tie.

    Args:
        units: the votes on each.
        without: a vote that is left out; None leaves out none.
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
