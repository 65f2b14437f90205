"""The picture of a head: what it does on held-out pairs, and how it was solved."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

from coala_jax._accuracy import TIE
from coala_jax.study._experiment_words import accuracies_of, number
from coala_jax.study._history_points import checks_of, points_of

# Blue and vermilion of the Okabe-Ito palette, which colour-blind readers tell apart; the dashes
# do it in grey.
FIRST, SECOND, QUIET = "#0072B2", "#D55E00", "#8a8a8a"
# Room above the bars, of the highest.
_LEGEND_ROOM = 1.2
_MISSING = "not in this report"
INCHES, PAD = (10.0, 7.6), 0.12
DOTS_PER_INCH = 150


def head_picture(report: Mapping[str, Any], history: Mapping[str, Any]) -> bytes:
    """The picture as PNG; no display is needed.

    Four panels: accuracy with intervals beside the other rules, mean margins before and after,
    the histogram of held-out margins, and primal, dual and gap against steps.

    Args:
        report: what ``report.json`` of a head says. A panel says what one of an earlier version
            lacks.
        history: what ``history.json`` says.

    Returns:
        The same bytes of the same figures.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=INCHES, layout=ConstrainedLayoutEngine(w_pad=PAD, h_pad=PAD))
    FigureCanvasAgg(figure)
    panels = figure.add_gridspec(2, 2)
    _accuracies(figure.add_subplot(panels[0, 0]), report)
    _margins(figure.add_subplot(panels[0, 1]), report, history)
    _histogram(figure.add_subplot(panels[1, 0]), report)
    of_steps = panels[1, 1].subgridspec(2, 1, hspace=0.08)
    values = figure.add_subplot(of_steps[0])
    _checks(values, figure.add_subplot(of_steps[1], sharex=values), report, history)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    # Without the version in its metadata, the same run gives the same bytes.
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return file.getvalue()


def _accuracies(axes: Any, report: Mapping[str, Any]) -> None:
    """Held-out accuracy of the head and of what it has to beat."""
    found = accuracies_of(report)
    for place, (name, (reached, _)) in enumerate(found.items()):
        ends = [0.0, 0.0]
        if not math.isnan(reached.low):
            ends = [reached.mean - reached.low, reached.high - reached.mean]
        axes.errorbar(
            reached.mean,
            place,
            xerr=[[end] for end in ends],
            fmt="o",
            markersize=7,
            capsize=4,
            color=FIRST if name == "head" else QUIET,
        )
        axes.annotate(
            f"{reached.mean:.3f}",
            (reached.mean, place),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
        )
    axes.axvline(TIE, color=QUIET, linestyle=":", linewidth=1)
    axes.annotate(
        "chance",
        (TIE, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        color=QUIET,
    )
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.6)
    axes.margins(x=0.1)
    axes.grid(axis="x", alpha=0.3)
    axes.set(
        title="Accuracy on held-out pairs",
        xlabel=f"share of {report['pairs']['eval']:,} pairs ordered right, 95 % intervals",
    )


def _margins(axes: Any, report: Mapping[str, Any], history: Mapping[str, Any]) -> None:
    """Mean margins from the end of Phase I to the end of Phase II."""
    epochs = history["epoch"]
    parts = {"train": "training pairs", "eval": "held-out pairs"}
    axes.set(ylabel="mean of r(chosen) \u2212 r(rejected)")
    axes.grid(axis="y", alpha=0.3)
    if len(epochs) == 1:
        means = [number(history[part]["reward_margin"][0]) for part in parts]
        bars = axes.bar(list(parts.values()), means, width=0.5, color=[FIRST, SECOND])
        axes.bar_label(bars, fmt="%+.2f", padding=2)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.margins(y=0.15)
        axes.set(title="Mean margins; Phase II did not run")
        return
    for (part, name), colour, dashes in zip(
        parts.items(), (FIRST, SECOND), ("-", "--"), strict=True
    ):
        margins = history[part]["reward_margin"]
        first, last = number(margins[0]), number(margins[-1])
        axes.plot(
            *zip(*points_of(epochs, margins), strict=True),
            color=colour,
            linestyle=dashes,
            label=f"{name}: {first:+.2f} to {last:+.2f}",
        )
    kept = "; the head of Phase I is kept" if report["head"] == "phase1" else ""
    axes.set(
        title=f"Mean margins before and after Phase II{kept}",
        xlabel="epochs of Phase II, which also sets the scale of rewards",
    )
    axes.legend(frameon=False)


def _histogram(axes: Any, report: Mapping[str, Any]) -> None:
    """Held-out margins of the head."""
    axes.set(title="Margins of held-out pairs", ylabel="pairs")
    axes.set_xlabel("r(chosen) \u2212 r(rejected) of the head")
    held = report.get("held_out")
    if held is None:
        _say(axes, _MISSING)
        return
    edges, pairs = held["margins"]["edges"], held["margins"]["pairs"]
    middle = edges.index(0)
    for counts, own, colour, name in (
        (pairs[:middle], edges[: middle + 1], SECOND, "ordered wrong"),
        (pairs[middle:], edges[middle:], FIRST, "ordered right"),
    ):
        axes.stairs(counts, own, fill=True, color=colour, label=name)
    axes.grid(axis="y", alpha=0.3)
    axes.set_ylim(0, _LEGEND_ROOM * max(1, *pairs))
    axes.legend(frameon=False, ncols=2, loc="upper center")


def _checks(values: Any, gaps: Any, report: Mapping[str, Any], history: Mapping[str, Any]) -> None:
    """Primal value and dual bound above, their relative gap below."""
    found = checks_of(history)
    values.set(title="Phase I: the certificate", ylabel="objective")
    gaps.set(xlabel="steps of ADMM", ylabel="relative gap")
    values.tick_params(labelbottom=False)
    if not found.primal:
        gaps.set_axis_off()
        _say(values, _MISSING)
        return
    for points, style in (
        (found.primal, {"color": FIRST, "label": "primal value"}),
        (found.dual, {"color": SECOND, "linestyle": "--", "label": "dual bound"}),
    ):
        if points:
            values.plot(*zip(*points, strict=True), marker="o", markersize=3, **style)
    values.legend(frameon=False)
    if found.gap:
        gaps.plot(*zip(*found.gap, strict=True), marker="o", markersize=3, color=FIRST)
        gaps.set_yscale("log")
    gaps.axhline(report["params"]["gap_tolerance"], color=QUIET, linestyle=":", label="tolerance")
    gaps.legend(frameon=False)
    for axes in (values, gaps):
        axes.grid(alpha=0.3)


def _say(axes: Any, text: str) -> None:
    """A text where there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=QUIET)
