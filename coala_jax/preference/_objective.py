"""The COALA objective of Phase II, convex in the second layer theta2.

Pairwise (eq 6, the default), with phi = relu(x theta1 + b):

    mean_j w_j softplus(gamma + m_j - beta theta2^T (phi(chosen_j) - phi(rejected_j)))
        + ridge / 2 ||theta2||^2

A linear path is one more column of phi, with a coefficient of its own in theta2.

Pointwise (eq 9): the same with +phi(chosen_j) and -phi(rejected_j) as rows of their own. Both are
a logistic regression without intercept on a design matrix; m_j is TRL's margin column.

Of groups it is the Phase I loss l of the group's rewards, with the targets that it had there:

    mean_j w_j l(beta theta2^T (phi(x_j1) - mean_i phi(x_ji)), ...) + ridge / 2 ||theta2||^2
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from coala_jax._errors import CoalaError
from coala_jax._group_inputs import Arrays, as_groups, group_targets, prepare_for
from coala_jax._head import Head, require_one_head
from coala_jax._inputs import PairArrays, beside, prepare_params, require_kind
from coala_jax._types import Config, Features, Objective, Params
from coala_jax.losses import BRADLEY_TERRY, Loss
from coala_jax.preference._terms import term_differences, terms_by_side


class LogisticProblem(NamedTuple):
    """Rows of the regression that Phase II is.

    Attributes:
        design: (m, k) rows a_j; the reward advantage of a row is a_j theta2. An array, or for
            Newton's method alone what makes them where they are used.
        offset: (m,) gamma + margin.
        weight: (m,) weights with mean 1.
    """

    design: Any
    offset: jax.Array
    weight: jax.Array

    @property
    def loss(self) -> Loss:
        """Of advantages times beta, with the offsets as labels."""
        return BRADLEY_TERRY

    @property
    def labels(self) -> jax.Array:
        """(m,) the offsets."""
        return self.offset


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GroupProblem:
    """Groups of the regression that Phase II is on `GroupFeatures`.

    Attributes:
        design: (n, g, k) terms of members less the mean of their group.
        labels: (n, g) as the loss takes them.
        weight: (n, g) weight of each group, 0 of members that are missing.
        loss: of advantages times beta, static.

    Example:
        >>> import jax.numpy as jnp
        >>> from coala_jax import Params
        >>> from coala_jax.losses import GROUP_SQUARED
        >>> from coala_jax.preference import GroupProblem, objective
        >>> design, labels = jnp.ones((2, 3, 2)), jnp.array([[1.0, 0, -1]] * 2)
        >>> problem = GroupProblem(design, labels, jnp.ones((2, 3)), GROUP_SQUARED)
        >>> float(objective(Params(), problem, jnp.zeros(2)))
        1.0
    """

    design: jax.Array
    labels: jax.Array
    weight: jax.Array
    loss: Loss = dataclasses.field(metadata={"static": True})


Problem: TypeAlias = LogisticProblem | GroupProblem


def preference_problem(
    params: Params, head: Head, features: Features, *, config: Config = Config()
) -> Problem:
    """What Phase II minimises over the second layer of a head (eq 6 or 9, or that of groups).

    On the neurons as they stand: of a head without a linear path that `finetune` or `solve` gave it
    is the problem that they solved, and `newton_optimum` finds its optimum independently of them.

    Args:
        params: `gamma` and, of groups, `temperature` are read.
        head: takes raw features of width d.
        features: pairs, (n, d), or groups, (n, g, d).
        config: `phase2_objective` is read, of groups `phase1_loss` and `advantage`.

    Returns:
        A `LogisticProblem` of n rows, 2n of eq 9, or a `GroupProblem`, in float32 (float64 where
        x64 is on), with a column a neuron and one more of a linear path.

    Raises:
        TypeError, ValueError: as for `finetune`; the pointwise objective of groups.

    Example:
        >>> import coala_jax, numpy as np
        >>> from coala_jax.preference import newton_optimum, preference_problem
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> params, features = coala_jax.Params(), coala_jax.PreferenceFeatures(chosen, rejected)
        >>> head = coala_jax.ConvexHead(np.eye(4), np.ones(4), np.ones(4), np.zeros(4))
        >>> solution = coala_jax.finetune(params, head, features)
        >>> problem = preference_problem(params, solution.head, features)
        >>> optimum = newton_optimum(params, problem)
        >>> bool(abs(solution.stats.loss - optimum.value) < 1e-5)
        True
    """
    require_kind("config", config, Config)
    require_one_head(head)
    with jax.default_matmul_precision("highest"):
        return problem_of(prepare_params(params), head, prepare_for(config, features), config)


def problem_of(params: Params, head: Head, arrays: Arrays, config: Config) -> Problem:
    """`preference_problem` of prepared scalars and features."""
    if not config.loss.grouped:
        assert isinstance(arrays, PairArrays)  # as `prepare_for` has it
        return logistic_problem(config.phase2_objective, head, arrays, params.gamma)
    if config.phase2_objective == "pointwise":
        raise CoalaError(
            "phase2_objective='pointwise' is of pairs: groups take 'pairwise', which refits the "
            f"loss of Phase I, {config.phase1_loss!r}, or 'none'"
        )
    labels, weight = group_targets(config, arrays, params)
    return GroupProblem(term_differences(head, as_groups(arrays)), labels, weight, config.loss)


def logistic_problem(
    kind: Objective,
    head: Head,
    pairs: PairArrays,
    gamma: jax.Array,
) -> LogisticProblem:
    """Design matrix of eq 6 or eq 9 from the first-layer outputs of pairs; of eq 6 for "none"."""
    if kind != "pointwise":
        design = term_differences(head, pairs)
        return LogisticProblem(design, gamma + pairs.margin, pairs.weight)
    chosen, rejected = terms_by_side(head, pairs)
    return LogisticProblem(
        beside(chosen, -rejected),
        gamma + beside(pairs.margin, pairs.margin),
        pairs.row_weight,
    )


def preference_loss(params: Params, problem: Problem, theta2: jax.Array) -> jax.Array:
    """Weighted mean of softplus(offset - beta a_j theta2), or of a group's loss.

    Args:
        params: `beta` is read.
        problem: as `preference_problem` gives it, or made of arrays.
        theta2: (k,) weights of its columns.

    Returns:
        Scalar, nats a row (eq 6 or 9 without the ridge), or the unit of the group's loss.

    Example:
        >>> import jax.numpy as jnp
        >>> from coala_jax import Params
        >>> from coala_jax.preference import LogisticProblem, preference_loss
        >>> problem = LogisticProblem(jnp.ones((4, 2)), offset=jnp.zeros(4), weight=jnp.ones(4))
        >>> loss = preference_loss(Params(beta=2.0), problem, jnp.ones(2))  # log(1 + exp(-4))
        >>> round(float(loss), 4)
        0.0181
    """
    outputs = params.beta * (problem.design @ theta2)
    return problem.loss.value(outputs, problem.labels, problem.weight) / len(outputs)


def objective(params: Params, problem: Problem, theta2: jax.Array) -> jax.Array:
    """`preference_loss` plus ridge / 2 ||theta2||^2: scalar.

    Args:
        params: `beta` and `ridge` are read.
        problem: as for `preference_loss`.
        theta2: (k,) weights of its columns.

    Example:
        >>> import jax.numpy as jnp
        >>> from coala_jax import Params
        >>> from coala_jax.preference import LogisticProblem, objective
        >>> problem = LogisticProblem(jnp.ones((4, 2)), offset=jnp.zeros(4), weight=jnp.ones(4))
        >>> round(float(objective(Params(ridge=0.1), problem, jnp.zeros(2))), 4)  # log 2
        0.6931
    """
    penalty = 0.5 * params.ridge * jnp.vdot(theta2, theta2)
    return preference_loss(params, problem, theta2) + penalty


def objective_change(
    params: Params, problem: Problem, theta2: jax.Array, new_theta2: jax.Array
) -> jax.Array:
    """objective(new_theta2) - objective(theta2), accurate where both agree to all digits.

    The sign of a descent step stays right far below the resolution of the objective itself.

    Args:
        params: `beta` and `ridge` are read.
        problem: as for `preference_loss`.
        theta2: (k,) where the step begins.
        new_theta2: (k,) where it ends.

    Returns:
        Scalar. Of a loss of your own without `Loss.change` it is as exact as its values.

    Example:
        >>> import jax.numpy as jnp
        >>> from coala_jax import Params
        >>> from coala_jax.preference import LogisticProblem, objective_change
        >>> problem = LogisticProblem(jnp.ones((4, 2)), offset=jnp.zeros(4), weight=jnp.ones(4))
        >>> change = objective_change(Params(), problem, jnp.zeros(2), jnp.full(2, 1e-12))
        >>> float(change) < 0  # far below the resolution of the objective
        True
    """
    step = new_theta2 - theta2
    outputs, moves = (params.beta * (problem.design @ x) for x in (theta2, step))
    loss, known = problem.loss, (problem.labels, problem.weight)
    if loss.change is None:  # one of the caller's own: as well as its values tell
        rows = loss.value(outputs + moves, *known) - loss.value(outputs, *known)
    else:
        rows = loss.change(outputs, moves, *known)
    return rows / len(outputs) + params.ridge * jnp.vdot(step, theta2 + 0.5 * step)
