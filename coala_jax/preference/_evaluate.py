"""What a head does on pairs or groups: `evaluate`, `accuracy`, and what training records."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from coala_jax._group_inputs import Arrays, GroupArrays, prepare_for
from coala_jax._head import Head, require_one_head, term_weights
from coala_jax._inputs import input_status, prepare_params, require_kind
from coala_jax._solution import RewardMetrics
from coala_jax._status import Status
from coala_jax._types import Config, Features, GroupFeatures, Params
from coala_jax.preference._objective import Problem, objective, preference_loss, problem_of
from coala_jax.preference._rewards import ordered_metrics, weighted_metrics
from coala_jax.preference._terms import terms_by_side


class Measured(NamedTuple):
    """First-layer outputs of all responses, and what the loss needs beside them.

    Attributes:
        terms: of chosen and rejected responses, (n, k) each, or of groups, (n, g, k).
        arrays: pairs or groups; their weights are NaN where they, or the head, are not finite.
        problem: of Phase II.
    """

    terms: tuple[jax.Array, ...]
    arrays: Arrays
    problem: Problem


def evaluate(
    params: Params,
    head: Head,
    features: Features,
    *,
    config: Config = Config(),
) -> RewardMetrics:
    """How well a head orders pairs: what `solve` records of `eval_features`, of any head and pairs.

    Of groups it is their pairs of members with different scores, each group as much as its weight.

    `loss` has the ridge on theta2 as it stands: it is Phase II's objective where `finetune` or
    `solve` has scaled the neurons and there is no linear path, whose coefficient counts as 1 here.
    The other metrics depend on the rewards alone.

    Args:
        params: `beta`, `gamma` and `ridge` are read.
        head: takes raw features of width d.
        features: pairs, (n, d), or groups, (n, k, d).
        config: `phase2_objective` is read, of groups `phase1_loss` and `advantage`.

    Returns:
        Scalars; NaN for values that `solve` would not take, such as negative weights.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, with the argument named.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> head = coala_jax.ConvexHead(np.eye(4), np.ones(4), np.ones(4), np.zeros(4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> metrics = coala_jax.evaluate(coala_jax.Params(), head, features)
        >>> float(metrics.accuracy)
        0.765625
    """
    require_kind("config", config, Config)
    require_one_head(head)
    with jax.default_matmul_precision("highest"):
        params, prepared = prepare_params(params), prepare_for(config, features)
        found = metrics(params, measured(params, head, prepared, config), term_weights(head))
        valid = input_status(params, prepared) == Status.SOLVED
        return jax.tree.map(lambda metric: jnp.where(valid, metric, jnp.nan), found)


def accuracy(head: Head, features: Features) -> jax.Array:
    """The share of pairs that a head orders right, ties half, by weight: a scalar.

    Args:
        head: takes raw features of width d.
        features: pairs, (n, d), or groups, (n, k, d), of which pairs of members with different
            scores count, each group as much as its weight.

    Raises:
        TypeError, ValueError: as for `evaluate`.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> head = coala_jax.ConvexHead(np.eye(4), np.ones(4), np.ones(4), np.zeros(4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> float(coala_jax.accuracy(head, features))
        0.765625
    """
    config = Config(phase1_loss="listwise") if isinstance(features, GroupFeatures) else Config()
    return evaluate(Params(), head, features, config=config).accuracy


def measured(params: Params, head: Head, arrays: Arrays, config: Config) -> Measured:
    """What metrics are of; weights, and so all, are NaN where arrays or head are not finite."""
    finite = input_status(params, arrays, head) != Status.NOT_FINITE_INPUT
    weight = jnp.where(finite, arrays.weight, jnp.nan)
    arrays = dataclasses.replace(arrays, weight=weight)
    problem = problem_of(params, head, arrays, config)
    return Measured(terms_by_side(head, arrays), arrays, problem)


def metrics(params: Params, of: Measured, theta2: jax.Array) -> RewardMetrics:
    """Metrics of the head whose terms have these weights: (k,)."""
    losses = {
        "loss": objective(params, of.problem, theta2),
        "log_loss": preference_loss(params, of.problem, theta2),
    }
    if isinstance(of.arrays, GroupArrays):
        rewards = of.terms[0] @ theta2
        return ordered_metrics(rewards, of.arrays, beta=params.beta, **losses)
    chosen, rejected = (terms @ theta2 for terms in of.terms)
    return weighted_metrics(chosen, rejected, of.arrays.weight, beta=params.beta, **losses)
