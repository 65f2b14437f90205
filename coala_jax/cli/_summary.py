"""A report as a few lines for people, and as an exit code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from coala_jax._head_files import ACCOUNT
from coala_jax._status import SUCCESSES
from coala_jax.cli._output import DONE, NOT_SOLVED, counts_line, report, say
from coala_jax.study._experiment import Experiment
from coala_jax.study._experiment_words import (
    curve_of,
    phase1_of,
    phase2_of,
    status_of,
    verdict_of,
)
from coala_jax.study._head_folder import write_experiment
from coala_jax.study._learning_curve import LearningCurve
from coala_jax.study._report import build_report
from coala_jax.study._tracking import track_experiment


def finish(
    arguments: argparse.Namespace,
    experiment: Experiment,
    out: Path,
    curve: LearningCurve | None,
) -> int:
    """Write the folder of an experiment, print its summary, tell trackers; give the exit code."""
    figures = build_report(experiment, arguments.command_line, curve)
    if (out / ACCOUNT).exists():
        say(f"{out}: the head that was there is replaced")
    files = write_experiment(out, experiment, figures, say)
    result = {"out": out, "files": files, **figures}
    report(arguments, result, [*verdict_of(figures), *_lines(figures, out, files)])
    track_experiment(arguments.report_to or (), experiment, figures, out, say)
    code = exit_code(experiment)
    if code != DONE:
        say(status_of(figures))
    return code


def exit_code(experiment: Experiment) -> int:
    """Whether both phases of an experiment are solved."""
    return DONE if experiment.phases.status in SUCCESSES else NOT_SOLVED


def _lines(report: dict[str, Any], out: Path, files: list[Path]) -> list[str]:
    """What was chosen and certified, and where things are."""
    chosen = report["selection"]
    return [
        *([] if chosen is None else [f"chosen    {chosen['summary']}"]),
        *_beside("Phase I", phase1_of(report)),
        *_beside("Phase II", phase2_of(report)),
        *_beside("learning", curve_of(report)),
        *counts_line("rows set aside", report["rows"]["set_aside"]),
        *counts_line("pairs cut to the context", report["rows"]["cut"]),
        f"written   {out}: {', '.join(file.name for file in files)}",
    ]


def _beside(title: str, lines: list[str]) -> list[str]:
    """Lines in a column of their own, the title beside the first."""
    return [f"{title if at == 0 else '':10}{line}" for at, line in enumerate(lines)]
