"""Davidson's model: strengths of systems from pairwise choices with ties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag
from scipy.sparse.csgraph import connected_components
from scipy.special import logsumexp, softmax

from coala_jax._intervals import LEVEL, Interval
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.statistics._two_way import (
    degrees_of_freedom,
    t_quantile,
    two_way_error,
)

# Newton's steps on a smooth convex function of few parameters; ten are usual.
MOST_STEPS = 100
GRADIENT_TOLERANCE = 1e-10


class Davidson(NamedTuple):
    """A fit of Davidson's model.

    Attributes:
        strengths: log strength of each system with its interval; they sum to zero.
        tie: log of the tie parameter nu with its interval; -inf where no choice was a tie, and the
            model is then that of Bradley and Terry.
    """

    strengths: dict[str, Interval]
    tie: Interval


def davidson(
    first: Sequence[str],
    second: Sequence[str],
    values: np.ndarray,
    participants: Sequence[str],
    prompts: Sequence[str],
    level: float = LEVEL,
) -> Davidson:
    """Fit Davidson's model by maximum likelihood; intervals clustered by participant and prompt.

    With strengths pi (Davidson 1970, equation 2.4),

        P(i over j) = pi_i / D,  P(tie) = nu sqrt(pi_i pi_j) / D,  D = pi_i + pi_j
        + nu sqrt(pi_i pi_j).

    In log pi and log nu the log likelihood is concave; it is maximised by Newton's method.
    Intervals are those of `two_way_interval` on the influence of each choice, a sandwich.

    Args:
        first: (n,) names of systems.
        second: (n,) names of those they were compared with.
        values: (n,) 1 where the first was chosen, 0.5 of a tie, 0 where the second was.
        participants: (n,) names.
        prompts: (n,) names.
        level: coverage.

    Raises:
        EvaluationError: no choices, another value, or no finite maximum: all choices are ties, or
            some systems were never chosen over, nor tied with, the others.

    Example:
        >>> import numpy as np
        >>> from coala_jax.evaluation.statistics import davidson
        >>> values = np.array([1, 1, 0.5, 0, 1, 0.5, 1, 0])
        >>> people, prompts = list("AABBCCDD"), list("xyxyxyxy")
        >>> fit = davidson(["head"] * 8, ["plain"] * 8, values, people, prompts)
        >>> round(float(fit.strengths["head"].mean), 2)
        0.35
    """
    values = np.asarray(values, np.float64)
    if not len(values) or not np.isin(values, (0.0, 0.5, 1.0)).all():
        raise EvaluationError("values: 1, 0.5 and 0 are expected, and at least one of them")
    names = sorted({*first, *second})
    left, right = (np.array([names.index(name) for name in side]) for side in (first, second))
    if (left == right).any():
        raise EvaluationError("first, second: a system is compared with itself; leave it out")
    _require_finite_maximum(names, left, right, values)
    with_ties = bool((values == 0.5).any())
    basis = _zero_sum_basis(len(names), with_ties)
    designs = _log_weights(left, right, len(names), with_ties) @ basis
    outcome = ((1 - values) * (len(designs) - 1)).astype(int)
    chosen = designs[outcome, np.arange(len(values))]
    free = _maximum(designs, chosen)
    scores, information = _scores(free, designs, chosen)
    influence = scores @ np.linalg.inv(information) @ basis.T
    error = two_way_error(influence, participants, prompts)
    reach = t_quantile(level, degrees_of_freedom(participants, prompts)) * error
    intervals = [
        Interval(float(value), float(value - by), float(value + by))
        for value, by in zip(basis @ free, reach, strict=True)
    ]
    none = Interval(-np.inf, float("nan"), float("nan"))
    tie = intervals.pop() if with_ties else none
    return Davidson(dict(zip(names, intervals, strict=True)), tie)


def _zero_sum_basis(systems: int, with_ties: bool) -> np.ndarray:
    """(k, k - 1) orthonormal: strengths that sum to zero, and the log tie parameter."""
    mean = np.full((systems, 1), systems**-0.5)
    across = np.linalg.qr(np.hstack([mean, np.eye(systems)[:, 1:]]))[0][:, 1:]
    return block_diag(across, np.eye(int(with_ties)))


def _log_weights(left: np.ndarray, right: np.ndarray, systems: int, with_ties: bool) -> np.ndarray:
    """(outcomes, n, k) coefficients of the parameters in the log weights: won, [tied,] lost."""
    won, lost = (np.eye(systems + with_ties)[side] for side in (left, right))
    if not with_ties:
        return np.stack([won, lost])
    tied = (won + lost) / 2
    tied[:, -1] = 1.0
    return np.stack([won, tied, lost])


def _maximum(designs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Parameters of the largest likelihood, by Newton's method with halved steps."""
    parameters = np.zeros(designs.shape[-1])
    for _ in range(MOST_STEPS):
        scores, information = _scores(parameters, designs, chosen)
        gradient = scores.sum(0)
        if np.abs(gradient).max() <= GRADIENT_TOLERANCE * len(chosen):
            break
        step = np.linalg.solve(information, gradient)
        likelihood = _log_likelihood(parameters, designs, chosen)
        # A step that rounding alone decides may lower it by as little.
        lowest = likelihood - 1e-12 * abs(likelihood)
        while _log_likelihood(parameters + step, designs, chosen) < lowest:
            step = step / 2
        parameters = parameters + step
    return parameters


def _log_likelihood(parameters: np.ndarray, designs: np.ndarray, chosen: np.ndarray) -> float:
    return float((chosen @ parameters - logsumexp(designs @ parameters, axis=0)).sum())


def _scores(
    parameters: np.ndarray, designs: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) gradients of the log likelihood of each choice, and the (k, k) information."""
    likely = softmax(designs @ parameters, axis=0)[..., None]
    mean = (likely * designs).sum(0)
    second = np.einsum("onk,onl->kl", likely * designs, designs)
    return chosen - mean, second - mean.T @ mean


def _require_finite_maximum(
    names: list[str], left: np.ndarray, right: np.ndarray, values: np.ndarray
) -> None:
    """Ford's condition: of any two parts, each was at least once not worse than the other."""
    if (values == 0.5).all():
        raise EvaluationError("values: every choice is a tie, so no strength can be told")
    not_worse = np.zeros((len(names), len(names)))
    np.add.at(not_worse, (left[values > 0], right[values > 0]), 1)
    np.add.at(not_worse, (right[values < 1], left[values < 1]), 1)
    parts, part = connected_components(not_worse, directed=True, connection="strong")
    if parts > 1:
        alone = [name for name, its in zip(names, part, strict=True) if its == part[0]]
        raise EvaluationError(
            f"values: no choice puts {', '.join(alone)} and the other systems both ways, so their "
            "strengths are infinitely far apart; win rates tell what there is to tell"
        )
