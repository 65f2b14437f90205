"""Both phases as `coala_jax.solve` runs them, with compilation and running timed apart."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from coala_jax._inputs import prepare_params
from coala_jax._solution import Phase1Solution, Phase2Solution, Stats
from coala_jax._status import Status
from coala_jax._types import Config, Features, Params
from coala_jax.convex import cronos
from coala_jax.preference import finetune


class Seconds(NamedTuple):
    """Wall time of one phase: running it, and compiling it before."""

    run: float
    compile: float


class TimedPhases(NamedTuple):
    """Results and times of both phases."""

    phase1: Phase1Solution
    phase2: Phase2Solution
    seconds1: Seconds
    seconds2: Seconds

    @property
    def status(self) -> Status:
        """The first phase that failed, else that of Phase I: as `Solution.status`."""
        return Status(int(Stats(self.phase1.stats, self.phase2.stats).status))


def run_phases(
    params: Params,
    features: Features,
    eval_features: Features,
    config: Config,
    key: jax.Array,
) -> TimedPhases:
    """Phase I, then Phase II; the same head as `coala_jax.solve` with the same key.

    Args:
        params: scalars of the solve.
        features: training pairs, (n, d), or groups.
        eval_features: held-out pairs or groups, whose metrics the history records.
        config: static settings.
        key: typed key of gates and minibatches.
    """
    gate_key, batch_key = jax.random.split(key)
    params = prepare_params(params)

    def first(params: Params, features: Features, key: jax.Array) -> Phase1Solution:
        return cronos(params, features, config=config, key=key)

    def second(
        params: Params,
        phase1: Phase1Solution,
        features: Features,
        eval_features: Features,
        key: jax.Array,
    ) -> Phase2Solution:
        return finetune(
            params, phase1.head, features, config=config, key=key, eval_features=eval_features
        )

    phase1, seconds1 = _timed(first, params, features, gate_key)
    phase2, seconds2 = _timed(second, params, phase1, features, eval_features, batch_key)
    return TimedPhases(phase1, phase2, seconds1, seconds2)


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Seconds]:
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    ready = time.perf_counter()
    result = jax.block_until_ready(compiled(*arguments))
    return result, Seconds(run=time.perf_counter() - ready, compile=ready - start)
