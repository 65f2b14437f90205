"""The planned analysis of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from coala_jax._intervals import UNKNOWN, Interval, share_interval
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.blind._choices import Choice, Person
from coala_jax.evaluation.blind._plan import Plan
from coala_jax.evaluation.statistics._agreement import (
    PairwiseAgreement,
    alpha_interval,
    pairwise_agreement,
    values_by_unit,
)
from coala_jax.evaluation.statistics._davidson import Davidson, davidson
from coala_jax.evaluation.statistics._sign_flip import holm, sign_flip_p
from coala_jax.evaluation.statistics._two_way import two_way_p, two_way_share
from coala_jax.evaluation.statistics._variance_shares import VarianceShares, variance_shares

TIE = "tie"
NO_PAIR = "no prompt has two choices"


class Comparison(NamedTuple):
    """Two systems beside each other.

    Attributes:
        first: name.
        second: name.
        won: choices for the first.
        tied: choices that say "about the same".
        lost: choices for the second.
        participants: who chose.
        prompts: that were shown.
        win_rate: of the first, a tie is half.
        p_prompts: of sign flips of prompts.
        p_participants: of sign flips of participants.
        p_two_way: of Student's t of the win rate's interval.
        p_holm: the largest of the three, by Holm over the comparisons.
        alpha: Krippendorff's, nominal in first, second and tie.
        without_alpha: why alpha, or its interval, is not known; None where both are.
        agreement: of pairs of people, ties included.
        agreement_without_ties: of those who chose one of the answers.
        characters: mean length of the answers of each.
        variance_shares: of a choice, the people's and the prompts'; for the size of a next study.
    """

    first: str
    second: str
    won: int
    tied: int
    lost: int
    participants: int
    prompts: int
    win_rate: Interval
    p_prompts: float
    p_participants: float
    p_two_way: float
    p_holm: float
    alpha: Interval
    without_alpha: str | None
    agreement: PairwiseAgreement
    agreement_without_ties: PairwiseAgreement
    characters: tuple[float, float]
    variance_shares: VarianceShares


class Findings(NamedTuple):
    """What the study found.

    Attributes:
        comparisons: those of the plan.
        davidson: strengths, of more than two systems; None of two, or where there are none.
        without_davidson: why there are none.
        left: share of choices for the left answer, a tie half.
        longer: share of choices for the longer answer, a tie half; answers of one length left out.
        consistent: share of repeats with the same answer.
        repeats: how many there were.
        seconds: quartiles over people of the median time for a pair.
    """

    comparisons: tuple[Comparison, ...]
    davidson: Davidson | None
    without_davidson: str | None
    left: Interval
    longer: Interval
    consistent: Interval
    repeats: int
    seconds: tuple[float, float, float]


def find(people: Sequence[Person], plan: Plan) -> Findings:
    """Analyse the choices of the people who count, as planned.

    Args:
        people: at least one.
        plan: of the study.

    Raises:
        EvaluationError: nobody counts.
    """
    if not people:
        raise EvaluationError("answers: nobody is left after the exclusions of the plan")
    choices = [choice for person in people for choice in person.choices]
    compared = [_compare(first, second, choices, plan) for first, second in plan.comparisons]
    # A NaN of one of the three stays one: such a comparison proves nothing.
    largest = [
        float(np.max([one.p_prompts, one.p_participants, one.p_two_way])) for one in compared
    ]
    adjusted = holm(largest)
    fit, reason = _strengths(choices, plan)
    longer = [one for one in choices if one.left_characters != one.right_characters]
    repeated = [(person, same) for person in people for same in person.repeated]
    low, middle, high = np.quantile([person.seconds for person in people], [0.25, 0.5, 0.75])
    return Findings(
        tuple(one._replace(p_holm=p) for one, p in zip(compared, adjusted, strict=True)),
        fit,
        reason,
        _share([one.worth for one in choices], choices, plan),
        _share(
            [
                one.worth if one.left_characters > one.right_characters else 1 - one.worth
                for one in longer
            ],
            longer,
            plan,
        ),
        share_interval(
            np.array([same for _, same in repeated], float),
            [person.submission.participant for person, _ in repeated],
        )
        if repeated
        else UNKNOWN,
        len(repeated),
        (float(low), float(middle), float(high)),
    )


def _compare(first: str, second: str, choices: Sequence[Choice], plan: Plan) -> Comparison:
    """A comparison, its p-value not yet adjusted."""
    its = [one for one in choices if {one.left, one.right} == {first, second}]
    if not its:
        nobody = PairwiseAgreement(0, 0)
        nan = float("nan")
        return Comparison(
            *(first, second, 0, 0, 0, 0, 0, UNKNOWN, nan, nan, nan, nan, UNKNOWN, NO_PAIR),
            *(nobody, nobody, (nan, nan), VarianceShares(nan, nan)),
        )
    worth = np.array([one.worth_of(first) for one in its])
    people, prompts = [one.participant for one in its], [one.question for one in its]
    votes = [{1.0: first, 0.5: TIE, 0.0: second}[value] for value in worth]
    units = list(values_by_unit(prompts, votes).values())
    alpha = alpha_interval(votes, people, prompts, plan.level)
    lengths = {
        (one.question, system): length
        for one in its
        for system, length in (
            (one.left, one.left_characters),
            (one.right, one.right_characters),
        )
    }
    return Comparison(
        first,
        second,
        *(votes.count(first), votes.count(TIE), votes.count(second)),
        *(len(set(people)), len(units)),
        _share(worth, its, plan),
        sign_flip_p(worth - 0.5, prompts),
        sign_flip_p(worth - 0.5, people),
        two_way_p(worth - 0.5, people, prompts),
        float("nan"),
        alpha,
        _without_alpha(alpha, units),
        pairwise_agreement(units),
        pairwise_agreement(units, without=TIE),
        _mean_lengths(lengths, first, second),
        variance_shares(worth, people, prompts),
    )


def _without_alpha(alpha: Interval, units: Sequence[Sequence[object]]) -> str | None:
    paired = [votes for votes in units if len(votes) > 1]
    if not paired:
        return NO_PAIR
    if alpha.mean != alpha.mean:
        return "all choices of prompts with two or more are the same"
    if alpha.low == alpha.low:
        return None
    if len(paired) == 1:
        return "no interval: a single prompt has two choices or more"
    return "no interval: without one of the prompts all choices would be the same"


def _mean_lengths(
    lengths: dict[tuple[str, str], int], first: str, second: str
) -> tuple[float, float]:
    """Mean over the prompts of the length of each system's answers."""
    of_first, of_second = (
        float(np.mean([length for (_, name), length in lengths.items() if name == system]))
        for system in (first, second)
    )
    return of_first, of_second


def _share(values: Any, choices: Sequence[Choice], plan: Plan) -> Interval:
    if not choices:
        return UNKNOWN
    people, prompts = [one.participant for one in choices], [one.question for one in choices]
    return two_way_share(np.array(values), people, prompts, plan.level)


def _strengths(choices: Sequence[Choice], plan: Plan) -> tuple[Davidson | None, str | None]:
    if len(plan.answers) < 3:
        return None, None
    try:
        fit = davidson(
            [one.left for one in choices],
            [one.right for one in choices],
            np.array([one.worth for one in choices]),
            [one.participant for one in choices],
            [one.question for one in choices],
            plan.level,
        )
    except EvaluationError as error:
        return None, str(error)
    return fit, None
