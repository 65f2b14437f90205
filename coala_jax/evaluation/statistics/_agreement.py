"""How far people who judged the same pair of answers agree."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from coala_jax._intervals import LEVEL, UNKNOWN, Interval
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.statistics._two_way import (
    clustered_variance,
    degrees_of_freedom,
    numbered,
    t_quantile,
)

# Of 1 + (m - 1) alpha, which is 0 where people agree as little as they can.
LEAST_ABOVE = 0.05
# Alphas that are all the same lie apart by rounding alone.
ROUNDING = 1e-9


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
    counts = _counts(*_numbered_values(units))
    return float(_alpha(_unequal(counts).sum(), counts.sum(0)))


def alpha_interval(
    values: Sequence[Hashable],
    participants: Sequence[str],
    units: Sequence[str],
    level: float = LEVEL,
) -> Interval:
    """`krippendorff_alpha` with an interval clustered by participant and by unit.

    Alpha compares pairs within units, so the jackknife's variance by unit is the least that there
    is. What participants vary beyond single values is added where it is positive: V_participant -
    V_value of what each value contributes, alpha less that of all other values. Student's t is that
    of `two_way_interval`. Alphas near 0 vary less than larger ones: the ends lie equally
    far from alpha in Fisher's z of an intraclass correlation, log((1 + (m - 1) alpha) / (1 -
    alpha)) / 2 with m values a unit on average (Fisher 1925, chapter VII). Units with one value
    count nowhere, as they do not in alpha.

    Args:
        values: (n,) that were given.
        participants: (n,) who gave them.
        units: (n,) what they were given to.
        level: coverage.

    Returns:
        NaN where alpha is none. NaN ends of a single unit or participant, and where one unit holds
        all that differs: without it every value is the same, which has no alpha for the jackknife.
        Ends that are alpha itself where it is the same without any unit, as of full agreement.

    Raises:
        EvaluationError: not as many participants or units as values.

    Example:
        >>> from coala_jax.evaluation.statistics import alpha_interval
        >>> found = alpha_interval(list("aababbbb"), list("ABABABAB"), list("wwxxyyzz"))
        >>> [round(end, 2) for end in found]
        [0.53, -1.0, 1.0]
    """
    if not len(values) == len(participants) == len(units):
        raise EvaluationError(
            f"values: {len(values)} of them, {len(participants)} participants and {len(units)} "
            "units; give a participant and a unit for each value"
        )
    unit = numbered(units)
    kept = np.bincount(unit)[unit] > 1
    if not kept.any():
        return UNKNOWN
    unit, value, people = (
        numbered(list(itertools.compress(names, kept))) for names in (units, values, participants)
    )
    counts = _counts(unit, value)
    unequal, by_value = _unequal(counts), counts.sum(0)
    whole = float(_alpha(unequal.sum(), by_value))
    without_unit = _alpha(unequal.sum() - unequal, by_value - counts)
    by_unit = (1 - 1 / len(counts)) * np.square(without_unit - without_unit.mean()).sum()
    others = counts[unit]
    others[np.arange(len(value)), value] -= 1
    others = _of_two_or_more(np.maximum(others, 0))
    without = _alpha(
        unequal.sum() - unequal[unit] + _unequal(others), by_value - counts[unit] + others
    )
    influence = without.mean() - without
    of_people = clustered_variance(influence, people) - np.square(influence).sum()
    error = np.sqrt(by_unit + np.maximum(of_people, 0))
    reach = t_quantile(level, degrees_of_freedom(people, unit)) * float(error)
    if reach != reach:
        return Interval(whole, reach, reach)
    if reach < ROUNDING:
        return Interval(whole, whole, whole)
    size = len(value) / len(counts)
    above = max(1 + (size - 1) * whole, LEAST_ABOVE)
    middle = np.log(above / (1 - whole)) / 2
    reach *= size / (2 * above * (1 - whole))
    raised = np.exp(2 * (middle + np.array([-reach, reach])))
    low, high = (raised - 1) / (raised + size - 1)
    return Interval(whole, min(float(low), whole), max(float(high), whole))


def _numbered_values(units: Iterable[Sequence[Hashable]]) -> tuple[np.ndarray, np.ndarray]:
    """Unit and value of each value that was given, both as numbers."""
    pairs = [(unit, value) for unit, values in enumerate(units) for value in values]
    return numbered([unit for unit, _ in pairs]), numbered([value for _, value in pairs])


def _counts(unit: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(units, values) how often each value was given; units with one value say nothing."""
    counts = np.zeros((unit.max(initial=0) + 1, value.max(initial=0) + 1))
    np.add.at(counts, (unit, value), 1)
    return _of_two_or_more(counts)


def _of_two_or_more(counts: np.ndarray) -> np.ndarray:
    return np.where(counts.sum(1, keepdims=True) > 1, counts, 0.0)


def _unequal(counts: np.ndarray) -> np.ndarray:
    """(units,) ordered pairs of different values, over the number of values less one."""
    total = counts.sum(1)
    return np.asarray((total**2 - np.square(counts).sum(1)) / np.maximum(total - 1, 1))


def _alpha(unequal: np.ndarray, by_value: np.ndarray) -> np.ndarray:
    """Alpha of all `_unequal` pairs and (..., values) counts; NaN where chance agrees as well."""
    total = by_value.sum(-1)
    expected = total**2 - np.square(by_value).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 0, 1 - (total - 1) * unequal / expected, np.nan)


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
