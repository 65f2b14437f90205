"""Solutions along group-lasso strengths, each started from the last: `regularization_path`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from coala_jax._errors import CoalaError
from coala_jax._gradients import require_gradient, require_solved
from coala_jax._group_inputs import Arrays, prepare_for
from coala_jax._inputs import as_array, input_status, prepare_params, require_kind
from coala_jax._solution import Phase1Solution
from coala_jax._status import Status
from coala_jax._types import Config, Features, Params, float_dtype
from coala_jax.convex._cronos import CronosState, cronos_init
from coala_jax.convex._memory import refuse_what_cannot_fit
from coala_jax.convex._penalties import rows_pay
from coala_jax.convex._phase1 import phase1_solution, solve_held, zero_or_status
from coala_jax.convex._prepare import at_strength, prepare


def regularization_path(
    params: Params,
    features: Features,
    strengths: jax.Array,
    *,
    config: Config = Config(),
    key: jax.Array | None = None,
    gates: jax.Array | None = None,
) -> Phase1Solution:
    """Phase I at several group-lasso strengths, on one program (scikit-learn's `lasso_path`).

    Gates, linear system, cones and lambda_max are prepared once; every solve starts from
    the splits, multipliers and penalties of the one before, as in Friedman, Hastie & Tibshirani
    (2010, section 2.5). Order the strengths from high to low:
    the network then grows from nothing. Neighbours a fifth apart save steps over single solves;
    where strengths halve from one to the next there is little to inherit.

    Args:
        params: the other scalars of every solve; `params.group_lasso` is not read.
        features: as for `cronos`.
        strengths: (K,) values of `params.group_lasso`, in the unit of `config.strength_unit`.
        config: as for `cronos`.
        key: as for `cronos`.
        gates: as for `cronos`.

    Returns:
        A `Phase1Solution` whose leaves have a leading axis of K: every element reports its own
        status, statistics, history and certificate. `jax.tree.map(lambda leaf: leaf[k], path)` is
        solution k. Heads carry gradients as those of `cronos` do.

    Raises:
        TypeError, ValueError: as for `cronos`; strengths that are not a vector.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> strengths = np.array([0.5, 0.4, 0.3])
        >>> path = coala_jax.regularization_path(coala_jax.Params(), features, strengths)
        >>> path.stats.primal_value.shape
        (3,)
    """
    require_kind("config", config, Config)
    refuse_what_cannot_fit(features, config)
    params, arrays = prepare_params(params), prepare_for(config, features)
    values = as_array("strengths", strengths, float_dtype())
    if values.ndim != 1 or not values.size:
        raise CoalaError(f"strengths must be a vector of at least one value; got {values.shape}")
    with jax.default_matmul_precision("highest"):
        inputs = require_gradient((params, arrays, values))
        path = _path(*inputs, config, key, gates)
    return require_solved(path)


@functools.partial(jax.jit, static_argnames="config")
def _path(
    params: Params,
    features: Arrays,
    strengths: jax.Array,
    config: Config,
    key: jax.Array | None,
    gates: jax.Array | None,
) -> Phase1Solution:
    prepared = prepare(params, features, config, key, gates)
    problem, _ = at_strength(params._replace(group_lasso=strengths[0]), config, prepared)
    start = lax.stop_gradient(cronos_init(problem, adapt_rows=rows_pay(config, problem.program)))

    def one(start: CronosState, value: jax.Array) -> tuple[CronosState, Phase1Solution]:
        here = params._replace(group_lasso=value)
        problem, vanishes = at_strength(here, config, prepared)
        # The penalty of a state that has taken a step is the one that its steps have found.
        penalty = jnp.where(start.size > 0, start.penalty, problem.penalty)
        start = start._replace(penalty=penalty)
        status = zero_or_status(vanishes, input_status(here, features, gates))
        result = solve_held(here, config, problem, prepared.cones, status, start)
        broken = result.status == Status.BREAKDOWN
        last = jax.tree.map(lambda old, new: jnp.where(broken, old, new), start, result.state)
        return last, phase1_solution(here, features, prepared, problem.program, result)

    return lax.scan(one, start, strengths)[1]
