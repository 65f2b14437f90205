"""An experiment's figures for trackers: certificates step by step, Phase II, and the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coala_jax._solution import RewardMetrics
from coala_jax._trackers import FINAL, open_trackers
from coala_jax.study._experiment import Experiment, Say

# What of the report is the configuration of a run.
SETTINGS = ("command", "seed", "params", "config", "pairs", "features", "split", "versions")
STEPS, EPOCHS = "phase1/iteration", "phase2/epoch"


def track_experiment(
    names: Sequence[str], experiment: Experiment, report: Mapping[str, Any], folder: Path, say: Say
) -> None:
    """Give trackers all figures of an experiment; one that fails is said, and nothing is raised.

    Args:
        names: of the trackers; with none nothing happens.
        experiment: what was run.
        report: from `build_report`.
        folder: that its files were written to.
        say: takes a line for people.
    """
    if not names:
        return
    config = {name: report[name] for name in SETTINGS}
    with open_trackers(names, folder, config, say) as log:
        for clock, step, figures in tracked_figures(experiment, report):
            log(clock, step, figures)


def tracked_figures(
    experiment: Experiment, report: Mapping[str, Any]
) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Figures in order, each with its clock: the steps of ADMM, then epochs, then of the whole.

    Primal and dual value and gap are those of the certificate at that step; the metrics of Phase II
    have the names of TRL's trainers.
    """
    first = experiment.phases.phase1.history.trim()
    steps = np.asarray(first.iteration)
    for at, step in enumerate(steps):
        figures = {
            name: trace[at] for name, trace in first._asdict().items() if name != "iteration"
        }
        yield STEPS, int(step), {f"phase1/{name}": float(value) for name, value in figures.items()}
    history = experiment.history
    for epoch in range(len(history.train.loss)):
        yield (
            EPOCHS,
            epoch,
            {**_of("train", history.train, epoch), **_of("eval", history.eval, epoch)},
        )
    yield FINAL, 0, dict(_final(report))


def _of(part: str, metrics: RewardMetrics | None, epoch: int) -> dict[str, float]:
    """Metrics of one part of the pairs after an epoch."""
    assert metrics is not None  # an experiment always has held-out pairs
    named = {
        "loss": metrics.loss,
        "log_loss": metrics.log_loss,
        "rewards/accuracies": metrics.accuracy,
        "rewards/margins": metrics.reward_margin,
    }
    return {f"{part}/{name}": float(trace[epoch]) for name, trace in named.items()}


def _final(report: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers of the report that say what came of it."""
    for part in ("phase1", "phase2", "eval", "baseline"):
        for name, value in _flat(part, report[part]):
            if not isinstance(value, bool) and isinstance(value, int | float):
                yield f"final/{name}", float(value)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(f"{prefix}/{name}", item)
    else:
        yield prefix, value
