"""What goes into `solve`: features, `Params` and `Config`.

Leaves of `Params` vary in a sweep and never recompile; fields of `Config` change shapes or the
program and are static.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from coala_jax._advantages import Advantage
from coala_jax._choices import require_fields
from coala_jax._errors import CoalaError
from coala_jax.losses import Loss, get_loss

# A float, a numpy or jax scalar, traced or batched: what a leaf of Params may be.
Scalar: TypeAlias = Any


class PreferenceFeatures(NamedTuple):
    """Frozen features of preference pairs; row j of both arrays answers the same prompt.

    Attributes:
        chosen: (n, d) features of the preferred responses; float16, bfloat16, float32 or float64.
        rejected: (n, d) features of the other responses, same shape and dtype kind.
        weight: (n,) non-negative weight of each pair, or None for 1 each: a pair of weight 2 counts
            as two pairs and one of weight 0 as none, in standardisation, gates, steps and both
            losses (gates of a covariance are then other draws of one distribution). Weights are
            divided by the mean of those above 0, so only their ratios matter. Features must be
            finite whatever their weight.
        margin: (n,) extra margin of each pair in the Bradley-Terry loss (TRL's `margin` column),
            added to `Params.gamma`, or None for 0 each. With the Phase I loss
            `"squared_difference"` gamma + margin is what the reward difference of the pair, chosen
            less rejected, is to be, of any size and sign; there is no Phase II then.

    Example:
        >>> import coala_jax, numpy as np
        >>> chosen, rejected = np.random.default_rng(0).normal(size=(2, 64, 4))
        >>> pairs = coala_jax.PreferenceFeatures(chosen, rejected, weight=np.ones(64))
        >>> pairs.chosen.shape  # nothing is checked before `solve` and the others are called
        (64, 4)
    """

    chosen: jax.Array | np.ndarray
    rejected: jax.Array | np.ndarray
    weight: jax.Array | np.ndarray | None = None
    margin: jax.Array | np.ndarray | None = None


class GroupFeatures(NamedTuple):
    """Frozen features of groups: up to k responses to a prompt, with their scores or ranks.

    Taken wherever `PreferenceFeatures` are, with a Phase I loss of groups, as `"listwise"`. A group
    without two members of different scores says nothing: it counts as one of weight 0.

    Attributes:
        responses: (n, k, d) features; float16, bfloat16, float32 or float64. Those of members that
            are missing are not read.
        scores: (n, k) numbers of any type, the higher the better; only differences within a group
            count. None where ranks are given.
        ranks: (n, k) likewise, the lower the better and the same number for ties; None where scores
            are given.
        mask: (n, k) booleans, whether a member is there; None where all are.
        weight: (n,) non-negative weight of each group, or None for 1 each, as of
            `PreferenceFeatures`.

    Example:
        >>> import coala_jax, numpy as np
        >>> responses = np.random.default_rng(0).normal(size=(8, 3, 4))  # 3 answers to 8 prompts
        >>> groups = coala_jax.GroupFeatures(responses, scores=responses[..., 0])
        >>> config = coala_jax.Config(phase1_loss="listwise")  # what `solve` takes them with
        >>> head = coala_jax.ConvexHead(np.eye(4), np.zeros(4), np.ones(4), np.zeros(4))
        >>> head(groups.responses).shape
        (8, 3)
    """

    responses: jax.Array | np.ndarray
    scores: jax.Array | np.ndarray | None = None
    ranks: jax.Array | np.ndarray | None = None
    mask: jax.Array | np.ndarray | None = None
    weight: jax.Array | np.ndarray | None = None


Features: TypeAlias = PreferenceFeatures | GroupFeatures


class Params(NamedTuple):
    """Scalars of one solve; each leaf may be traced, batched by vmap and swept without recompiling.

    Attributes:
        rho: ADMM penalty of Algorithm 2 as a multiple of the one that suits the strength and the
            loss; > 0. It moves the path to the optimum, not the
            optimum: lower it when the dual bound lags, raise it when the cones do.
        group_lasso: strength of the group penalty of eq 3, as a fraction of lambda_max, at which
            the optimal network vanishes, unless `Config.strength_unit` says otherwise; >= 0.
            (The paper calls the absolute strength beta.) At 0 no gap can be certified, and the
            status says so.
        linear_ridge: coefficient of ||w||^2 / 2 beside the mean loss of Phase I, w the linear path
            of `Config.linear_path` on standardised features; > 0. Not read without one.
        beta: reward scale of the Bradley-Terry loss (eq 7); > 0.
        gamma: offset of the Bradley-Terry loss (eq 6), in Phase II and in a pairwise Phase I,
            where it is added to every target of `"squared_difference"`.
        ridge: coefficient of ||theta2||^2 / 2 in the Phase II objective, in which every neuron's
            reward difference has unit root mean square; > 0, so that an optimum exists.
        learning_rate: AdamW step size that Phase II starts from; > 0. It adapts by itself. Steps
            are those of beta theta2, the log-odds, so that it means the same at every `beta`.
        weight_decay: decoupled decay of AdamW; >= 0. The default is 0 because decoupled decay
            minimises no fixed objective; use `ridge`.
        gap_tolerance: largest certified relative duality gap that counts as solved.
        violation_tolerance: largest relative cone violation before projection that counts.
        residual_tolerance: largest relative ADMM residual (primal and dual) that counts.
        explained_minimum: smallest share of the possible improvement over the zero network that
            counts (`Stats.explained`).
        excess_tolerance: Phase II stops when its objective is proven to be above its optimum by at
            most this share of the objective of theta2 = 0.
        temperature: tau of the target softmax(A / tau) that losses of groups, as `"listwise"`, fit,
            A the advantages of `Config.advantage`; >= 0, and at 0 all of it is on the best of a
            group. Pairs, of which the order alone is known, have 0 whatever it is.

    A value out of its range is no error here: the solve ends with `Status.INVALID_PARAMETER`.

    Example:
        >>> import coala_jax
        >>> params = coala_jax.Params(group_lasso=0.1)
        >>> params._replace(beta=2.0).group_lasso
        0.1
    """

    rho: Scalar = 1.0
    group_lasso: Scalar = 0.05
    linear_ridge: Scalar = 0.1
    beta: Scalar = 1.0
    gamma: Scalar = 0.0
    ridge: Scalar = 1e-3
    learning_rate: Scalar = 0.02
    weight_decay: Scalar = 0.0
    gap_tolerance: Scalar = 1e-2
    violation_tolerance: Scalar = 1e-2
    residual_tolerance: Scalar = 1e-2
    explained_minimum: Scalar = 0.9
    excess_tolerance: Scalar = 1e-5
    temperature: Scalar = 1.0


Precision = Literal["highest", "high", "default"]
RowKind = Literal["full", "compact"]
Objective = Literal["pairwise", "pointwise", "none"]
GateDistribution = Literal["isotropic", "covariance", "mixed"]

_COUNTS = (
    "n_gates",
    "max_iterations",
    "check_every",
    "max_cg_iterations",
    "max_epochs",
    "batch_size",
)


@dataclasses.dataclass(frozen=True)
class Config:
    """What changes shapes or the program: hashable, static under jit, free of arrays and keys.

    Attributes:
        n_gates: number P of sampled gates, with distinct patterns; the network has at most 2P
            neurons, or P gated ones.
        gate_distribution: of the Gaussian gate vectors on standardised features: `"isotropic"`
            (Pilanci & Ergen 2020, the paper), `"covariance"`, that of the features themselves, so
            that gates cut where the features vary most, or `"mixed"`, every other gate of either.
        strength_unit: `"lambda_max"` takes `Params.group_lasso` as a fraction of lambda_max, so
            that one value serves every data set; `"absolute"` as lambda_g itself.
            lambda_max is then not computed, NaN in `Stats`. (`"critical"` is read as the first.)
        model: kind of convex network; `"relu"` (with the cone constraints of eq 3), or
            `"gated_relu"` (without them, Mishkin et al. 2022), whose head carries its gates; one
            of the sampled gates is then open everywhere, so that linear rewards are included
            (`linear_path` includes them in either, with a penalty of their own).
        phase1_loss: loss of Phase I: on labels +-1 of single responses, as `"squared"` (the paper);
            on pairs, with `Params.gamma` and margins, as `"bradley_terry"` and
            `"squared_difference"`, which takes gamma + margin for the reward difference of each
            pair; or on groups, a pair being one of two, as `"listwise"`. `coala_jax.losses.LOSSES`
            has all names; or give a `Loss` of your own.
        advantage: what losses of groups make of scores, where they read more than the order, as
            `"listwise"` and `"group_squared"` do: `"centered"`, less their mean; `"standardized"`,
            over their standard deviation besides, as in GRPO; `"leave_one_out"`, less the mean of
            the others; or `"rank"`, from 1 of the best to -1 of the last.
        linear_path: add a linear reward x^T w to the network, as a skip connection does: its ridge
            penalty is `Params.linear_ridge`, and the program stays convex. Where the group lasso is
            at lambda_max or above, the head is that linear reward alone. The gate that
            a gated network has open everywhere is then left out.
        phase2_objective: `"pairwise"` (eq 6), `"pointwise"` (eq 9), or `"none"`: the head stays
            that of Phase I.
        max_iterations: cap of ADMM steps in Phase I.
        check_every: ADMM steps between two checks.
        adapt_rho: let Phase I move rho away from `Params.rho`, towards equal residuals, after
            checks 1, 2, 4, 8 and so on.
        adapt_rows: give tight and slack rows of the cones penalties of their own, in the steps and
            in projections, where the cost rule of docs/solver.md lets it. Far fewer steps, for one
            inverse a block each time and 2 P (d + 1)^2 floats of memory; without, one inverse
            serves the whole solve.
        max_cg_iterations: cap of conjugate-gradient steps within one ADMM step.
        max_epochs: cap of Phase II passes over the data.
        batch_size: pairs per AdamW step; None means all at once.
        sweep: how a vmapped Phase I runs: `"sequential"`, element after element, each to its own
            end, or `"lockstep"`, all at once until the last one ends, which is for devices that a
            single solve leaves idle.
        precision: of the products in ADMM steps; `"highest"` keeps float32 ones out of TF32 on
            GPUs. All else has float32 products, certificates among it, so that a solve whose steps
            are too coarse says so.
        rows: `"full"` keeps standardised rows in the solver's dtype beside the features;
            `"compact"` the features alone, in the dtype that they came in, and standardises them
            where they are used: 2 bytes a number of bfloat16 features. Certificates are as exact
            in either; there are no gradients of it.

    Raises:
        CoalaError: a field has a value that it may not have; named, with those that it may.

    Example:
        >>> import coala_jax
        >>> config = coala_jax.Config(model="gated_relu", phase1_loss="bradley_terry")
        >>> config.loss.pairwise, config.n_gates
        (True, 16)
    """

    n_gates: int = 16
    gate_distribution: GateDistribution = "isotropic"
    strength_unit: Literal["lambda_max", "absolute"] = "lambda_max"
    model: Literal["relu", "gated_relu"] = "relu"
    phase1_loss: str | Loss = "squared"
    advantage: Advantage = "centered"
    linear_path: bool = False
    phase2_objective: Objective = "pairwise"
    max_iterations: int = 4000
    check_every: int = 25
    adapt_rho: bool = True
    adapt_rows: bool = True
    max_cg_iterations: int = 30
    max_epochs: int = 1000
    batch_size: int | None = None
    sweep: Literal["sequential", "lockstep"] = "sequential"
    precision: Precision = "highest"
    rows: RowKind = "full"

    def __post_init__(self) -> None:
        """Reject values that no program can be built from.

        Raises:
            CoalaError: names the field, its value and what it may be.
        """
        unit: object = self.strength_unit
        if unit == "critical":  # its name in 0.1
            object.__setattr__(self, "strength_unit", "lambda_max")
        get_loss(self.phase1_loss)
        require_fields(self, CoalaError)
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CoalaError(f"{name}={value!r} must be at least 1")
        if self.check_every > self.max_iterations:
            raise CoalaError(
                f"check_every={self.check_every} exceeds max_iterations={self.max_iterations}: "
                "nothing would ever be checked; lower check_every"
            )

    def require_phases_agree(self) -> None:
        """Raise where Phase II would undo what Phase I has fitted.

        Raises:
            CoalaError: a loss of differences with a Phase II, which fits the order of pairs.
        """
        if self.loss.labels == "differences" and self.phase2_objective != "none":
            raise CoalaError(
                f"phase2_objective={self.phase2_objective!r}: Phase II fits the order of pairs, "
                f"and phase1_loss={self.phase1_loss!r} by how much they differ; give "
                "phase2_objective='none'"
            )

    @property
    def loss(self) -> Loss:
        """The loss of Phase I, by name or as given."""
        return get_loss(self.phase1_loss)


def settings_record(params: Params, config: Config) -> dict[str, Any]:
    """``params`` and ``config`` of a solve as files record them; a loss of one's own as a text."""
    known = bool | int | str | None
    return {
        "params": {name: float(leaf) for name, leaf in params._asdict().items()},
        "config": {
            name: value if isinstance(value, known) else str(value)
            for name, value in vars(config).items()
        },
    }


def float_dtype() -> jnp.dtype:
    """Dtype of all statistics and of the solver: float32, or float64 where x64 is on."""
    return jnp.zeros((), float).dtype
