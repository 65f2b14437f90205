"""The types a caller sees: what goes into `solve` and what comes out of it.

Leaves of `Params` vary in a sweep and never recompile; fields of `Config` change shapes or the
program and are static. Everything else is a NamedTuple of arrays, so that jit and vmap carry it.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._errors import CoalaError
from coala_jax._head import Head

# A float, a numpy or jax scalar, traced or batched: what a leaf of Params may be.
Scalar: TypeAlias = Any


class PreferenceFeatures(NamedTuple):
    """Frozen features of preference pairs; row j of both arrays answers the same prompt.

    Attributes:
        chosen: (n, d) features of the preferred responses; float16, bfloat16, float32 or float64.
        rejected: (n, d) features of the other responses, same shape and dtype kind.
        weight: (n,) non-negative weight of each pair in both losses, or None for 1 each. Weights
            are divided by their mean, so only their ratios matter.
        margin: (n,) extra margin of each pair in the Bradley-Terry loss (TRL's `margin` column),
            added to `Params.gamma`, or None for 0 each.
    """

    chosen: jax.Array | np.ndarray
    rejected: jax.Array | np.ndarray
    weight: jax.Array | np.ndarray | None = None
    margin: jax.Array | np.ndarray | None = None


class Params(NamedTuple):
    """Scalars of one solve; each leaf may be traced, batched by vmap and swept without recompiling.

    Attributes:
        rho: ADMM penalty of Algorithm 2 as a multiple of the one that suits the strength and the
            loss (`convex.penalties.PENALTY_SHARE`); > 0. It moves the path to the optimum, not the
            optimum: lower it when the dual bound lags, raise it when the cones do.
        group_lasso: strength of the group penalty of eq 3, as a fraction of the critical one at
            which the optimal network vanishes, unless `Config.strength_unit` says otherwise; >= 0.
            (The paper calls the absolute strength beta.) At 0 no gap can be certified, and the
            status says so.
        beta: reward scale of the Bradley-Terry loss (eq 7); > 0.
        gamma: offset of the Bradley-Terry loss (eq 6), in Phase II and in a pairwise Phase I.
        ridge: coefficient of ||theta2||^2 / 2 in the Phase II objective, in which every neuron's
            reward difference has unit root mean square; > 0, so that an optimum exists.
        learning_rate: AdamW step size that Phase II starts from; > 0. It adapts by itself.
        weight_decay: decoupled decay of AdamW; >= 0. The default is 0 because decoupled decay
            minimises no fixed objective; use `ridge`.
        gap_tolerance: largest certified relative duality gap that counts as solved.
        violation_tolerance: largest relative cone violation before projection that counts.
        residual_tolerance: largest relative ADMM residual (primal and dual) that counts.
        explained_minimum: smallest share of the possible improvement over the zero network that
            counts (`Stats.explained`).
        gradient_tolerance: Phase II stops when the Euclidean norm of its gradient is below this.
    """

    rho: Scalar = 1.0
    group_lasso: Scalar = 0.05
    beta: Scalar = 1.0
    gamma: Scalar = 0.0
    ridge: Scalar = 1e-3
    learning_rate: Scalar = 0.02
    weight_decay: Scalar = 0.0
    gap_tolerance: Scalar = 1e-2
    violation_tolerance: Scalar = 1e-2
    residual_tolerance: Scalar = 1e-2
    explained_minimum: Scalar = 0.9
    gradient_tolerance: Scalar = 1e-4


Precision = Literal["highest", "high", "default"]


@dataclasses.dataclass(frozen=True)
class Config:
    """What changes shapes or the program: hashable, static under jit, free of arrays and keys.

    Attributes:
        n_gates: number P of sampled gates, with distinct patterns; the network has at most 2P
            neurons, or P gated ones.
        strength_unit: `"critical"` takes `Params.group_lasso` as a fraction of the critical
            strength, so that one value serves every data set; `"absolute"` as lambda_g itself,
            and then the critical strength is not computed (NaN in `Stats`).
        model: kind of convex network; `"relu"` (with the cone constraints of eq 3), or
            `"gated_relu"` (without them, Mishkin et al. 2022), whose head carries its gates; one
            of the sampled gates is then open everywhere, so that linear rewards are included.
        phase1_loss: loss of Phase I, a name in `coala_jax.convex.losses.LOSSES`: `"squared"` (the
            paper), `"logistic"`, `"squared_hinge"` and `"huber"` on labels +-1 of single
            responses, or `"bradley_terry"` on pairs, with `Params.gamma` and margins.
        phase2_objective: `"pairwise"` (eq 6) or `"pointwise"` (eq 9).
        max_iterations: cap of ADMM steps in Phase I.
        check_every: ADMM steps between two certificates.
        adapt_rho: let Phase I move rho towards equal residuals, after certificates 1, 2, 4, 8, ...;
            `Params.rho` is then where it starts.
        adapt_rows: give tight and slack rows of the cones penalties of their own, at the same
            certificates. Far fewer steps, for one inverse a block each time and
            2 P (d + 1)^2 floats of memory; without, one inverse serves the whole solve.
        max_cg_iterations: cap of conjugate-gradient steps within one ADMM step.
        max_epochs: cap of Phase II passes over the data.
        batch_size: pairs per AdamW step; None means all at once.
        sweep: how a vmapped Phase I runs: `"sequential"`, element after element, each to its own
            end, or `"lockstep"`, all at once until the last one ends, which is for devices that a
            single solve leaves idle.
        precision: matmul precision; `"highest"` keeps float32 products out of TF32 on GPUs.
    """

    n_gates: int = 16
    strength_unit: Literal["critical", "absolute"] = "critical"
    model: Literal["relu", "gated_relu"] = "relu"
    phase1_loss: str = "squared"
    phase2_objective: Literal["pairwise", "pointwise"] = "pairwise"
    max_iterations: int = 4000
    check_every: int = 25
    adapt_rho: bool = True
    adapt_rows: bool = True
    max_cg_iterations: int = 30
    max_epochs: int = 1000
    batch_size: int | None = None
    sweep: Literal["sequential", "lockstep"] = "sequential"
    precision: Precision = "highest"

    def __post_init__(self) -> None:
        """Reject values that no program can be built from."""
        counts = ("n_gates", "max_iterations", "check_every", "max_cg_iterations", "max_epochs")
        for name in counts:
            _require_positive_integer(name, getattr(self, name))
        if self.batch_size is not None:
            _require_positive_integer("batch_size", self.batch_size)
        if self.check_every > self.max_iterations:
            raise ValueError(
                f"check_every={self.check_every} exceeds max_iterations={self.max_iterations}: "
                "no certificate would ever be made; lower check_every"
            )
        _require_one_of("strength_unit", self.strength_unit, ("critical", "absolute"))
        _require_one_of("model", self.model, ("relu", "gated_relu"))
        _require_one_of("phase2_objective", self.phase2_objective, ("pairwise", "pointwise"))
        _require_one_of("sweep", self.sweep, ("sequential", "lockstep"))
        _require_one_of("precision", self.precision, ("highest", "high", "default"))


def _require_positive_integer(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"Config.{name} must be a positive integer, got {value!r}")


def _require_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"Config.{name} must be one of {', '.join(allowed)}; got {value!r}")


class Status(enum.IntEnum):
    """How a solve ended. An int32 array under transforms: `Status(int(array))` gives the name."""

    SOLVED = 0
    ITERATION_LIMIT = 1
    EPOCH_LIMIT = 2
    ZERO_NETWORK = 3
    INVALID_PARAMETER = 4
    NOT_FINITE_INPUT = 5
    BREAKDOWN = 6
    SOLVED_LOOSELY = 7
    SOLVED_WITHOUT_GAP = 8

    @property
    def text(self) -> str:
        """What happened and what to change, for people."""
        return _STATUS_TEXT[self]


# What `Solution.raise_for_status` lets pass.
SUCCESSES = (Status.SOLVED, Status.SOLVED_WITHOUT_GAP)

_STATUS_TEXT = {
    Status.SOLVED: "solved: certified gap, cone violation, residuals and explained share are all "
    "within their tolerances, and Phase II reached its gradient tolerance",
    Status.ITERATION_LIMIT: "Phase I reached Config.max_iterations before its tolerances were met: "
    "raise the cap, move Params.rho (lower when the gap lags, higher when the cone violation "
    "lags), or loosen the tolerance that Stats shows unmet",
    Status.EPOCH_LIMIT: "Phase II reached Config.max_epochs above Params.gradient_tolerance: raise "
    "the cap, Params.ridge or Params.learning_rate, or loosen the tolerance",
    Status.ZERO_NETWORK: "the optimal network is zero: Params.group_lasso is at or above the "
    "critical strength, lower it; or chosen and rejected have the same features, so that there is "
    "nothing to learn",
    Status.INVALID_PARAMETER: "a leaf of Params is out of its range: rho, beta, ridge and "
    "learning_rate must be > 0, group_lasso, weight_decay and the tolerances >= 0, and all finite",
    Status.NOT_FINITE_INPUT: "the features, weights or margins hold NaN or infinity, or the "
    "weights are negative or all zero: clean the input",
    Status.BREAKDOWN: "the iteration produced NaN or infinity from finite input: lower Params.rho "
    "or Params.learning_rate, or enable x64",
    Status.SOLVED_LOOSELY: "solved to tolerances three times as large: Phase I reached "
    "Config.max_iterations short of those of Params; raise the cap, or accept what Stats shows",
    Status.SOLVED_WITHOUT_GAP: "solved as far as residuals and cone violation tell: with "
    "Params.group_lasso = 0 the dual bound is trivial and certifies no gap",
}


class Stats(NamedTuple):
    """What a solve reports about itself; scalar arrays.

    Attributes:
        status: int32 `Status` of the whole solve: the first phase that failed, else that of
            Phase I, a success.
        phase1_status: int32 `Status` of Phase I.
        phase2_status: int32 `Status` of Phase II.
        iterations: ADMM steps taken.
        cg_iterations: conjugate-gradient steps in all ADMM steps together.
        primal_value: objective (3) at the projected weights; the network's own objective (2).
        dual_bound: best lower bound of the optimum of (3) with these gates.
        relative_gap: (primal_value - dual_bound) / |dual_bound|.
        explained: (P(0) - primal_value) / (P(0) - dual_bound), P(0) the zero network's objective.
        cone_violation: max(-Gv)+ / max|Xv| of the ADMM weights before projection.
        primal_residual: relative primal residual of ADMM at its last check.
        dual_residual: relative dual residual of ADMM at its last check.
        critical_strength: group-lasso strength at which the optimal network vanishes, from above
            within 1 %.
        group_lasso_strength: the absolute strength that was used.
        distinct_gates: gates with a pattern of their own that selects a row.
        active_neurons: neurons of the head that are not zero.
        constant_features: features without variance, which are ignored.
        epochs: Phase II passes over the data.
        loss: Phase II objective at the head, ridge included.
        gradient_norm: Euclidean norm of the Phase II gradient at the head.
    """

    status: jax.Array
    phase1_status: jax.Array
    phase2_status: jax.Array
    iterations: jax.Array
    cg_iterations: jax.Array
    primal_value: jax.Array
    dual_bound: jax.Array
    relative_gap: jax.Array
    explained: jax.Array
    cone_violation: jax.Array
    primal_residual: jax.Array
    dual_residual: jax.Array
    critical_strength: jax.Array
    group_lasso_strength: jax.Array
    distinct_gates: jax.Array
    active_neurons: jax.Array
    constant_features: jax.Array
    epochs: jax.Array
    loss: jax.Array
    gradient_norm: jax.Array


class Phase1History(NamedTuple):
    """One entry per certificate, (max_iterations // check_every,); NaN after the last.

    Attributes:
        iteration: ADMM steps taken when the certificate was made.
        primal_value: objective (3) at the projected weights.
        dual_bound: best bound up to then.
        relative_gap: certified gap.
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


class History(NamedTuple):
    """Both phases, step by step."""

    phase1: Phase1History
    phase2: Phase2History


class Certificate(NamedTuple):
    """All that an outsider needs to recompute the certified gap of Phase I in plain numpy.

    Rows are the n chosen responses followed by the n rejected ones (m = 2n); features are
    standardised with `mean` and `scale` and carry a last column of ones (D = d + 1).

    Attributes:
        mean: (d,) subtracted from the features.
        scale: (d,) divides the features; 1 where a feature is constant.
        gates: (P, D) gate vectors h_i.
        patterns: (P, m) boolean; D_i = 1(X h_i >= 0).
        labels: (m,) targets, +1 chosen and -1 rejected; for a pairwise loss (n,) offsets of the
            pairs, gamma plus margin.
        row_weight: weights in the loss, shaped as `labels`.
        weights: (2, P, D) feasible weights (v, w) of program (3); (1, P, D) of a gated one.
        dual_point: dual variable r of z = S F u, shaped as `labels`.
        multipliers: (2, P, m) non-negative multipliers of G u >= 0; (1, P, m) zeros of a gated
            program.
        group_lasso_strength: absolute strength lambda_g.
        primal_value: objective (3) at `weights`.
        dual_bound: dual objective at (`dual_point`, `multipliers`).
    """

    mean: jax.Array
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


class SolveError(CoalaError, RuntimeError):
    """A solve did not end in a success (`Solution.raise_for_status`), or has no gradient."""


class Solution(NamedTuple):
    """Result of `solve`.

    Attributes:
        head: the aligned reward head, a `ConvexHead` or `GatedHead`; takes raw features.
        status: int32 `Status` of the whole solve.
        stats: scalars of both phases.
        history: both phases step by step.
        certificate: what certifies Phase I.
    """

    head: Head
    status: jax.Array
    stats: Stats
    history: History
    certificate: Certificate

    def raise_for_status(self) -> Solution:
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


def float_dtype() -> jnp.dtype:
    """Dtype of all statistics and of the solver: float32, or float64 where x64 is on."""
    return jnp.zeros((), float).dtype
