"""The report of a head as one HTML page that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jinja2

from coala_jax._status import SUCCESSES
from coala_jax._templates import templates_of
from coala_jax._verdict import bracketed
from coala_jax.study._charts import accuracy_chart
from coala_jax.study._experiment_words import (
    accuracies_of,
    interval,
    phase1_of,
    phase2_of,
    status_of,
    verdict_of,
)
from coala_jax.study._head_charts import curve_chart, margin_chart, reliability_chart
from coala_jax.study._history_points import checks_of, points_of

Figures = Mapping[str, Any]
_SOLVED = tuple(status.name.lower() for status in SUCCESSES)
_WARNING = "warning: "
_OPTIONAL = ("margins", "reliability", "objective", "gap", "loss", "margin", "learning_curve")
_ORDERED = "held-out pairs ordered right"


def head_page(report: Figures, history: Figures, identity: Figures, name: str) -> str:
    """The page: verdict, accuracy, margins, calibration, certificate, data, settings.

    Args:
        report: what ``report.json`` of a head says. What one of an earlier version lacks is left
            out.
        history: what ``history.json`` says.
        identity: how the features were made, by name; empty where it is not known.
        name: of the head, for the title.

    Returns:
        HTML without references to anything outside it; all text escaped.

    Raises:
        LookupError: a figure is not there.
    """
    try:
        return _rendered(report, history, identity, name)
    except jinja2.UndefinedError as error:
        raise LookupError(str(error)) from error


def _rendered(report: Figures, history: Figures, identity: Figures, name: str) -> str:
    headline, *lines = verdict_of(report)
    if report["status"] not in _SOLVED:
        lines.append(f"{_WARNING}{status_of(report)}")
    template = templates_of(
        "coala_jax.study", figure=_figure, interval=bracketed, count=_count, counts=_counts
    )
    return template.get_template("head.html.j2").render(
        name=name,
        report=report,
        identity=identity,
        headline=headline,
        said=[line for line in lines if not line.startswith(_WARNING)],
        warnings=[line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)],
        accuracies=accuracies_of(report),
        bins=[
            each | {"right": interval(each["right"])}
            for each in report.get("held_out", {}).get("reliability", ())
        ],
        phase1=phase1_of(report),
        phase2=phase2_of(report),
        charts=_charts(report, history),
    )


def _charts(report: Figures, history: Figures) -> dict[str, str]:
    """Those charts that there are figures for."""
    charts = dict.fromkeys(_OPTIONAL, "") | {
        "accuracies": accuracy_chart(
            {name: reached for name, (reached, _) in accuracies_of(report).items()},
            "Accuracy on held-out pairs, with 95 % intervals",
            _ORDERED,
        )
    }
    if held := report.get("held_out"):
        charts["margins"] = margin_chart(
            held["margins"], "Histogram of reward differences of held-out pairs"
        )
        charts["reliability"] = reliability_chart(
            held["reliability"], "Share of pairs ordered right against confidence"
        )
    return charts | _phase1_charts(report, history) | _phase2_charts(history) | _curve(report)


def _phase1_charts(report: Figures, history: Figures) -> dict[str, str]:
    charts: dict[str, str] = {}
    checks = checks_of(history)
    if checks.primal:
        charts["objective"] = curve_chart(
            {"primal value": checks.primal, "dual bound": checks.dual},
            "Primal value and dual bound against steps of ADMM",
            "steps of ADMM",
            "objective",
        )
    if checks.gap:
        charts["gap"] = curve_chart(
            {"gap": checks.gap},
            "Relative gap against steps of ADMM",
            "steps of ADMM",
            "relative gap, logarithmic; dashed: its tolerance",
            level=report["params"]["gap_tolerance"] or None,
            logarithmic=True,
        )
    return charts


def _phase2_charts(history: Figures) -> dict[str, str]:
    epochs = history["epoch"]
    if len(epochs) < 2:
        return {}
    drawn = {
        "loss": ("loss", "loss with its ridge, nats a pair"),
        "margin": ("reward_margin", "mean reward difference"),
    }
    charts: dict[str, str] = {}
    for chart, (field, label) in drawn.items():
        curves = {
            f"{part} pairs": points_of(epochs, history[key][field])
            for part, key in (("training", "train"), ("held-out", "eval"))
        }
        if any(curves.values()):
            title = f"Phase II: {label} against epochs"
            charts[chart] = curve_chart(curves, title, "epochs of Phase II", label)
    return charts


def _curve(report: Figures) -> dict[str, str]:
    """The learning curve, where it was asked for."""
    points = report.get("learning_curve")
    if not points:
        return {}
    shown = {f"{point['pairs']:,} training pairs": interval(point["head"]) for point in points}
    title = "Accuracy on held-out pairs by how many pairs were trained on"
    return {"learning_curve": accuracy_chart(shown, title, _ORDERED)}


def _figure(value: float | None, form: str = ".3f") -> str:
    """A figure that may not be there."""
    return "unknown" if value is None or math.isnan(value) else format(value, form)


def _count(value: int) -> str:
    return f"{value:,}"


def _counts(reasons: Mapping[str, int] | None) -> str:
    """Counts by reason."""
    if reasons is None:
        return "not known of these features"
    shown = [f"{reason} {count:,}" for reason, count in reasons.items() if count]
    return ", ".join(shown) or "none"
