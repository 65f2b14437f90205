"""`report.json`: what was solved, how well, how fast, against what, on what machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from coala_jax._intervals import cluster_interval, share_interval
from coala_jax._machine import device, versions
from coala_jax._solution import Phase1History, RewardMetrics
from coala_jax._status import Status
from coala_jax._types import settings_record
from coala_jax._verdict import Unseen
from coala_jax.convex._flops import admm_flops
from coala_jax.selection import Candidate, Choice
from coala_jax.study._baselines import RIDGE_GRID, weighted_mean
from coala_jax.study._experiment import Experiment
from coala_jax.study._held_out_bins import margin_histogram, reliability
from coala_jax.study._learning_curve import LearningCurve
from coala_jax.study._timed_phases import Seconds


def build_report(
    experiment: Experiment, command: str, curve: LearningCurve | None = None
) -> dict[str, Any]:
    """All figures of an experiment as JSON values; statuses in lower case.

    Args:
        experiment: what was run.
        command: the command line that ran it.
        curve: from `learning_curve`; None where it was not asked for.

    Returns:
        The report. Numbers that do not exist are None.
    """
    train, held, verdict = experiment.train, experiment.eval, experiment.verdict
    metrics, phases = experiment.metrics, experiment.phases
    return {
        "command": command,
        "seed": experiment.settings.seed,
        "status": phases.status.name.lower(),
        "warnings": list(verdict.warnings),
        "head": "phase1" if experiment.head is phases.phase1.head else "phase2",
        "temperature": experiment.temperature,
        "selection": _selection(experiment.choice),
        "pairs": {"train": train.pair_count(), "eval": held.pair_count()},
        "groups": None
        if train.groups is None or held.groups is None
        else {"train": len(train.groups.responses), "eval": len(held.groups.responses)},
        "prefixes": None
        if train.prefix_of is None
        else {"train": len(train.chosen), "eval": len(held.chosen)},
        "features": {
            "source": train.source,
            "width": experiment.width,
            "constant_columns": list(experiment.constant_columns),
        },
        "split": {
            "by": train.split_by,
            "train_keys": len(set(train.keys)),
            "eval_keys": len(set(held.keys)),
        },
        "rows": {"set_aside": _counts(train.set_aside_counts), "cut": _counts(train.cut)},
        "phase1": _phase(phases.phase1.stats, phases.seconds1)
        | {
            "admm_flops": _admm_flops(experiment),
            "critical_strength": float(phases.phase1.stats.lambda_max),  # its key in 0.1
        },
        "phase2": _phase(phases.phase2.stats, phases.seconds2),
        "train": _metrics(metrics.train) | {"initial": _metrics(metrics.train_initial)},
        "eval": _metrics(metrics.eval)
        | {
            "initial": _metrics(metrics.eval_initial),
            "accuracy_interval": verdict.accuracy._asdict(),
            "calibrated_log_loss": verdict.log_loss._asdict(),
            "calibration_error": verdict.calibration_error,
        },
        "baseline": _baseline(experiment),
        "held_out": {
            "margins": margin_histogram(experiment.margins),
            "reliability": reliability(
                Unseen(experiment.margins, held.keys, held.weight), experiment.temperature
            ),
        },
        "learning_curve": curve,
        **settings_record(experiment.settings.params, experiment.settings.config),
        "versions": versions(),
        "device": device(),
    }


def build_history(experiment: Experiment) -> dict[str, Any]:
    """Phase I check by check, Phase II epoch by epoch, the first entry before any step.

    Lists of equal length in each phase.
    """
    history = experiment.history
    assert history.eval is not None  # an experiment always has held-out pairs
    return {
        "epoch": list(range(len(history.train.loss))),
        "train": _traces(history.train),
        "eval": _traces(history.eval),
        "phase1": _traces(experiment.phases.phase1.history.trim()),
    }


def _selection(choice: Choice | None) -> dict[str, Any] | None:
    """The table that the strengths were chosen from; an infinite strength is none in JSON."""
    if choice is None:
        return None

    def fields(candidate: Candidate) -> dict[str, Any]:
        finite = math.isfinite(candidate.group_lasso)
        return {**candidate._asdict(), "group_lasso": candidate.group_lasso if finite else None}

    return {
        "summary": str(choice),
        "folds": choice.folds,
        "choice": fields(choice.candidate),
        "table": [fields(candidate) for candidate in choice.table],
    }


def _phase(stats: NamedTuple, seconds: Seconds) -> dict[str, Any]:
    figures = {name: np.asarray(value).item() for name, value in stats._asdict().items()}
    figures["status"] = Status(figures["status"]).name.lower()
    return figures | {"seconds": seconds.run, "compile_seconds": seconds.compile}


def _admm_flops(experiment: Experiment) -> int:
    """Floating-point operations of Phase I's steps, by formula; certificates are left out."""
    stats, config = experiment.phases.phase1.stats, experiment.settings.config
    return admm_flops(
        int(stats.iterations),
        int(stats.cg_iterations),
        experiment.train.responses(config),
        experiment.width + 1,
        config.n_gates,
        config.model,
    )


def _metrics(metrics: RewardMetrics) -> dict[str, float]:
    return {
        "loss": float(metrics.loss),
        "log_loss": float(metrics.log_loss),
        "rewards/accuracies": float(metrics.accuracy),
        "rewards/margins": float(metrics.reward_margin),
        "sigmoid_margin": float(metrics.sigmoid_margin),
    }


def _traces(metrics: RewardMetrics | Phase1History) -> dict[str, list[float]]:
    return {name: np.asarray(values).tolist() for name, values in metrics._asdict().items()}


def _baseline(experiment: Experiment) -> dict[str, Any]:
    """What the linear probe and the length rule reach, and the head less that."""
    correct, held = experiment.correct, experiment.eval
    probe, rule = experiment.probe, experiment.length_rule
    found: dict[str, Any] = {
        "linear_probe_ridge": None if probe is None else probe.ridge,
        "linear_probe_validation": None
        if probe is None
        else {
            f"{ridge:.3g}": share for ridge, share in zip(RIDGE_GRID, probe.validation, strict=True)
        },
        "length_rule": None if rule is None else ("longer" if rule.longer else "shorter"),
    }
    for key, right in (("linear_probe", correct.probe), ("length", correct.length)):
        accuracy = interval = less = None
        if right is not None:
            accuracy = weighted_mean(right, held.weight)
            interval = share_interval(right, held.keys, held.weight)._asdict()
            less = cluster_interval(correct.head - right, held.keys, held.weight)._asdict()
        found |= {
            f"{key}_accuracy": accuracy,
            f"{key}_interval": interval,
            f"head_minus_{key}": less,
        }
    return found


def _counts(counts: Mapping[str, int] | None) -> dict[str, int] | None:
    return None if counts is None else dict(counts)
