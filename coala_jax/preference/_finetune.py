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
from coala_jax._group_inputs import Arrays, fitted_arrays, prepare_both
from coala_jax._head import Head, require_one_head, term_weights, with_term_weights
from coala_jax._inputs import input_status, key_or_default, prepare_params, require_kind
from coala_jax._row_mesh import parts_of
from coala_jax._solution import Phase2History, Phase2Solution, Phase2Stats, RewardMetrics
from coala_jax._status import Status
from coala_jax._types import Config, Features, Params
from coala_jax.preference._evaluate import Measured, measured, metrics
from coala_jax.preference._excess import BlockedRows, Excess, excess_bound, in_blocks
from coala_jax.preference._implicit import differentiable_theta2
from coala_jax.preference._objective import Problem, objective, objective_change
from coala_jax.preference._terms import balanced_terms

# An epoch that raises the objective is undone, its moments are forgotten and the step is halved;
# every epoch that lowers it lets the step grow, at first to learning_rate and on to _LARGEST_SCALE
# times it. Growth slower than the halving keeps the undone epochs to under one in seven. Measured
# on three problems of 40 to 400 pairs this takes 55 to 190 epochs to the default tolerance, where
# a step that never exceeds learning_rate takes 580 to 1280.
_SHRINK = 0.5
_GROWTH = 1.1
_LARGEST_SCALE = 30.0


class _Inputs(NamedTuple):
    """What Phase II is about, prepared; `head` is balanced, `theta2` its weights of terms."""

    params: Params
    head: Head
    theta2: jax.Array
    features: Arrays
    eval_features: Arrays | None


class _Fit(NamedTuple):
    """What all epochs share: what training and held-out pairs are measured by, and the steps."""

    params: Params
    train: Measured
    held_out: Measured | None
    blocked: BlockedRows
    optimizer: optax.GradientTransformation
    batch_size: int | None


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
    features: Features,
    *,
    config: Config = Config(),
    key: jax.Array | None = None,
    eval_features: Features | None = None,
) -> Phase2Solution:
    """Fit theta2 to the Bradley-Terry loss with offset (eq 6 or 9), the first layer frozen.

    On groups it is the loss of Phase I that theta2 is fitted to.

    AdamW (an optax chain) from the head's own theta2, on all pairs or on minibatches. Stops when
    the objective is proven to be within `params.excess_tolerance` of its optimum, in units of the
    loss of theta2 = 0. A linear path is one more column, with a coefficient of its own. With
    `Config(phase2_objective="none")` the head stays as it is, and is measured. Reverse-mode
    gradients of the head are those of the optimum, by implicit differentiation.

    Args:
        params: `beta`, `gamma`, `ridge`, `learning_rate`, `weight_decay`, `excess_tolerance`.
        head: from `cronos`, on raw features of width d.
        features: training pairs, (n, d), or groups, (n, k, d).
        config: `phase2_objective`, `max_epochs`, `batch_size`, of groups `phase1_loss` and
            `advantage`.
        key: typed key for shuffling minibatches; `jax.random.key(0)` if None.
        eval_features: held-out pairs or groups whose metrics are recorded beside the training ones.

    Returns:
        The head with its new second layer, status, statistics and history.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, with the argument named.
        SolveError: a gradient was asked for of a head that is not solved (outside jit; under it
            such a gradient is NaN).

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> head = coala_jax.ConvexHead(np.eye(4), np.ones(4), np.ones(4), np.zeros(4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> solution = coala_jax.finetune(coala_jax.Params(), head, features)
        >>> solution.raise_for_status().head.theta2.shape
        (4,)
    """
    require_kind("config", config, Config)
    require_one_head(head)
    with jax.default_matmul_precision("highest"):
        prepared, held_out = prepare_both(config, features, eval_features)
        params = prepare_params(params)
    return phase2_of(params, head, prepared, held_out, config, key_or_default(key))


def phase2_of(
    params: Params,
    head: Head,
    features: Arrays,
    eval_features: Arrays | None,
    config: Config,
    key: jax.Array,
) -> Phase2Solution:
    """`finetune` of prepared scalars and features, which say where their rows lie under jit too."""
    with jax.default_matmul_precision("highest"):
        inputs = (params, head, features, eval_features, config, key)
        solution = in_reverse_mode(_finetune, *inputs)
    return require_solved(solution)


