"""Small charts as SVG text, coloured by the page they stand in.

Text and lines take the page's own colour; series take its variables ``--first``, ``--second`` and
``--quiet``, so that a chart follows a dark page. What a library draws has its colours fixed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from html import escape

import numpy as np

from coala_jax.study._intervals import Interval

# User units: text of 12 is still read where a phone shows the width on 340 pixels.
WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 30, 44
BINS = 28
# Histogram of how many times longer one response is: steps of a quarter doubling, the middle one
# around equal, everything beyond 16 times in the last.
DOUBLING_STEP, DOUBLINGS = 0.25, 4
MOST_TICKS = 6
ROW_HEIGHT = 44


def length_histogram(series: Mapping[str, np.ndarray], unit: str, title: str) -> str:
    """Outlined histogram of one or two series of lengths on a logarithmic axis.

    Args:
        series: name to (n,) positive lengths.
        unit: of the lengths.
        title: what the chart shows, for screen readers.

    Returns:
        An ``<svg>`` element.
    """
    least = min(float(values.min()) for values in series.values())
    most = max(float(values.max()) for values in series.values())
    least, most = max(least, 1.0), max(most, 2.0 * max(least, 1.0))
    edges = np.geomspace(least, most, BINS + 1)
    counts = {
        name: np.histogram(np.clip(values, least, most), edges)[0]
        for name, values in series.items()
    }
    top = max(int(count.max()) for count in counts.values())
    x = _scale(np.log(least), np.log(most), LEFT, WIDTH - RIGHT)
    y = _scale(0.0, top, HEIGHT - BOTTOM, TOP)
    parts = [_count_axis(top, y)]
    for number, (name, count) in enumerate(counts.items()):
        style = ("first", "second")[number]
        parts.append(f'<path class="area {style}" d="{_outline(edges, count, x, y)}"/>')
        parts.append(_legend(name, style, number))
    for tick in _length_ticks(least, most):
        parts.append(_x_tick(x(np.log(tick)), f"{tick:,}"))
    parts.append(_x_label(f"{unit}, logarithmic"))
    return _svg(title, "".join(parts), HEIGHT)


def ratio_histogram(chosen: np.ndarray, rejected: np.ndarray, title: str) -> str:
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
    x = _scale(-reach, reach, LEFT, WIDTH - RIGHT)
    y = _scale(0.0, int(count.max()), HEIGHT - BOTTOM, TOP)
    parts = [_count_axis(int(count.max()), y)]
    middle = len(count) // 2
    for place, number in enumerate(count):
        style = "quiet" if place == middle else ("second", "first")[place > middle]
        left, right = x(edges[place]), x(edges[place + 1])
        parts.append(
            f'<rect class="bar {style}" x="{left + 0.5:.1f}" y="{y(number):.1f}" '
            f'width="{right - left - 1:.1f}" height="{y(0) - y(number):.1f}"/>'
        )
    for doubling in (-4, -2, -1, 0, 1, 2, 4):
        times = "equal" if doubling == 0 else f"{2 ** abs(doubling)}\N{MULTIPLICATION SIGN}"
        parts.append(_x_tick(x(doubling), times))
    parts += [_legend("rejected longer", "second", 0), _legend("chosen longer", "first", 1)]
    parts.append(_x_label("how many times longer, in characters"))
    return _svg(title, "".join(parts), HEIGHT)


def accuracy_chart(accuracies: Mapping[str, Interval], title: str) -> str:
    """Accuracies with their intervals, against chance.

    Args:
        accuracies: name to accuracy from 0 to 1; at least one.
        title: what the chart shows, for screen readers.

    Returns:
        An ``<svg>`` element.
    """
    height = TOP + ROW_HEIGHT * len(accuracies) + BOTTOM
    # An interval without ends, of a single cluster, is its mean alone.
    shown = {name: Interval(*np.nan_to_num(i, nan=i.mean)) for name, i in accuracies.items()}
    least = min(0.4, *(np.floor(10 * interval.low) / 10 for interval in shown.values()))
    x = _scale(least, 1.0, LEFT, WIDTH - RIGHT)
    bottom = height - BOTTOM
    parts = [
        f'<line class="chance" x1="{x(0.5):.1f}" x2="{x(0.5):.1f}" y1="{TOP - 8}" y2="{bottom}"/>',
        f'<text x="{x(0.5):.1f}" y="{TOP - 14}" text-anchor="middle">chance</text>',
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>',
    ]
    for row, (name, interval) in enumerate(shown.items()):
        middle = TOP + ROW_HEIGHT * row + 30
        parts.append(f'<text x="{LEFT}" y="{middle - 12}">{escape(name)}</text>')
        parts.append(
            f'<line class="reach first" x1="{x(interval.low):.1f}" x2="{x(interval.high):.1f}" '
            f'y1="{middle}" y2="{middle}"/>'
            f'<circle class="dot first" cx="{x(interval.mean):.1f}" cy="{middle}" r="4.5"/>'
        )
    for tick in np.arange(round(10 * least), 11) / 10:
        parts.append(_x_tick(x(tick), f"{100 * tick:.0f} %", bottom))
    parts.append(_x_label("unseen rows in which chosen is picked", height))
    return _svg(title, "".join(parts), height)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """From data to user units, linearly."""
    factor = (end - start) / (high - low)
    return lambda value: float(start + (value - low) * factor)


def _svg(title: str, inside: str, height: int) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<title>{escape(title)}</title>{inside}</svg>"
    )


def _outline(
    edges: np.ndarray,
    counts: np.ndarray,
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> str:
    """Path of the steps of a histogram on a logarithmic axis, from the base line to it."""
    corners = [f"M{x(np.log(edges[0])):.1f},{y(0):.1f}"]
    for (left, right), count in zip(itertools.pairwise(np.log(edges)), counts, strict=True):
        corners.append(f"L{x(left):.1f},{y(count):.1f}L{x(right):.1f},{y(count):.1f}")
    return "".join(corners) + f"L{x(np.log(edges[-1])):.1f},{y(0):.1f}Z"


def _count_axis(top: int, y: Callable[[float], float]) -> str:
    """Base line, and the highest count with a line at it."""
    parts = []
    for count, kind in ((0, "axis"), (top, "grid")):
        parts.append(
            f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(count):.1f}" '
            f'y2="{y(count):.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y(count) + 4:.1f}" text-anchor="end">{count:,}</text>'
        )
    return "".join(parts)


def _length_ticks(least: float, most: float) -> list[int]:
    """Round lengths within a range: 1, 2, 5, 10, ... or, where these are many, powers of ten."""
    powers = [10**power for power in range(int(np.log10(most)) + 1)]
    fine = [step * power for power in powers for step in (1, 2, 5)]
    within = [tick for tick in fine if least <= tick <= most]
    coarse = [tick for tick in within if tick in powers]
    return within if len(within) <= MOST_TICKS or len(coarse) < 2 else coarse


def _x_tick(place: float, text: str, base: int = HEIGHT - BOTTOM) -> str:
    return (
        f'<line class="axis" x1="{place:.1f}" x2="{place:.1f}" y1="{base}" y2="{base + 4}"/>'
        f'<text x="{place:.1f}" y="{base + 17}" text-anchor="middle">{escape(text)}</text>'
    )


def _x_label(text: str, height: int = HEIGHT) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return f'<text x="{middle}" y="{height - 8}" text-anchor="middle">{escape(text)}</text>'


def _legend(name: str, style: str, number: int) -> str:
    left = LEFT + 150 * number
    return (
        f'<rect class="bar {style}" x="{left}" y="6" width="12" height="12"/>'
        f'<text x="{left + 18}" y="16">{escape(name)}</text>'
    )
