"""One call: Phase I, then Phase II."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from coala_jax._gradients import require_gradient, require_solved
from coala_jax._types import (
    SUCCESSES,
    Config,
    History,
    Params,
    PreferenceFeatures,
    Solution,
    Stats,
    Status,
)
from coala_jax.convex import cronos
from coala_jax.preference import finetune

DEFAULT_SEED = 0


def solve(
    params: Params,
    features: PreferenceFeatures,
    *,
    config: Config = Config(),  # noqa: B008 - frozen and hashable
    key: jax.Array | None = None,
    eval_features: PreferenceFeatures | None = None,
) -> Solution:
    """Align a reward head with preference pairs (COALA, arXiv 2605.23244).

    Phase I trains a two-layer network to a certified optimum of its convex program, Phase II
    refits its second layer to the Bradley-Terry loss. Pure: jit and vmap over any leaf of `params`
    work, and a new value of a leaf never recompiles. Reverse-mode gradients of the head are those
    of the two optima, by implicit differentiation with the gates held fixed.

    Args:
        params: scalars of the solve.
        features: n >= 2 pairs of (n, d) frozen features; float16, bfloat16, float32 or float64.
            Computed in float32, or in float64 where x64 is on.
        config: static settings.
        key: typed key of gates and minibatches; `jax.random.key(0)` if None.
        eval_features: held-out pairs whose metrics are recorded in the history.

    Returns:
        A `Solution`. Bad values and unmet tolerances show in `status`, which
        `raise_for_status()` turns into an exception.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, with the argument named.
        SolveError: a gradient was asked for where the solve did not meet its tolerances (outside
            jit; under it such a gradient is NaN).

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> solution = coala_jax.solve(coala_jax.Params(), features)
        >>> solution.head(chosen).shape
        (64,)
    """
    key = jax.random.key(DEFAULT_SEED) if key is None else key
    params, features = require_gradient((params, features))
    solution = _solve(params, features, key, eval_features, config)
    return solution._replace(head=require_solved(solution.head, solution.status))


@functools.partial(jax.jit, static_argnames="config")
def _solve(
    params: Params,
    features: PreferenceFeatures,
    key: jax.Array,
    eval_features: PreferenceFeatures | None,
    config: Config,
) -> Solution:
    gate_key, batch_key = jax.random.split(key)
    phase1 = cronos(params, features, config=config, key=gate_key)
    phase2 = finetune(
        params, phase1.head, features, config=config, key=batch_key, eval_features=eval_features
    )
    failed = ~jnp.isin(phase1.status, jnp.asarray(SUCCESSES))
    status = jnp.where(failed | (phase2.status == Status.SOLVED), phase1.status, phase2.status)
    first, second = phase1.stats._asdict(), phase2.stats._asdict()
    stats = Stats(
        status=status,
        phase1_status=first.pop("status"),
        phase2_status=second.pop("status"),
        **first,
        **second,
    )
    history = History(phase1.history, phase2.history)
    return Solution(phase2.head, status, stats, history, phase1.certificate)
