"""How many people a difference needs, where people and prompts both vary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from scipy.special import nctdtr, ndtri

from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.statistics._two_way import t_quantile

# No study asks more.
MOST_PEOPLE = 100_000


class Effect(NamedTuple):
    """A difference that a study should find, in the unit of one choice.

    Attributes:
        difference: of the mean from what it is without a difference.
        deviation: standard deviation of a single choice.
    """

    difference: float
    deviation: float


def pair_effect(share: float, ties: float = 0.0) -> Effect:
    """The effect of a win rate (a tie is half) in pairs of answers.

    Args:
        share: the win rate.
        ties: share of choices that are ties.

    Raises:
        EvaluationError: a share that cannot be, or more ties than it allows.

    Example:
        >>> from coala_jax.evaluation.statistics import pair_effect
        >>> effect = pair_effect(0.6, ties=0.2)
        >>> round(effect.difference, 3), round(effect.deviation, 3)
        (0.1, 0.436)
    """
    if not 0 < share < 1:
        raise EvaluationError(f"share={share} must lie between 0 and 1")
    if not 0 <= ties <= 2 * min(share, 1 - share):
        raise EvaluationError(
            f"ties={ties} must lie between 0 and {2 * min(share, 1 - share):.3g}: with more of "
            f"them no win rate is {share}"
        )
    return Effect(share - 0.5, math.sqrt(max(share * (1 - share) - ties / 4, 0.0)))


def choice_effect(first: float, second: float) -> Effect:
    """The effect of a difference of two shares of one choice among several answers.

    The two compete, so a choice is worth 1, -1 or 0: its variance is p + q - (p - q)^2, more than
    what the two intervals beside each other suggest.

    Args:
        first: share p of the choices.
        second: share q of the choices.

    Raises:
        EvaluationError: shares that cannot be of the same choices.

    Example:
        >>> from coala_jax.evaluation.statistics import choice_effect
        >>> effect = choice_effect(0.4, 0.3)
        >>> round(effect.difference, 3), round(effect.deviation, 3)
        (0.1, 0.831)
    """
    if not (first > 0 and second > 0 and first + second <= 1):
        raise EvaluationError(
            f"first={first}, second={second}: shares of the same choices are above 0 and together "
            "at most 1"
        )
    return Effect(first - second, math.sqrt(first + second - (first - second) ** 2))


def wald_margin(effect_deviation: float, choices: int, level: float = 0.95) -> float:
    """Half the width of the plain interval of independent choices: z deviation / sqrt(n).

    Args:
        effect_deviation: standard deviation of a choice; sqrt(p (1 - p)) of a share p.
        choices: n.
        level: coverage.

    Example:
        >>> from coala_jax.evaluation.statistics import wald_margin
        >>> round(wald_margin(0.5, 400), 3)
        0.049
    """
    return float(ndtri((1 + level) / 2)) * effect_deviation / math.sqrt(choices)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is fixed of a study before its people are counted.

    Attributes:
        items: prompts that each person judges, of this comparison.
        prompts: prompts there are, of which each person judges ``items``.
        icc_participant: share of a choice's variance that is the person's.
        icc_prompt: share of a choice's variance that is the prompt's.
        level: of the interval.
        power: chance that the interval leaves out "no difference".
    """

    items: float
    prompts: int
    icc_participant: float = 0.05
    icc_prompt: float = 0.1
    level: float = 0.95
    power: float = 0.8

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            EvaluationError: names the field, its value and what it may be.
        """
        if not 0 < self.items <= self.prompts:
            raise EvaluationError(
                f"items={self.items} must be above 0, at most prompts={self.prompts}"
            )
        if self.prompts < 2:
            raise EvaluationError(f"prompts={self.prompts} must be at least 2")
        for name in ("icc_participant", "icc_prompt"):
            if not 0 <= getattr(self, name) < 1:
                raise EvaluationError(f"{name}={getattr(self, name)} must be at least 0, below 1")
        if self.icc_participant + self.icc_prompt >= 1:
            raise EvaluationError(
                f"icc_participant={self.icc_participant}, icc_prompt={self.icc_prompt}: together "
                "below 1, the rest is of the single choice"
            )
        for name in ("level", "power"):
            if not 0 < getattr(self, name) < 1:
                raise EvaluationError(f"{name}={getattr(self, name)} must lie between 0 and 1")


class Precision(NamedTuple):
    """What a study of so many people can tell.

    Attributes:
        people: that were counted on.
        margin: half the width of the interval, in the unit of a choice.
        power: chance that the interval leaves out "no difference".
    """

    people: int
    margin: float
    power: float


def precision_of(effect: Effect, protocol: Protocol, people: int) -> Precision:
    """Margin and power of a study of so many people.

    The variance of a mean of two crossed random factors,

        V = deviation^2 (rho_p / P + rho_q / Q + (1 - rho_p - rho_q) / (P n)),

    of P people with n items each from Q prompts, and Student's t of min(P, Q) - 1 degrees of
    freedom, noncentral for the power.

    Args:
        effect: to be found.
        protocol: of the study.
        people: P, at least 2.

    Raises:
        EvaluationError: fewer than two people.

    Example:
        >>> from coala_jax.evaluation.statistics import Protocol, pair_effect, precision_of
        >>> protocol = Protocol(items=20, prompts=60, icc_participant=0.05, icc_prompt=0.1)
        >>> found = precision_of(pair_effect(0.6), protocol, people=40)
        >>> round(float(found.margin), 2), round(float(found.power), 2)
        (0.06, 0.88)
    """
    if people < 2:
        raise EvaluationError(f"people={people} must be at least 2")
    error = math.sqrt(_variance(effect, protocol, people))
    degrees = min(people, protocol.prompts) - 1
    reach = t_quantile(protocol.level, degrees)
    if not error > 0:
        return Precision(people, 0.0, 1.0)
    away = abs(effect.difference) / error
    power = 1 - nctdtr(degrees, away, reach) + nctdtr(degrees, away, -reach)
    return Precision(people, reach * error, float(power))


def people_needed(effect: Effect, protocol: Protocol) -> Precision:
    """The fewest people with which a study finds an effect with the power asked for.

    Args:
        effect: to be found.
        protocol: of the study.

    Raises:
        EvaluationError: no difference, or prompts so few that no number of people is enough.

    Example:
        >>> from coala_jax.evaluation.statistics import Protocol, pair_effect, people_needed
        >>> protocol = Protocol(items=20, prompts=60, icc_participant=0.05, icc_prompt=0.1)
        >>> people_needed(pair_effect(0.65), protocol).people
        11
    """
    if effect.difference == 0:
        raise EvaluationError("difference=0: no number of people finds it; state one to be found")
    few, many = 1, 2
    while precision_of(effect, protocol, many).power < protocol.power:
        few, many = many, many * 2
        if many > MOST_PEOPLE:
            floor = t_quantile(protocol.level, protocol.prompts - 1) * math.sqrt(
                effect.deviation**2 * protocol.icc_prompt / protocol.prompts
            )
            raise EvaluationError(
                f"prompts={protocol.prompts}: of so few prompts the interval stays "
                f"± {100 * floor:.1f} points wide however many people answer, too wide for "
                f"{100 * abs(effect.difference):.1f} points; take more prompts"
            )
    while many - few > 1:  # power grows with people
        middle = (few + many) // 2
        if precision_of(effect, protocol, middle).power < protocol.power:
            few = middle
        else:
            many = middle
    return precision_of(effect, protocol, many)


def _variance(effect: Effect, protocol: Protocol, people: int) -> float:
    rest = 1 - protocol.icc_participant - protocol.icc_prompt
    shares = (
        protocol.icc_participant / people
        + protocol.icc_prompt / protocol.prompts
        + rest / (people * protocol.items)
    )
    return effect.deviation**2 * shares
