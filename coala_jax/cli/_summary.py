"""A report as a few lines for people, and as an exit code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from coala_jax._status import SUCCESSES, Status
from coala_jax.cli._output import counts_line, report, say
from coala_jax.study._experiment import Experiment
from coala_jax.study._folder import write_experiment
from coala_jax.study._report import build_report

SOLVED, NOT_SOLVED = 0, 3


def finish(arguments: argparse.Namespace, experiment: Experiment, out: Path) -> int:
    """Write the folder of an experiment, print its summary and give the exit code."""
    figures = build_report(experiment, arguments.command_line)
    files = write_experiment(out, experiment, figures, say)
    result = {"out": out, "files": files, **figures}
    report(arguments, result, _lines(figures, out, files))
    if experiment.phases.status in SUCCESSES:
        return SOLVED
    say(f"{figures['status']}: {experiment.phases.status.text}")
    return NOT_SOLVED


def _lines(report: dict[str, Any], out: Path, files: list[Path]) -> list[str]:
    """The summary: certificate, held-out metrics against the baselines, where things are."""
    first, second = report["phase1"], report["phase2"]
    held, baseline = report["eval"], report["baseline"]
    low, high = (held["accuracy_interval"][end] for end in ("low", "high"))
    return [
        f"Phase I   {first['status']}: {_certified(first)}",
        f"          {first['iterations']} iterations, {first['active_neurons']} active neurons, "
        f"{_seconds(first)}",
        f"Phase II  {second['status']}: {second['epochs']} epochs, loss {second['loss']:.4f}, "
        f"at most {second['excess']:.1e} nats above its optimum, {_seconds(second)}",
        f"held out  accuracy {held['rewards/accuracies']:.3f} [{low:.3f}, {high:.3f}] on "
        f"{report['pairs']['eval']} pairs ({report['pairs']['train']} trained on, split by "
        f"{report['split']['by']})",
        f"          reward margin {held['initial']['rewards/margins']:+.3f} before Phase II, "
        f"{held['rewards/margins']:+.3f} after",
        f"baselines linear probe {_share(baseline['linear_probe_accuracy'])}, "
        f"length rule {_share(baseline['length_accuracy'])}",
        *counts_line("rows set aside", report["rows"]["set_aside"]),
        *counts_line("pairs cut to the context", report["rows"]["cut"]),
        f"written   {out}: {', '.join(file.name for file in files)}",
    ]


def _certified(phase1: dict[str, Any]) -> str:
    """What is certified of Phase I, if anything is."""
    if phase1["status"] == Status.ZERO_NETWORK.name.lower():
        return "no network was sought"
    if phase1["status"] == Status.SOLVED_WITHOUT_GAP.name.lower():
        return "without a strength there is no gap to certify"
    return (
        f"certified gap {phase1['relative_gap']:.2e} for these gates, cone violation "
        f"{phase1['cone_violation']:.2e} before projection, explained {phase1['explained']:.1%} of "
        "the possible improvement over zero"
    )


def _seconds(phase: dict[str, Any]) -> str:
    return f"{phase['seconds']:.1f} s (and {phase['compile_seconds']:.1f} s to trace and compile)"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
