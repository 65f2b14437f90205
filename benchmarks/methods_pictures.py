"""The pictures of benchmarks/methods.py: quality against operations, margins against steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reporting import say

# Of the ways to answer: plain, guided, the best of some.
MARKERS = "o^s"
# Of what a margin is, by the kind of method; each picture row has its own axis.
UNITS = {
    "dpo": "beta * log pi / pi_start, nats",
    "orpo": "beta * mean log probability, nats",
    "reward": "reward (log-odds)",
    "coala": "reward / temperature (log-odds)",
}
STEPS = {"coala": "ADMM steps of Phase I, then its end"}


class Point(NamedTuple):
    """A method, or a way to answer with it: cost, and quality with its interval."""

    name: str
    colour: str
    marker: str
    cost: float
    found: Mapping[str, float]


def draw_quality(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Held-out accuracy, and directness where there is one, against operations (Figure 5)."""
    pyplot = _pyplot()
    shown = [row for row in rows if row["cost"]["flops"] and row["own"] in row["accuracy"]]
    if pyplot is None or not shown:
        return
    colours = {name: f"C{n}" for n, name in enumerate(dict.fromkeys(r["method"] for r in shown))}
    panels: dict[tuple[str, str, str], list[Point]] = {}
    for row in shown:
        cost = row["cost"]["flops"] + row["cost"]["flops_before"]
        place, method = (row["model"], row["set"]), row["method"]
        panels.setdefault((*place, "held-out pairs ordered right"), []).append(
            Point(method, colours[method], "o", cost, row["accuracy"][row["own"]])
        )
        for (way, made), marker in zip(row["answers"].items(), MARKERS, strict=False):
            name = method if way == "plain" else f"{method}, {way}"
            panels.setdefault((*place, "direct answers"), []).append(
                Point(name, colours[method], marker, cost, made["direct"])
            )
    picture, axes = pyplot.subplots(
        1, len(panels), figsize=(5.5 * len(panels), 4.8), squeeze=False, constrained_layout=True
    )
    for one, ((model, data, quality), points) in zip(axes[0], panels.items(), strict=True):
        for point in points:
            mean, low, high = (point.found[name] for name in ("mean", "low", "high"))
            one.errorbar(
                point.cost,
                mean,
                [[mean - low], [high - mean]],
                color=point.colour,
                marker=point.marker,
                linestyle="none",
                capsize=2,
                label=point.name,
            )
        one.set_xscale("log")
        one.xaxis.set_minor_formatter("")
        one.set_xlabel("operations of training, its start's among them (log scale)")
        one.set_ylabel(quality)
        one.set_title(f"{model}, {data}")
        one.legend(fontsize=7)
    picture.savefig(path, dpi=130)
    pyplot.close(picture)


def draw_margins(path: Path, curves: Sequence[Mapping[str, Any]]) -> None:
    """Mean reward differences against steps, a panel a kind: their scales differ (Figure 1)."""
    pyplot = _pyplot()
    if pyplot is None or not curves:
        return
    places = list(dict.fromkeys((each["model"], each["set"]) for each in curves))
    kinds = [kind for kind in UNITS if any(each["kind"] == kind for each in curves)]
    picture, axes = pyplot.subplots(
        len(places),
        len(kinds),
        figsize=(4.2 * len(kinds), 3.4 * len(places)),
        squeeze=False,
        constrained_layout=True,
    )
    for row, place in zip(axes, places, strict=True):
        for one, kind in zip(row, kinds, strict=True):
            own = [c for c in curves if (c["model"], c["set"]) == place and c["kind"] == kind]
            for curve in own:
                one.plot(
                    curve["steps"],
                    curve["values"],
                    marker="." if kind == "coala" else None,
                    label=f"{curve['method']}, seed {curve['seed']}",
                )
            one.set_xlabel(STEPS.get(kind, "optimiser steps"))
            one.set_ylabel(UNITS[kind], fontsize=8)
            one.set_title(f"{place[0]}, {place[1]}: {kind}", fontsize=9)
            if own:
                one.legend(fontsize=6)
    picture.savefig(path, dpi=130)
    pyplot.close(picture)


def _pyplot() -> Any:
    """Matplotlib's, without a display; None where it is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        say("no picture: pip install '.[plot]'")
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
