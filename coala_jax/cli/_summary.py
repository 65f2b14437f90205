"""A report as a few lines for people, and as an exit code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from coala_jax._head import ACCOUNT
from coala_jax._status import SUCCESSES, Status
from coala_jax._verdict import verdict_lines
from coala_jax.cli._output import counts_line, report, say
from coala_jax.study._experiment import Experiment
from coala_jax.study._folder import write_experiment
from coala_jax.study._report import build_report
from coala_jax.study._tracking import track_experiment

SOLVED, NOT_SOLVED = 0, 3


def finish(arguments: argparse.Namespace, experiment: Experiment, out: Path) -> int:
    """Write the folder of an experiment, print its summary, tell trackers; give the exit code."""
    figures = build_report(experiment, arguments.command_line)
    if (out / ACCOUNT).exists():
        say(f"{out}: the head that was there is replaced")
    files = write_experiment(out, experiment, figures, say)
    result = {"out": out, "files": files, **figures}
    report(arguments, result, [*_verdict(experiment, figures), *_lines(figures, out, files)])
    track_experiment(arguments.report_to or (), experiment, figures, out, say)
    code = exit_code(experiment)
    if code != SOLVED:
        say(f"{figures['status']}: {experiment.phases.status.text}")
    return code


def exit_code(experiment: Experiment) -> int:
    """Whether both phases of an experiment are solved."""
    return SOLVED if experiment.phases.status in SUCCESSES else NOT_SOLVED


def _lines(report: dict[str, Any], out: Path, files: list[Path]) -> list[str]:
    """What was chosen and certified, and where things are."""
    first = report["phase1"]
    return [
        *_chosen(report["selection"]),
        f"Phase I   {first['status']}: {_certified(first)}",
        f"          {first['iterations']} iterations, {first['active_neurons']} active neurons, "
        f"{_seconds(first)}",
        *_phase2(report),
        *counts_line("rows set aside", report["rows"]["set_aside"]),
        *counts_line("pairs cut to the context", report["rows"]["cut"]),
        f"written   {out}: {', '.join(file.name for file in files)}",
    ]


def _phase2(report: dict[str, Any]) -> list[str]:
    """What Phase II did, where it ran."""
    if report["config"]["phase2_objective"] == "none":
        return ["Phase II  none: the head is that of Phase I"]
    second, held = report["phase2"], report["eval"]
    return [
        f"Phase II  {second['status']}: {second['epochs']} epochs, loss {second['loss']:.4f}, "
        f"at most {second['excess']:.1e} nats above its optimum, {_seconds(second)}",
        f"          held-out reward margin {held['initial']['rewards/margins']:+.3f} before "
        f"Phase II, {held['rewards/margins']:+.3f} of the head",
    ]


def _verdict(experiment: Experiment, report: dict[str, Any]) -> list[str]:
    """Of what use the head is."""
    pairs, by = report["pairs"], report["split"]["by"]
    source = f"{pairs['eval']} held-out pairs ({pairs['train']} trained on, split by {by})"
    if cuts := report["prefixes"]:
        source = f"{cuts['eval']} beginnings of {source}"
    lines = verdict_lines(experiment.verdict, source)
    if experiment.correct.length is None and not cuts:  # the two of a cut are as long
        lines.append("length rule unknown: give --data, the rows behind the features")
    return lines


def _chosen(selection: dict[str, Any] | None) -> list[str]:
    """Which strengths were chosen, in a line."""
    if selection is None:
        return []
    return [f"chosen    {selection['summary']}"]


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
