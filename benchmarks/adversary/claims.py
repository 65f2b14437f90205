"""Which claims of a solve are false: what it reports against what an independent judge found."""

from __future__ import annotations

from typing import Any

import numpy as np
from adversary.phase1 import Phase1Truth
from adversary.phase2 import Phase2Truth

from coala_jax import Status

# Tolerances of Params may be exceeded by this share, and shares missed by this much: a certified
# share is of bounds that allow for rounding.
_GAP_SLACK = 1.01
_SHARE_SLACK = 0.01
# Claimed values and bounds may be off by so many resolutions of their dtype, as a share of the zero
# network's objective, and by what the judge itself may be off.
_VALUE_SLACK = 80
_JUDGE_SLACK = 1e-10
# A zero network is not optimal where another is better by so many of them.
_BETTER = 800
# What the pull of all rows at zero may be off by in the dtype of the solver, which sums in chunks.
SURE_ROUNDINGS = 40
# How far outside its bounds lambda_max may be: the judge's own projections end there.
_LAMBDA_SLACK = 1e-3
# Centres and scales are units, not claims: what counts is that they are those of the rows. In half
# precision a column may be known to a hundredth of a deviation.
_STANDARDISATION_SLACK = 1e-2
# Labels of groups may be off by so many resolutions of their dtype, as a share of the largest.
_LABEL_SLACK = 40
# Weights that much smaller than their mean are none in float32.
_LOST_WEIGHT = 1e-30
_LOOSER = 3.0
# Norms of gradients may be off by this share and by so many resolutions of their dtype.
_GRADIENT_SHARE, _GRADIENT_SLACK = 0.05, 160
# So may the loss of Phase II, as a share of that of zero weights: rounding of differences of pairs
# that are nearly equal.
_LOSS_SLACK = 800
# The excess may be off by this share of the loss of zero weights: it is a difference of two.
_EXCESS_SLACK = 1e-8
# Statuses of Phase II that come with a bound of the excess.
_WITH_EXCESS = {"SOLVED", "EPOCH_LIMIT", "ROUNDING_LIMIT"}
_WITH_BOUNDS = {
    "SOLVED",
    "SOLVED_INACCURATE",
    "SOLVED_WITHOUT_GAP",
    "ITERATION_LIMIT",
    "NOTHING_TO_EXPLAIN",
    "HEAD_DIFFERS",
}
_OF_A_ZERO_NETWORK = {"ZERO_NETWORK", "NOTHING_TO_EXPLAIN"}
_REFUSED = {"NOT_FINITE_INPUT", "INVALID_PARAMETER"}


def status_name(code: Any) -> str:
    """The name of a status."""
    return Status(int(code)).name


def input_claims(valid: bool, status: str) -> list[str]:
    """False statements about the input."""
    if valid:
        return ["valid input refused"] if status in _REFUSED else []
    return [] if status == "NOT_FINITE_INPUT" else ["invalid input taken"]


def phase1_claims(stats: Any, params: Any, truth: Phase1Truth) -> list[str]:
    """Kinds of false claims of Phase I.

    Args:
        stats: `Phase1Stats` with Python numbers.
        params: of the solve.
        truth: of its saved head.
    """
    status = status_name(stats.status)
    resolution = _resolution(stats.dual_bound)
    found = []
    if status in ("SOLVED", "SOLVED_INACCURATE"):
        looser = 1.0 if status == "SOLVED" else _LOOSER
        unexplained = looser * (1 - params.explained_minimum)
        if not truth.gap <= _GAP_SLACK * looser * params.gap_tolerance + 8 * resolution:
            found.append("gap")
        if not 1 - truth.explained <= unexplained + _SHARE_SLACK:
            found.append("explained")
        if not stats.relative_gap >= 0:
            found.append("negative gap")
        if not stats.explained <= 1:
            found.append("explained above one")
    slack = _VALUE_SLACK * resolution * truth.zero_value
    if status in _WITH_BOUNDS:
        if stats.dual_bound > stats.primal_value:
            found.append("bound above value")
        if stats.dual_bound > truth.dual_bound + slack:
            found.append("bound")
        if not truth.certified_value <= stats.primal_value + slack:
            found.append("certified value")
        if status != "HEAD_DIFFERS" and not truth.primal_value <= stats.primal_value + slack:
            found.append("value")
    if status in _OF_A_ZERO_NETWORK and _better_is_known(truth, _BETTER * resolution):
        found.append("zero")
    if status in _WITH_BOUNDS | _OF_A_ZERO_NETWORK:
        found += _premises(stats, truth, resolution)
    return found


def _resolution(figure: Any) -> float:
    """Of a figure's dtype, as a share of it, or that of the judge where it is the coarser one."""
    return float(np.finfo(np.asarray(figure).dtype).eps) + _JUDGE_SLACK / _VALUE_SLACK


def _better_is_known(truth: Phase1Truth, share: float) -> bool:
    """Whether a model is better than both the head and zero by a share of zero's objective.

    Where rows pull at the probe by rounding alone no network is.
    """
    best = min(truth.primal_value, truth.zero_value)
    pulled = truth.lambda_max > SURE_ROUNDINGS * truth.pull_rounding
    better = truth.better_value if pulled else truth.probe_value
    return bool(better < best - share * truth.zero_value)


def _premises(stats: Any, truth: Phase1Truth, resolution: float) -> list[str]:
    """What every certificate says beside its bounds."""
    found = []
    if truth.outside_cones:
        found.append("cones")
    if truth.wrong_patterns:
        found.append("patterns")
    if truth.standardisation_error > _STANDARDISATION_SLACK:
        found.append("standardisation")
    if truth.lost_weight > _LOST_WEIGHT:
        found.append("lost weight")
    if truth.label_error > _LABEL_SLACK * resolution:
        found.append("labels")
    known = np.isfinite(truth.lambda_max) and np.isfinite(stats.lambda_max)
    if known and truth.lambda_max > SURE_ROUNDINGS * truth.pull_rounding:
        low, high = stats.lambda_max_lower, stats.lambda_max
        if not (1 - _LAMBDA_SLACK) * low <= truth.lambda_max <= (1 + _LAMBDA_SLACK) * high:
            found.append("lambda_max")
    return found


def phase2_claims(stats: Any, params: Any, truth: Phase2Truth, objective: str) -> list[str]:
    """Kinds of false claims of Phase II; arguments as for `phase1_claims`.

    Where the objective is "none" the head is measured, and SOLVED says nothing of its excess.
    """
    status, resolution = status_name(stats.status), _resolution(stats.loss)
    allowed = params.excess_tolerance * truth.zero_loss
    slack = _EXCESS_SLACK * truth.zero_loss
    found = []
    if status in _WITH_EXCESS and not truth.excess <= stats.excess + slack:
        found.append("bound of the excess")
    if status != "SOLVED":  # loss and gradient are those computed, and may be rounding
        return found
    if objective != "none" and not truth.excess <= allowed + slack:
        found.append("excess")
    if not truth.loss <= stats.loss + _LOSS_SLACK * resolution * truth.zero_loss:
        found.append("loss")
    steepest = (1 + _GRADIENT_SHARE) * stats.gradient_norm + _GRADIENT_SLACK * resolution
    if not truth.gradient_norm <= steepest:
        found.append("gradient")
    return found
