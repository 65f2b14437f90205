"""Solutions along group-lasso strengths, each started from the last: `regularization_path`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._gradients import require_gradient, require_solved
from coala_jax._inputs import PairArrays, input_status, prepare_features, prepare_params
from coala_jax._types import Config, Params, PreferenceFeatures, Status, float_dtype
from coala_jax.convex._cronos import CronosState, cronos_init, cronos_problem
from coala_jax.convex._phase1 import Phase1Solution, phase1_solution, solve_strength
from coala_jax.convex._prepare import prepare, strength_of
from coala_jax.convex.losses import get_loss


def regularization_path(
    strengths: jax.Array,
    params: Params,
    features: PreferenceFeatures,
    *,
    config: Config = Config(),  # noqa: B008 - frozen and hashable
    key: jax.Array | None = None,
    gates: jax.Array | None = None,
) -> Phase1Solution:
    """Phase I at several group-lasso strengths, on one program (scikit-learn's `lasso_path`).

    Gates, linear system, cones and the critical strength are prepared once; every solve starts from
    the splits, multipliers and penalties of the one before. Order the strengths from high to low:
    the network then grows from nothing. Neighbours a fifth apart save steps over single solves;
    where strengths halve from one to the next there is little to inherit.

    Args:
        strengths: (K,) values of `params.group_lasso`, in the unit of `config.strength_unit`.
        params: the other scalars of every solve; `params.group_lasso` is not read.
        features: as for `cronos`.
        config: as for `cronos`.
        key: as for `cronos`.
        gates: as for `cronos`.

    Returns:
        A `Phase1Solution` whose leaves have a leading axis of K: every element reports its own
        status, statistics, history and certificate. `jax.tree.map(lambda leaf: leaf[k], path)` is
        solution k. Heads carry gradients as those of `cronos` do.

    Raises:
        TypeError, ValueError: as for `cronos`; strengths that are not a vector.
    """
    values = jnp.asarray(strengths, float_dtype())
    if values.ndim != 1 or not values.size:
        raise ValueError(f"strengths must be a vector of at least one value; got {values.shape}")
    with jax.default_matmul_precision(config.precision):
        inputs = require_gradient((values, prepare_params(params), prepare_features(features)))
        path = _path(*inputs, config, key, gates)
    return path._replace(head=require_solved(path.head, path.status))


@functools.partial(jax.jit, static_argnames="config")
def _path(
    strengths: jax.Array,
    params: Params,
    features: PairArrays,
    config: Config,
    key: jax.Array | None,
    gates: jax.Array | None,
) -> Phase1Solution:
    loss = get_loss(config.phase1_loss)
    prepared = prepare(params, features, loss, config, key, gates)
    first = strength_of(params._replace(group_lasso=strengths[0]), config, loss, prepared)
    problem = cronos_problem(prepared.program, first.absolute, first.penalty, prepared.system)
    start = lax.stop_gradient(cronos_init(problem, adapt_rows=config.adapt_rows))

    def one(start: CronosState, value: jax.Array) -> tuple[CronosState, Phase1Solution]:
        here = params._replace(group_lasso=value)
        strength = strength_of(here, config, loss, prepared)
        # The penalty of a state that has taken a step is the one that its steps have found.
        penalty = jnp.where(start.size > 0, start.penalty, strength.penalty)
        start = start._replace(penalty=penalty)
        status = input_status(here, features)
        result = solve_strength(here, config, loss, prepared, strength, status, start)
        broken = result.status == Status.BREAKDOWN
        last = jax.tree.map(lambda old, new: jnp.where(broken, old, new), start, result.state)
        return last, phase1_solution(loss, prepared, strength, result)

    return lax.scan(one, start, strengths)[1]
