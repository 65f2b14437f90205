"""The figures of a report as lines for people: the same at the terminal and on the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from coala_jax._intervals import Interval
from coala_jax._model_card import RIVALS
from coala_jax._status import Status
from coala_jax._verdict import Rival, Verdict, bracketed, verdict_lines

Report = Mapping[str, Any]


def number(value: float | None) -> float:
    """A figure of JSON, which has null for NaN."""
    return math.nan if value is None else value


def interval(fields: Mapping[str, float | None]) -> Interval:
    """An interval of JSON."""
    return Interval(*(number(fields[name]) for name in Interval._fields))


def verdict_of(report: Report) -> list[str]:
    """Of what use the head is."""
    pairs, held, baseline = report["pairs"], report["eval"], report["baseline"]
    source = (
        f"{pairs['eval']} held-out pairs ({pairs['train']} trained on, split by "
        f"{report['split']['by']})"
    )
    if cuts := report["prefixes"]:
        source = f"{cuts['eval']} beginnings of {source}"
    verdict = Verdict(
        interval(held["accuracy_interval"]),
        interval(held["calibrated_log_loss"]),
        number(held["calibration_error"]),
        number(report["train"]["rewards/accuracies"]),
        tuple(
            Rival(name, baseline[f"{key}_accuracy"], interval(baseline[f"head_minus_{key}"]))
            for name, key in RIVALS.items()
            if baseline[f"{key}_accuracy"] is not None
        ),
        tuple(report["warnings"]),
    )
    lines = verdict_lines(verdict, source)
    if baseline["length_accuracy"] is None and not cuts:  # the two of a cut are as long
        lines.append("length rule unknown: give --data, the rows behind the features")
    return lines


def accuracies_of(report: Report) -> dict[str, tuple[Interval, Interval | None]]:
    """By name the accuracy of the head and of what it has to beat; the head less that."""
    baseline = report["baseline"]
    found: dict[str, tuple[Interval, Interval | None]] = {
        "head": (interval(report["eval"]["accuracy_interval"]), None)
    }
    for name, key in RIVALS.items():
        mean = baseline[f"{key}_accuracy"]
        if mean is not None:
            alone = {"mean": mean, "low": None, "high": None}  # an earlier version has no interval
            reached = interval(baseline.get(f"{key}_interval", alone))
            found[name] = reached, interval(baseline[f"head_minus_{key}"])
    return found


def status_of(report: Report) -> str:
    """How the solve ended, and what to change."""
    return f"{report['status']}: {Status[report['status'].upper()].text}"


def phase1_of(report: Report) -> list[str]:
    """What is certified of Phase I, and what it took."""
    first = report["phase1"]
    return [
        f"{first['status']}: {_certified(first)}",
        f"{first['iterations']} iterations, {first['active_neurons']} active neurons, "
        f"{_seconds(first)}",
    ]


def phase2_of(report: Report) -> list[str]:
    """What Phase II did, where it ran."""
    if report["config"]["phase2_objective"] == "none":
        return ["none: the head is that of Phase I"]
    second, held = report["phase2"], report["eval"]
    loss, excess = number(second["loss"]), number(second["excess"])
    before, after = (number(part["rewards/margins"]) for part in (held["initial"], held))
    return [
        f"{second['status']}: {second['epochs']} epochs, loss {loss:.4f}, at most {excess:.1e} "
        f"nats above its optimum, {_seconds(second)}",
        f"held-out reward margin {before:+.3f} before Phase II, {after:+.3f} of the head",
    ]


def curve_of(report: Report) -> list[str]:
    """The learning curve, where it was asked for."""
    return [
        f"{point['pairs']:,} training pairs: accuracy {bracketed(interval(point['head']))}"
        for point in report.get("learning_curve") or ()
    ]


def _certified(phase1: Report) -> str:
    """What is certified of Phase I, if anything is."""
    if phase1["status"] == Status.ZERO_NETWORK.name.lower():
        return "no network was sought"
    if phase1["status"] == Status.SOLVED_WITHOUT_GAP.name.lower():
        return "without a strength there is no gap to certify"
    return (
        f"certified gap {number(phase1['relative_gap']):.2e} for these gates, cone violation "
        f"{number(phase1['cone_violation']):.2e} before projection, explained "
        f"{number(phase1['explained']):.1%} of the possible improvement over zero"
    )


def _seconds(phase: Report) -> str:
    return f"{phase['seconds']:.1f} s (and {phase['compile_seconds']:.1f} s to trace and compile)"
