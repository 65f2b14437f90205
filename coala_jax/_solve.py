"""One call: Phase I, then Phase II; on sampled gates, on given ones or on refined ones."""

from __future__ import annotations

import functools

import jax

from coala_jax._gradients import require_gradient, require_solved
from coala_jax._group_inputs import Arrays, prepare_both
from coala_jax._inputs import key_or_default, prepare_params, require_kind
from coala_jax._solution import History, Phase1Solution, Phase2Solution, Solution, Stats
from coala_jax._types import Config, Features, Params
from coala_jax.convex._memory import refuse_what_cannot_fit
from coala_jax.convex._phase1 import phase1_of
from coala_jax.convex._refine import refinement_rounds
from coala_jax.preference import finetune
from coala_jax.preference._finetune import phase2_of


def solve(
    params: Params,
    features: Features,
    *,
    config: Config = Config(),
    key: jax.Array | None = None,
    gates: jax.Array | None = None,
    eval_features: Features | None = None,
) -> Solution:
    """Align a reward head with preference pairs (COALA, arXiv 2605.23244).

    Phase I trains a two-layer network to a certified optimum of its convex program, Phase II
    refits its second layer to the Bradley-Terry loss. Pure: jit and vmap over any leaf of `params`
    work, and a new value of a leaf never recompiles. Reverse-mode gradients of the head are those
    of the two optima, by implicit differentiation with the gates held fixed.

    Args:
        params: scalars of the solve.
        features: n >= 2 pairs of (n, d) frozen features, or groups of (n, k, d) with a loss of
            groups; float16, bfloat16, float32 or float64. Computed in float32, or in float64 where
            x64 is on.
        config: static settings.
        key: typed key of gates and minibatches; `jax.random.key(0)` if None.
        gates: (P, d + 1) gate vectors on standardised features with a bias, instead of sampling.
        eval_features: held-out pairs or groups whose metrics are recorded in the history.

    Returns:
        A `Solution`. Bad values and unmet tolerances show in `status`, which
        `raise_for_status()` turns into an exception.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, with the argument named.
        SolveError: a gradient was asked for where the solve did not meet its tolerances (outside
            jit; under it such a gradient is NaN).
        TypeError: a derivative in forward mode (`jax.jvp`, `jax.jacfwd`), or a second one.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> solution = coala_jax.solve(coala_jax.Params(), features)
        >>> solution.head(chosen).shape
        (64,)
    """
    require_kind("config", config, Config)
    config.require_phases_agree()
    refuse_what_cannot_fit(features, config)
    # Outside of jit, under which no array says where its rows lie.
    prepared, held_out = prepare_both(config, features, eval_features)
    params, prepared = require_gradient((prepare_params(params), prepared))
    inputs = (params, prepared, key_or_default(key), gates, held_out)
    return require_solved(_solve(*inputs, config))


@functools.partial(jax.jit, static_argnames="config")
def _solve(
    params: Params,
    features: Arrays,
    key: jax.Array,
    gates: jax.Array | None,
    eval_features: Arrays | None,
    config: Config,
) -> Solution:
    gate_key, batch_key = jax.random.split(key)
    phase1 = phase1_of(params, features, config, gate_key, gates)
    phase2 = phase2_of(params, phase1.head, features, eval_features, config, batch_key)
    return _both(phase1, phase2)


def refine_gates(
    params: Params,
    features: Features,
    *,
    config: Config = Config(),
    key: jax.Array | None = None,
    eval_features: Features | None = None,
    max_rounds: int = 10,
) -> Solution:
    """`solve` with gates that the network itself has moved to; docs/solver.md, Program, says why.

    Phase I is solved, its network descends its own objective across the cones, and the gates that
    it arrives at make the next program, as long as each lowers the objective by 0.1 %; the strength
    stays that of the first. Then comes Phase II. Runs rounds on the host: not under jit or vmap.

    Args:
        params: as for `solve`.
        features: as for `solve`.
        config: as for `solve`; `model` must be `"relu"`.
        key: as for `solve`.
        eval_features: as for `solve`.
        max_rounds: largest number of rounds after the first solve.

    Returns:
        The solution on the best gates. Its Phase I is that of the last round; look at its status:
        a round that ran into the iteration cap counts by its objective.

    Raises:
        TypeError, ValueError: as for `solve`; a gated model.

    Example:
        >>> import coala_jax, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> chosen, rejected = rng.normal(0.5, 1, (64, 4)), rng.normal(0, 1, (64, 4))
        >>> features = coala_jax.PreferenceFeatures(chosen, rejected)
        >>> refined = coala_jax.refine_gates(coala_jax.Params(), features, max_rounds=1)
        >>> refined.head(chosen).shape
        (64,)
    """
    gate_key, batch_key = jax.random.split(key_or_default(key))
    rounds = refinement_rounds(params, features, config=config, key=gate_key, max_rounds=max_rounds)
    phase2 = finetune(
        params, rounds[-1].head, features, config=config, key=batch_key, eval_features=eval_features
    )
    return _both(rounds[-1], phase2)


def _both(phase1: Phase1Solution, phase2: Phase2Solution) -> Solution:
    stats = Stats(phase1.stats, phase2.stats)
    history = History(phase1.history, phase2.history)
    return Solution(phase2.head, stats.status, stats, history, phase1.certificate)
