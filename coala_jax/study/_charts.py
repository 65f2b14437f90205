"""Lengths of pairs, and accuracies of rules, as small charts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from coala_jax._intervals import Interval
from coala_jax.study._chart_frame import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    drawn,
    outline,
    scale,
)

BINS = 28
# Histogram of how many times longer one response is: steps of a quarter doubling, the middle one
# around equal, everything beyond 16 times in the last.
DOUBLING_STEP, DOUBLINGS = 0.25, 4
MOST_TICKS = 6
ROW_HEIGHT = 44


def length_histogram(series: Mapping[str, np.ndarray], unit: str, title: str) -> Markup:
    """Outlined histogram of one or two series of lengths on a logarithmic axis.

    Args:
        series: name to (n,) positive lengths.
        unit: of the lengths.
        title: what the chart shows, for screen readers.

    Returns:
        An ``<svg>`` element.
    """
    least = max(min(float(values.min()) for values in series.values()), 1.0)
    most = max(2 * least, *(float(values.max()) for values in series.values()))
    edges = np.geomspace(least, most, BINS + 1)
    counts = [np.histogram(np.clip(values, least, most), edges)[0] for values in series.values()]
    top = max(int(count.max()) for count in counts)
    x = scale(np.log(least), np.log(most), LEFT, WIDTH - RIGHT)
    y = scale(0.0, top, HEIGHT - BOTTOM, TOP)
    styles = ("first", "second")[: len(series)]
    return drawn(
        title,
        f"{unit}, logarithmic",
        [(x(np.log(tick)), f"{tick:,}") for tick in _length_ticks(least, most)],
        levels=[(y(top), f"{top:,}"), (y(0), "0")],
        areas=[
            (style, outline(list(map(x, np.log(edges))), list(map(y, count)), y(0)))
            for style, count in zip(styles, counts, strict=True)
        ],
        legend=list(zip(styles, series, strict=True)),
    )


def ratio_histogram(chosen: np.ndarray, rejected: np.ndarray, title: str) -> Markup:
    """Histogram of how many times longer chosen is than rejected, by doublings.

    Args:
        chosen: (n,) positive lengths.
        rejected: (n,) positive lengths.
        title: what the chart shows, for screen readers.

    Returns:
        An ``<svg>`` element.
    """
    reach = DOUBLINGS + DOUBLING_STEP / 2
    edges = np.arange(-reach, reach + DOUBLING_STEP / 2, DOUBLING_STEP)
    doublings = np.clip(np.log2(chosen / rejected), -DOUBLINGS, DOUBLINGS)
    count = np.histogram(doublings, edges)[0]
    top, middle = int(count.max()), len(count) // 2
    x = scale(-reach, reach, LEFT, WIDTH - RIGHT)
    y = scale(0.0, top, HEIGHT - BOTTOM, TOP)
    styles = ["second"] * middle + ["quiet"] + ["first"] * middle
    times = (-4, -2, -1, 0, 1, 2, 4)
    return drawn(
        title,
        "how many times longer, in characters",
        [(x(n), f"{2 ** abs(n)}\N{MULTIPLICATION SIGN}" if n else "equal") for n in times],
        levels=[(y(top), f"{top:,}"), (y(0), "0")],
        bars=list(zip(styles, map(x, edges), map(x, edges[1:]), map(y, count), strict=False)),
        legend=[("second", "rejected longer"), ("first", "chosen longer")],
    )


def accuracy_chart(accuracies: Mapping[str, Interval], title: str, label: str) -> Markup:
    """Accuracies with their intervals, against chance.

    Args:
        accuracies: name to accuracy from 0 to 1; at least one.
        title: what the chart shows, for screen readers.
        label: of the axis: which share it is.

    Returns:
        An ``<svg>`` element.
    """
    # An interval without ends, of a single cluster, is its mean alone.
    shown = {name: Interval(*np.nan_to_num(i, nan=i.mean)) for name, i in accuracies.items()}
    least = min(0.4, *(np.floor(10 * interval.low) / 10 for interval in shown.values()))
    x = scale(least, 1.0, LEFT, WIDTH - RIGHT)
    return drawn(
        title,
        label,
        [(x(tick), f"{100 * tick:.0f} %") for tick in np.arange(round(10 * least), 11) / 10],
        bottom=TOP + ROW_HEIGHT * len(shown),
        intervals=[(name, *map(x, interval)) for name, interval in shown.items()],
        chance=x(0.5),
        row_height=ROW_HEIGHT,
    )


def _length_ticks(least: float, most: float) -> list[int]:
    """Round lengths within a range: 1, 2, 5, 10, ... or, where these are many, powers of ten."""
    powers = [10**power for power in range(int(np.log10(most)) + 1)]
    fine = [step * power for power in powers for step in (1, 2, 5)]
    within = [tick for tick in fine if least <= tick <= most]
    coarse = [tick for tick in within if tick in powers]
    return within if len(within) <= MOST_TICKS or len(coarse) < 2 else coarse
