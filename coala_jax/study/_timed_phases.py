"""Both phases as `coala_jax.solve` runs them, with compilation and running timed apart."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from coala_jax._group_inputs import prepare_both
from coala_jax._inputs import prepare_params
from coala_jax._row_mesh import on_host
from coala_jax._solution import Phase1Solution, Phase2Solution, Stats
from coala_jax._status import Status
from coala_jax._types import Config, Features, Params
from coala_jax.convex._memory import refuse_what_cannot_fit
from coala_jax.convex._phase1 import phase1_of
from coala_jax.preference._finetune import phase2_of


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
    refuse_what_cannot_fit(features, config)
    # Where rows lie is known outside of any jit alone.
    with jax.default_matmul_precision("highest"):
        arrays, held_out = prepare_both(config, features, eval_features)
    phase1, seconds1 = _timed(
        lambda params, arrays, key: phase1_of(params, arrays, config, key, None),
        *(params, arrays, gate_key),
    )
    phase2, seconds2 = _timed(
        lambda params, head, arrays, held_out, key: phase2_of(
            params, head, arrays, held_out, config, key
        ),
        *(params, phase1.head, arrays, held_out, batch_key),
    )
    return TimedPhases(_told(phase1), _told(phase2), seconds1, seconds2)


def _told(solution: Any) -> Any:
    """A solution of a phase in every process, but for what it has of each row."""
    names = ("head", "status", "stats", "history")
    host = {name: jax.tree.map(on_host, getattr(solution, name)) for name in names}
    return dataclasses.replace(solution, **host)


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Seconds]:
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    ready = time.perf_counter()
    result = jax.block_until_ready(compiled(*arguments))
    return result, Seconds(run=time.perf_counter() - ready, compile=ready - start)
