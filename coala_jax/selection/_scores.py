"""How good left-out reward differences are, and which candidate they speak for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from coala_jax._accuracy import margin_accuracy
from coala_jax._calibration import fit_temperature, log_losses
from coala_jax._intervals import cluster_standard_error
from coala_jax._status import SolveError, Status

# Standard errors by which a network must have less loss than the linear path.
_ERRORS_OF_LINEAR = 2.0

Rule = Literal["minimum", "one_standard_error"]


class Strengths(NamedTuple):
    """What distinguishes candidates.

    Attributes:
        group_lasso: `Params.group_lasso`; infinite for the linear path alone.
        linear_ridge: `Params.linear_ridge`; None without a linear path.
        ridge: `Params.ridge` of Phase II; None for no Phase II.
    """

    group_lasso: float
    linear_ridge: float | None
    ridge: float | None


class Candidate(NamedTuple):
    """One choice of strengths, and what left-out pairs say of it.

    Attributes:
        group_lasso, linear_ridge, ridge: its `Strengths`.
        log_loss: mean Bradley-Terry log loss of left-out pairs at `temperature`, nats a pair;
            infinite where a fold broke down, so that it is never chosen.
        standard_error: of `log_loss`, clustered by group.
        accuracy: share of left-out pairs ordered right, ties half.
        temperature: what divides reward differences so that the log loss of the pairs that were
            left out is least.
    """

    group_lasso: float
    linear_ridge: float | None
    ridge: float | None
    log_loss: float
    standard_error: float
    accuracy: float
    temperature: float


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """A candidate with the margins (n,) of left-out pairs and their losses (n,)."""

    candidate: Candidate
    margins: np.ndarray
    losses: np.ndarray


def score(
    margins: np.ndarray, strengths: Strengths, *, groups: Sequence[str], weight: np.ndarray
) -> Scored:
    """A candidate of (n,) left-out margins; groups and weights are those of the pairs."""
    if not np.isfinite(margins).all():
        broken = Candidate(*strengths, math.inf, math.inf, 0.0, 1.0)
        return Scored(broken, margins, np.full(len(margins), math.inf))
    temperature = fit_temperature(margins, weight)
    losses = log_losses(margins, temperature)
    right = margin_accuracy(margins)
    candidate = Candidate(
        *strengths,
        log_loss=float(np.average(losses, weights=weight)),
        standard_error=cluster_standard_error(losses, groups, weight),
        accuracy=float(np.average(right, weights=weight)),
        temperature=temperature,
    )
    return Scored(candidate, margins, losses)


def on_pairs(scored: Scored, rows: np.ndarray, weight: np.ndarray) -> Scored:
    """What the pairs of a (n,) mask alone say of a candidate, at the temperature of all."""
    margins, losses = scored.margins[rows], scored.losses[rows]
    right = margin_accuracy(margins)
    candidate = scored.candidate._replace(
        log_loss=float(np.average(losses, weights=weight[rows])),
        accuracy=float(np.average(right, weights=weight[rows])),
    )
    return Scored(candidate, margins, losses)


def choose(scored: Sequence[Scored], groups: Sequence[str], weight: np.ndarray, rule: Rule) -> int:
    """The index of the choice among candidates in order of growing complexity.

    With `"minimum"` the one of the least log loss. With `"one_standard_error"` the first whose loss
    is above the best by at most one standard error of the difference, pair by pair. The linear path
    gives way to a network only on more evidence, two standard errors, since the best of some thirty
    candidates is the best by chance too; and those that order fewer pairs right than it are no
    candidates: a lower log loss may come from pairs that are easy.

    Raises:
        SolveError: all candidates broke down.
    """

    def loss(index: int) -> float:
        return scored[index].candidate.log_loss

    whole = [index for index in range(len(scored)) if math.isfinite(loss(index))]
    if not whole:
        raise SolveError(
            f"all {len(scored)} candidates broke down on left-out groups: {Status.BREAKDOWN.text}"
        )
    if rule == "minimum":
        return min(whole, key=loss)
    least = scored[0].candidate.accuracy
    orderly = [index for index in whole if scored[index].candidate.accuracy >= least]
    best = min(orderly, key=loss)
    for index in orderly:
        excess = scored[index].losses - scored[best].losses
        errors = _ERRORS_OF_LINEAR if math.isinf(scored[index].candidate.group_lasso) else 1.0
        allowed = errors * cluster_standard_error(excess, groups, weight)
        if np.average(excess, weights=weight) <= allowed:
            return index
    return best