@functools.partial(jax.jit, static_argnames="config")
def _finetune(
    params: Params,
    head: Head,
    features: Arrays,
    eval_features: Arrays | None,
    config: Config,
    key: jax.Array,
) -> Phase2Solution:
    if config.phase2_objective == "none":
        inputs = _Inputs(params, head, term_weights(head), features, eval_features)
        unchanged, _ = _train(lax.stop_gradient(inputs), config, key)
        return dataclasses.replace(unchanged, head=head)
    balanced, theta2 = balanced_terms(head, fitted_arrays(config, features))
    # Gradients are those of the optimum; they do not enter the iteration.
    inputs = _Inputs(params, balanced, theta2, features, eval_features)
    trained, theta2 = _train(lax.stop_gradient(inputs), config, key)
    problem = measured(params, balanced, features, config).problem
    theta2 = differentiable_theta2(params, problem, theta2, trained.status == Status.SOLVED)
    return dataclasses.replace(trained, head=with_term_weights(balanced, theta2))


def _train(inputs: _Inputs, config: Config, key: jax.Array) -> tuple[Phase2Solution, jax.Array]:
    """AdamW on the second layer of a balanced head, and the weights of terms that it ends at."""
    params, head, start, features, eval_features = inputs
    status = input_status(params, features, head)
    train = measured(params, head, features, config)
    held_out = None if eval_features is None else measured(params, head, eval_features, config)
    optimizer = optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(params.weight_decay),
        optax.scale_by_learning_rate(params.learning_rate),
    )
    entries = config.max_epochs + 1
    valid = status == Status.SOLVED
    blocked = in_blocks(train.problem, parts_of(features.mesh))
    fit = _Fit(params, train, held_out, blocked, optimizer, config.batch_size)

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
        history=_recorded(fit, empty, none, value, start),
        epoch=none,
        key=key,
    )
    last = lax.while_loop(unfinished, lambda loop: _next_epoch(fit, loop), first)
    ended = _ended(last.excess, tolerance, last.value)
    if config.phase2_objective == "none":
        ended = jnp.where(ended == Status.BREAKDOWN, ended, Status.SOLVED)
    status = jnp.where(valid, ended, status).astype(jnp.int32)
    stats = Phase2Stats(
        status, last.epoch, last.value, last.excess.gradient_norm, last.excess.bound
    )
    return Phase2Solution(head, status, stats, last.history), last.theta2


def _recorded(
    fit: _Fit, history: Phase2History, epoch: jax.Array, value: jax.Array, theta2: jax.Array
) -> Phase2History:
    """The history with the metrics after an epoch, whose loss is the monotone value."""
    entry = Phase2History(
        # Free of the rounding of its sum.
        metrics(fit.params, fit.train, theta2)._replace(loss=value),
        None if fit.held_out is None else metrics(fit.params, fit.held_out, theta2),
    )
    return jax.tree.map(lambda trace, x: trace.at[epoch].set(x), history, entry)


def _next_epoch(fit: _Fit, loop: _Loop) -> _Loop:
    """One more pass over the rows, undone where it raises the objective."""
    params, problem = fit.params, fit.train.problem
    key, epoch_key = jax.random.split(loop.key)
    theta2, moments = _run_epoch(fit, loop, epoch_key)
    accepted = objective_change(params, problem, loop.theta2, theta2) <= 0
    theta2 = jnp.where(accepted, theta2, loop.theta2)
    # The exact change decides; the rounding of the sum is not shown as a rise.
    value = jnp.minimum(objective(params, problem, theta2), loop.value)
    excess = excess_bound(params, fit.blocked, theta2, value)
    fresh = fit.optimizer.init(theta2)
    moments = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), moments, fresh)
    grown = jnp.minimum(_GROWTH * loop.step_scale, _LARGEST_SCALE)
    step_scale = jnp.where(accepted, grown, _SHRINK * loop.step_scale)
    epoch = loop.epoch + 1
    history = _recorded(fit, loop.history, epoch, value, theta2)
    return _Loop(theta2, value, excess, moments, step_scale, history, epoch, key)


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


def _run_epoch(fit: _Fit, loop: _Loop, key: jax.Array) -> tuple[jax.Array, optax.OptState]:
    """One pass over the rows in shuffled batches; (theta2, moments) after it."""
    params, problem, batch_size = fit.params, fit.train.problem, fit.batch_size

    def step(
        carry: tuple[jax.Array, optax.OptState], batch: Problem
    ) -> tuple[tuple[jax.Array, optax.OptState], None]:
        theta2, moments = carry
        gradient = jax.grad(lambda t: objective(params, batch, t))(theta2)
        # In units of the log-odds: a step means the same at every beta.
        updates, moments = fit.optimizer.update(
            gradient / params.beta, moments, params.beta * theta2
        )
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
