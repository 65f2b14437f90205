"""Phase II: AdamW on the second layer of a head, with a training loss that never rises."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from coala_jax._gradients import in_reverse_mode, require_solved
from coala_jax._head import (
    Head,
    require_one_head,
    reward_terms,
    term_weights,
    with_term_weights,
)
from coala_jax._inputs import (
    PairArrays,
    input_status,
    key_or_default,
    prepare_features,
    prepare_params,
    require_kind,
)
from coala_jax._roundoff import unit_roundoff
from coala_jax._solution import Phase2History, Phase2Solution, Phase2Stats, RewardMetrics
from coala_jax._status import Status
from coala_jax._types import Config, Params, PreferenceFeatures
from coala_jax.preference._excess import Excess, excess_bound, in_blocks
from coala_jax.preference._implicit import differentiable_theta2
from coala_jax.preference._objective import (
    LogisticProblem,
    difference_rounding,
    logistic_problem,
    neuron_differences,
    objective,
    objective_change,
    path_difference,
    preference_loss,
)
from coala_jax.preference._rewards import weighted_metrics

# An epoch that raises the objective is undone, its moments are forgotten and the step is halved;
# every epoch that lowers it lets the step grow, at first to learning_rate and on to _LARGEST_SCALE
# times it. Growth slower than the halving keeps the undone epochs to under one in seven. Measured
# on three problems of 40 to 400 pairs this takes 55 to 190 epochs to the default tolerance, where
# a step that never exceeds learning_rate takes 580 to 1280.
_SHRINK = 0.5
_GROWTH = 1.1
_LARGEST_SCALE = 30.0
# A neuron is unsure where its differences are known to this share of them only (root mean square):
# a second-layer weight of t then makes the excess uncertain by (beta t 1e-3)^2 / 8, a hundredth of
# its tolerance at logits of 1. Those of usual features are known to 1e-6.
_UNSURE = 1e-3


class _Inputs(NamedTuple):
    """What Phase II is about, prepared; `head` is balanced, `theta2` its weights of terms."""

    params: Params
    head: Head
    theta2: jax.Array
    features: PairArrays
    eval_features: PairArrays | None


class _PairNeurons(NamedTuple):
    """First-layer outputs of pairs and what the loss needs beside them."""

    chosen: jax.Array
    rejected: jax.Array
    weight: jax.Array
    problem: LogisticProblem


class _Loop(NamedTuple):
    """Carry of the loop over epochs."""

    theta2: jax.Array
    value: jax.Array
    excess: Excess
    moments: optax.OptState
    step_scale: jax.Array
    history: Phase2History
    epoch: jax.Array
    key: jax.Array


def finetune(
    params: Params,
    head: Head,
    features: PreferenceFeatures,
    *,
    config: Config = Config(),
    key: jax.Array | None = None,
    eval_features: PreferenceFeatures | None = None,
) -> Phase2Solution:
    """Fit theta2 to the Bradley-Terry loss with offset (eq 6 or 9), the first layer frozen.

    AdamW (an optax chain) from the head's own theta2, on all pairs or on minibatches. Stops when
    the objective is proven to be within `params.excess_tolerance` of its optimum, in units of the
    loss of theta2 = 0. A linear path is one more column, with a coefficient of its own. With
    `Config(phase2_objective="none")` the head stays as it is, and is measured. Reverse-mode
    gradients of the head are those of the optimum, by implicit differentiation.

    Args:
        params: `beta`, `gamma`, `ridge`, `learning_rate`, `weight_decay`, `excess_tolerance`.
        head: from `cronos`, on raw features of width d.
        features: training pairs, (n, d).
        config: `phase2_objective`, `max_epochs`, `batch_size`.
        key: typed key for shuffling minibatches; `jax.random.key(0)` if None.
        eval_features: held-out pairs whose metrics are recorded beside the training ones.

    Returns:
        The head with its new second layer, status, statistics and history.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, with the argument named.
        SolveError: a gradient was asked for of a head that is not solved (outside jit; under it
            such a gradient is NaN).
    """
    require_kind("config", config, Config)
    require_one_head(head)
    with jax.default_matmul_precision("highest"):
        prepared = prepare_features(features)
        held_out = (
            None if eval_features is None else prepare_features(eval_features, "eval_features")
        )
        inputs = (prepare_params(params), head, prepared, held_out, config, key_or_default(key))
        solution = in_reverse_mode(_finetune, *inputs)
    return require_solved(solution)


@functools.partial(jax.jit, static_argnames="config")
def _finetune(
    params: Params,
    head: Head,
    features: PairArrays,
    eval_features: PairArrays | None,
    config: Config,
    key: jax.Array,
) -> Phase2Solution:
    if config.phase2_objective == "none":
        inputs = _Inputs(params, head, term_weights(head), features, eval_features)
        measured, _ = _train(lax.stop_gradient(inputs), config, key)
        return dataclasses.replace(measured, head=head)
    balanced, theta2 = balanced_terms(head, features)
    # Gradients are those of the optimum; they do not enter the iteration.
    inputs = _Inputs(params, balanced, theta2, features, eval_features)
    trained, theta2 = _train(lax.stop_gradient(inputs), config, key)
    problem = _pair_neurons(params, balanced, features, config).problem
    theta2 = differentiable_theta2(params, problem, theta2, trained.status == Status.SOLVED)
    return dataclasses.replace(trained, head=with_term_weights(balanced, theta2))


def balanced_terms(head: Head, features: PairArrays) -> tuple[Head, jax.Array]:
    """`balance_neurons`, with a linear path of unit spread too, and the weights of the terms.

    A path whose differences over the pairs are rounding, or none, has weight 0.
    """
    head = balance_neurons(head, features)
    if head.linear is None:
        return head, term_weights(head)
    difference = path_difference(head, features)
    spread = _root_mean_square(difference[:, None], features.weight)[0]
    sizes = jnp.abs(features.chosen - features.rejected) @ jnp.abs(head.linear)
    rounding = unit_roundoff(sizes.dtype) * lax.stop_gradient(sizes)
    sure = _root_mean_square(rounding[:, None], features.weight)[0] <= _UNSURE * spread
    used = sure & (spread > 0)
    linear = jnp.where(used, head.linear / jnp.where(used, spread, 1), 0)
    return head._replace(linear=linear), jnp.append(head.theta2, jnp.where(used, spread, 0))


def _train(inputs: _Inputs, config: Config, key: jax.Array) -> tuple[Phase2Solution, jax.Array]:
    """AdamW on the second layer of a balanced head, and the weights of terms that it ends at."""
    params, head, start, features, eval_features = inputs
    status = input_status(params, features, head)
    train = _pair_neurons(params, head, features, config)
    held_out = None if eval_features is None else _pair_neurons(params, head, eval_features, config)
    optimizer = optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(params.weight_decay),
        optax.scale_by_learning_rate(params.learning_rate),
    )
    entries = config.max_epochs + 1
    valid = status == Status.SOLVED
    blocked = in_blocks(train.problem)

    def record(
        history: Phase2History, epoch: jax.Array, value: jax.Array, theta2: jax.Array
    ) -> Phase2History:
        entry = Phase2History(
            # The monotone value, free of the rounding of its sum.
            _metrics(params, train, theta2)._replace(loss=value),
            None if held_out is None else _metrics(params, held_out, theta2),
        )
        return jax.tree.map(lambda trace, x: trace.at[epoch].set(x), history, entry)

    def advance(loop: _Loop) -> _Loop:
        key, epoch_key = jax.random.split(loop.key)
        theta2, moments = _run_epoch(
            params, train.problem, optimizer, config.batch_size, loop, epoch_key
        )
        accepted = objective_change(params, train.problem, loop.theta2, theta2) <= 0
        theta2 = jnp.where(accepted, theta2, loop.theta2)
        # The exact change decides; the rounding of the sum is not shown as a rise.
        value = jnp.minimum(objective(params, train.problem, theta2), loop.value)
        excess = excess_bound(params, blocked, theta2, value)
        fresh = optimizer.init(theta2)
        moments = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), moments, fresh)
        grown = jnp.minimum(_GROWTH * loop.step_scale, _LARGEST_SCALE)
        step_scale = jnp.where(accepted, grown, _SHRINK * loop.step_scale)
        epoch = loop.epoch + 1
        history = record(loop.history, epoch, value, theta2)
        return _Loop(theta2, value, excess, moments, step_scale, history, epoch, key)

    def unfinished(loop: _Loop) -> jax.Array:
        improvable = (loop.excess.bound > tolerance) & ~_is_unprovable(loop.excess, tolerance)
        going = valid & (loop.epoch < config.max_epochs)
        return going & improvable & (config.phase2_objective != "none")

    value = objective(params, train.problem, start)
    tolerance = params.excess_tolerance * objective(params, train.problem, jnp.zeros_like(start))
    nan = jnp.full((entries,), jnp.nan, value.dtype)
    traces = RewardMetrics(*[nan] * len(RewardMetrics._fields))
    empty = Phase2History(traces, None if held_out is None else traces)
    none = jnp.zeros((), jnp.int32)
    first = _Loop(
        theta2=start,
        value=value,
        excess=excess_bound(params, blocked, start, value),
        moments=optimizer.init(start),
        step_scale=jnp.ones_like(value),
        history=record(empty, none, value, start),
        epoch=none,
        key=key,
    )
    last = lax.while_loop(unfinished, advance, first)
    ended = _ended(last.excess, tolerance, last.value)
    if config.phase2_objective == "none":
        ended = jnp.where(ended == Status.BREAKDOWN, ended, Status.SOLVED)
    status = jnp.where(valid, ended, status).astype(jnp.int32)
    stats = Phase2Stats(
        status, last.epoch, last.value, last.excess.gradient_norm, last.excess.bound
    )
    return Phase2Solution(head, status, stats, last.history), last.theta2


def _is_unprovable(excess: Excess, tolerance: jax.Array) -> jax.Array:
    """Whether the gradient is down to a rounding that proves less than the tolerance."""
    return (excess.resolution > tolerance) & excess.is_rounding


def _ended(excess: Excess, tolerance: jax.Array, value: jax.Array) -> jax.Array:
    """`Status` of the last epoch."""
    finite = jnp.isfinite(excess.bound) & jnp.isfinite(tolerance) & jnp.isfinite(value)
    return jnp.select(
        [~finite, excess.bound <= tolerance, _is_unprovable(excess, tolerance)],
        [Status.BREAKDOWN, Status.SOLVED, Status.ROUNDING_LIMIT],
        Status.EPOCH_LIMIT,
    )


def evaluate(
    params: Params,
    head: Head,
    features: PreferenceFeatures,
    *,
    config: Config = Config(),
) -> RewardMetrics:
    """How well a head orders pairs: what `solve` records of `eval_features`, of any head and pairs.

    `loss` has the ridge on theta2 as it stands: it is Phase II's objective where `finetune` or
    `solve` has scaled the neurons and there is no linear path, whose coefficient counts as 1 here.
    The other metrics depend on the rewards alone.

    Args:
        params: `beta`, `gamma` and `ridge` are read.
        head: takes raw features of width d.
        features: pairs, (n, d).
        config: `phase2_objective` is read.

    Returns:
        Scalars; NaN for values that `solve` would not take, such as negative weights.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, with the argument named.
    """
    require_kind("config", config, Config)
    require_one_head(head)
    with jax.default_matmul_precision("highest"):
        params, prepared = prepare_params(params), prepare_features(features)
        pairs = _pair_neurons(params, head, prepared, config)
        metrics = _metrics(params, pairs, term_weights(head))
        valid = input_status(params, prepared) == Status.SOLVED
        return jax.tree.map(lambda metric: jnp.where(valid, metric, jnp.nan), metrics)


def accuracy(head: Head, features: PreferenceFeatures) -> jax.Array:
    """The share of pairs that a head orders right, ties half, by weight: a scalar.

    Args:
        head: takes raw features of width d.
        features: pairs, (n, d).

    Raises:
        TypeError, ValueError: as for `evaluate`.
    """
    return evaluate(Params(), head, features).accuracy


def balance_neurons(head: Head, features: PairArrays) -> Head:
    """The head with every neuron's reward difference at unit root mean square.

    relu is positively homogeneous, so a neuron's scale can move between the layers, and the
    function stays the same but for two kinds of neurons. One without any difference over the pairs
    keeps its scale and gets theta2 = 0. One whose terms cancel until its differences are rounding
    is zero altogether: on the next device, or in a wider type, it would be another.
    """
    difference = neuron_differences(head, features)
    spread = _root_mean_square(difference, features.weight)
    rounding = lax.stop_gradient(difference_rounding(head, features))
    differs = spread > 0
    unsure = differs & (_root_mean_square(rounding, features.weight) > _UNSURE * spread)
    scale = jnp.where(differs, spread, 1)
    return head._replace(
        theta1=jnp.where(unsure, 0, head.theta1 / scale),
        bias=jnp.where(unsure, 0, head.bias / scale),
        theta2=jnp.where(differs & ~unsure, head.theta2 * scale, 0),
    )


def _root_mean_square(columns: jax.Array, weight: jax.Array) -> jax.Array:
    """Of (n, k) columns over rows of weight (n,): (k,), with gradient zero where it is zero."""
    weight = weight[:, None]
    # In units of the largest one no square overflows or vanishes.
    largest = jnp.max(jnp.abs(jnp.where(weight > 0, columns, 0)), axis=0)
    unit = lax.stop_gradient(jnp.where(largest > 0, largest, 1))
    square = jnp.mean(weight * (columns / unit) ** 2, axis=0)
    return jnp.where(square > 0, unit * jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _pair_neurons(params: Params, head: Head, features: PairArrays, config: Config) -> _PairNeurons:
    """Weights, and so all figures, are NaN where the pairs or the head are not finite."""
    finite = input_status(params, features, head) != Status.NOT_FINITE_INPUT
    weight = jnp.where(finite, features.weight, jnp.nan)
    features = features._replace(weight=weight)
    problem = logistic_problem(config.phase2_objective, head, features, params.gamma)
    chosen, rejected = reward_terms(head, features.chosen), reward_terms(head, features.rejected)
    return _PairNeurons(chosen, rejected, weight, problem)


def _metrics(params: Params, pairs: _PairNeurons, theta2: jax.Array) -> RewardMetrics:
    return weighted_metrics(
        pairs.chosen @ theta2,
        pairs.rejected @ theta2,
        pairs.weight,
        loss=objective(params, pairs.problem, theta2),
        log_loss=preference_loss(params, pairs.problem, theta2),
        beta=params.beta,
    )


def _run_epoch(
    params: Params,
    problem: LogisticProblem,
    optimizer: optax.GradientTransformation,
    batch_size: int | None,
    loop: _Loop,
    key: jax.Array,
) -> tuple[jax.Array, optax.OptState]:
    """One pass over the rows in shuffled batches; (theta2, moments) after it."""

    def step(
        carry: tuple[jax.Array, optax.OptState], batch: LogisticProblem
    ) -> tuple[tuple[jax.Array, optax.OptState], None]:
        theta2, moments = carry
        gradient = jax.grad(lambda t: objective(params, batch, t))(theta2)
        # In units of the log-odds: a step means the same at every beta.
        updates, moments = optimizer.update(gradient / params.beta, moments, params.beta * theta2)
        return (theta2 + loop.step_scale * updates / params.beta, moments), None

    rows = problem.weight.shape[0]
    if batch_size is None or batch_size >= rows:
        return step((loop.theta2, loop.moments), problem)[0]
    batches = -(-rows // batch_size)
    order = jnp.resize(jax.random.permutation(key, rows), (batches, batch_size))
    # The last batch is filled with the first rows of the same shuffle, so that every row is seen.
    carry, _ = lax.scan(
        lambda carry, index: step(carry, jax.tree.map(lambda leaf: leaf[index], problem)),
        (loop.theta2, loop.moments),
        order,
    )
    return carry
