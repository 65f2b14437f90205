"""What comes out of a solve: statistics, history, certificate, and the results that hold them.

Pytrees of arrays, so that jit and vmap carry them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._errors import CoalaError
from coala_jax._head import Head
from coala_jax._status import SUCCESSES, SolveError, Status


class Phase1Stats(NamedTuple):
    """What Phase I reports about itself; scalar arrays.

    Attributes:
        status: int32 `Status` of Phase I.
        iterations: ADMM steps taken.
        cg_iterations: conjugate-gradient steps in all ADMM steps together.
        primal_value: objective (3) at the projected weights; the network's own objective (2).
        dual_bound: best lower bound of the optimum of (3) with these gates.
        relative_gap: (primal_value - dual_bound) / |dual_bound|.
        explained: (P(0) - primal_value) / (P(0) - dual_bound), P(0) the zero network's objective.
        cone_violation: max(-Gv)+ / max|Xv| of the ADMM weights before projection.
        primal_residual: relative primal residual of ADMM at its last check.
        dual_residual: relative dual residual of ADMM at its last check.
        lambda_max: group-lasso strength at which the optimal network certainly vanishes; NaN where
            `Config.strength_unit` does not ask for it.
        lambda_max_lower: strength at which it certainly does not, usually within 1 % of the other.
        group_lasso_strength: the absolute strength that was used.
        distinct_gates: gates with a pattern of their own that selects a row.
        active_neurons: neurons of the head that are not zero.
        constant_features: features without variance, which are ignored.
    """

    status: jax.Array
    iterations: jax.Array
    cg_iterations: jax.Array
    primal_value: jax.Array
    dual_bound: jax.Array
    relative_gap: jax.Array
    explained: jax.Array
    cone_violation: jax.Array
    primal_residual: jax.Array
    dual_residual: jax.Array
    lambda_max: jax.Array
    lambda_max_lower: jax.Array
    group_lasso_strength: jax.Array
    distinct_gates: jax.Array
    active_neurons: jax.Array
    constant_features: jax.Array


class Phase2Stats(NamedTuple):
    """What Phase II reports about itself; scalar arrays.

    Attributes:
        status: int32 `Status` of Phase II.
        epochs: passes over the data.
        loss: Phase II objective at the head, ridge included.
        gradient_norm: Euclidean norm of its gradient in theta2 at the head, as computed.
        excess: upper bound of loss - optimum, in nats a pair: gradient_norm^2 / (2 ridge) and
            what rounding may add to it, or the loss where that is smaller.
    """

    status: jax.Array
    epochs: jax.Array
    loss: jax.Array
    gradient_norm: jax.Array
    excess: jax.Array


class Stats(NamedTuple):
    """What a solve reports about itself, by phase."""

    phase1: Phase1Stats
    phase2: Phase2Stats

    @property
    def status(self) -> jax.Array:
        """int32 `Status` of both: the first phase that failed, else that of Phase I, a success."""
        first, second = self.phase1.status, self.phase2.status
        failed = ~jnp.isin(first, jnp.asarray(SUCCESSES))
        return jnp.where(failed | (second == Status.SOLVED), first, second)


class Phase1History(NamedTuple):
    """One entry per check, (max_iterations // check_every,); NaN after the last.

    Bounds are made at checks that may be the last, and stay what they were at the others.

    Attributes:
        iteration: ADMM steps taken until the check.
        primal_value: objective (3) at the best feasible weights so far; the optimum on the rays of
            the cones until a projection.
        dual_bound: best bound so far; zero, which bounds every loss, until one is made.
        relative_gap: certified gap; infinite until a bound is made.
        cone_violation: violation before projection.
        primal_residual: relative primal residual.
        dual_residual: relative dual residual.
    """

    iteration: jax.Array
    primal_value: jax.Array
    dual_bound: jax.Array
    relative_gap: jax.Array
    cone_violation: jax.Array
    primal_residual: jax.Array
    dual_residual: jax.Array

    def trim(self) -> Phase1History:
        """The checks that were made, without the NaN behind the last one, as `History.trim`."""
        return _trim(self, self.iteration)


class RewardMetrics(NamedTuple):
    """How well rewards order pairs; scalars, or one entry per epoch in a history.

    Attributes:
        loss: objective of Phase II on these pairs, in nats a pair, its ridge included: what
            training lowers.
        log_loss: the same without the ridge: the Bradley-Terry negative log-likelihood of eq 6
            or 9.
        reward_margin: mean of r(chosen) - r(rejected); TRL's `rewards/margins`.
        sigmoid_margin: mean of sigmoid(beta r(chosen)) - sigmoid(beta r(rejected)): the margin of
            Figure 1, in [-1, 1].
        accuracy: weighted share of pairs with r(chosen) > r(rejected), ties counted half; TRL's
            `rewards/accuracies` but for the ties.
    """

    loss: jax.Array
    log_loss: jax.Array
    reward_margin: jax.Array
    sigmoid_margin: jax.Array
    accuracy: jax.Array


class Phase2History(NamedTuple):
    """One entry per epoch, (max_epochs + 1,), the first before any step; NaN after the last.

    Attributes:
        train: metrics on the training pairs; their loss never rises.
        eval: metrics on `eval_features`, or None without them.
    """

    train: RewardMetrics
    eval: RewardMetrics | None

    def trim(self) -> Phase2History:
        """The epochs that were run and the entry before them, as `History.trim`."""
        return _trim(self, self.train.loss)


class History(NamedTuple):
    """Both phases, step by step."""

    phase1: Phase1History
    phase2: Phase2History

    def trim(self) -> History:
        """Both phases without the NaN behind their last entries, as numpy arrays.

        Raises:
            CoalaError: a history of several solves, whose elements end at different places.
        """
        return History(self.phase1.trim(), self.phase2.trim())


Traces = TypeVar("Traces", Phase1History, Phase2History)


def _trim(traces: Traces, clock: jax.Array) -> Traces:
    """Entries of (k,) traces up to the last one where `clock` is a number."""
    told = np.asarray(clock)
    if told.ndim != 1:
        raise CoalaError(
            f"history: trim() takes that of one solve, and its traces are {told.shape}: take an "
            "element first, jax.tree.map(lambda leaf: leaf[k], solution.history)"
        )
    entries = int(np.sum(~np.isnan(told)))
    return jax.tree.map(lambda trace: np.asarray(trace)[:entries], traces)


class Certificate(NamedTuple):
    """All that an outsider needs to recompute the certified gap of Phase I in plain numpy.

    Rows are the chosen response of each of n pairs and behind it the rejected one (m = 2n), or the
    members of the first of n groups of k, then those of the second, and so on (m = n k); features
    are standardised with `center` and `scale` and carry a last column of ones (D = d + 1). Arrays
    have the solver's dtype, float32 or float64, but for `patterns`.

    Attributes:
        center: (d,) subtracted from the features, as the head does.
        scale: (d,) divides the features; 1 where a feature is constant.
        gates: (P, D) gate vectors h_i.
        patterns: (P, m) boolean; D_i = 1(X h_i >= 0).
        labels: (m,) targets, +1 chosen and -1 rejected; for a pairwise loss (n,) offsets of the
            pairs, gamma plus margin; for one of groups (n, k) advantages, shares of the target, or
            how many scores are above each member's.
        row_weight: weights in the loss, shaped as `labels`.
        weights: (2, P, D) feasible weights (v, w) of program (3); (1, P, D) of a gated one.
        dual_point: dual variable r of z = S F u, shaped as `labels`.
        multipliers: (2, P, m) non-negative multipliers of G u >= 0; (1, P, m) zeros of a gated
            program.
        group_lasso_strength: absolute strength lambda_g.
        primal_value: objective (3) at `weights` and `linear`.
        dual_bound: dual objective at (`dual_point`, `multipliers`).
        linear: (d,) weights w of the linear path on standardised features, without the column of
            ones; None without `Config.linear_path`.
        linear_ridge: mu, of the penalty mu / 2 ||w||^2: `Params.linear_ridge` times the number of
            labels; None likewise.
    """

    center: jax.Array
    scale: jax.Array
    gates: jax.Array
    patterns: jax.Array
    labels: jax.Array
    row_weight: jax.Array
    weights: jax.Array
    dual_point: jax.Array
    multipliers: jax.Array
    group_lasso_strength: jax.Array
    primal_value: jax.Array
    dual_bound: jax.Array
    linear: jax.Array | None = None
    linear_ridge: jax.Array | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class _Ended:
    """What the results of a phase and of a whole solve share."""

    head: Head
    status: jax.Array
    stats: Any

    def raise_for_status(self: Result) -> Result:
        """Return self if every element was solved, else raise `SolveError` with the reasons.

        `SOLVED` passes, and `SOLVED_WITHOUT_GAP`, which a zero strength asks for.
        """
        codes = np.atleast_1d(np.asarray(self.status))
        failed = np.flatnonzero(~np.isin(codes, SUCCESSES))
        if failed.size:
            statuses = sorted({Status(int(codes[i])) for i in failed})
            where = f"{failed.size} of {codes.size} elements" if codes.size > 1 else "the solve"
            reasons = "; ".join(f"{status.name.lower()}: {status.text}" for status in statuses)
            raise SolveError(f"{where} failed: {reasons}")
        return self

    def summary(self) -> str:
        """Status and figures, a line each; of a sweep how many ended how, and ranges."""
        lines = [repr(self)]
        phases = self.stats._asdict() if isinstance(self.stats, Stats) else {"stats": self.stats}
        for phase, stats in phases.items():
            lines.append(phase)
            for name, value in stats._asdict().items():
                shown = _names(value) if name == "status" else _figure(value)
                lines.append(f"  {name:22}{shown}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        sizes = (*getattr(self.head.theta1, "shape", ())[-2:], 1)
        head = f"{type(self.head).__name__}({' -> '.join(map(str, sizes))})"
        return f"{type(self).__name__}(status={_names(self.status)}, head={head})"


Result = TypeVar("Result", bound=_Ended)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False)
class Phase1Solution(_Ended):
    """Result of `cronos`.

    Attributes:
        head: the network of Phase I on raw features: a `ConvexHead` of (d, 2P) with unused neurons
            zero, or a `GatedHead` of (d, P) for `Config(model="gated_relu")`.
        status: int32 `Status`.
        stats: scalars.
        history: one entry a check.
        certificate: what certifies it.
    """

    stats: Phase1Stats
    history: Phase1History
    certificate: Certificate


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False)
class Phase2Solution(_Ended):
    """Result of `finetune`.

    Attributes:
        head: the same first layer (neurons rescaled to unit reward differences), new theta2.
        status: int32 `Status`.
        stats: scalars.
        history: one entry an epoch.
    """

    stats: Phase2Stats
    history: Phase2History


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, repr=False)
class Solution(_Ended):
    """Result of `solve`.

    Attributes:
        head: the aligned reward head, a `ConvexHead` or `GatedHead`; takes raw features.
        status: int32 `Status` of the whole solve, `Stats.status`.
        stats: scalars of both phases.
        history: both phases step by step.
        certificate: what certifies Phase I.
    """

    stats: Stats
    history: History
    certificate: Certificate


def _names(status: Any) -> str:
    """Names of statuses, with their counts where there are several."""
    if not _is_known(status):
        return str(status)
    codes, counts = np.unique(np.asarray(status), return_counts=True)
    names = [Status(int(code)).name for code in codes]
    if np.ndim(status) == 0:
        return names[0]
    return ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))


def _figure(value: Any) -> str:
    """A figure to four digits; of several the least and the largest."""
    if not _is_known(value):
        return str(value)
    ends = [f"{end.item():.4g}" for end in (np.min(value), np.max(value))]
    return ends[0] if np.ndim(value) == 0 else " .. ".join(ends)


def _is_known(value: Any) -> bool:
    """Whether it has values to print: no tracer, no shape alone, not empty."""
    concrete = isinstance(value, jax.Array | np.ndarray | np.generic)
    return concrete and not isinstance(value, jax.core.Tracer) and np.size(value) > 0
