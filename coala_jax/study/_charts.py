"""Small charts as SVG text, coloured by the page they stand in.

Text and lines take the page's own colour; series take its variables ``--first``, ``--second`` and
``--quiet``, so that a chart follows a dark page. What a library draws has its colours fixed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from markupsafe import Markup

from coala_jax._intervals import Interval
from coala_jax._templates import templates_of

# User units: text of 12 is still read where a phone shows the width on 340 pixels.
WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 30, 44
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
    x = _scale(np.log(least), np.log(most), LEFT, WIDTH - RIGHT)
    y = _scale(0.0, top, HEIGHT - BOTTOM, TOP)
    styles = ("first", "second")[: len(series)]
    return _drawn(
        title,
        f"{unit}, logarithmic",
        [(x(np.log(tick)), f"{tick:,}") for tick in _length_ticks(least, most)],
        counts=[(0, y(0)), (top, y(top))],
        areas=[
            (style, _outline(list(map(x, np.log(edges))), list(map(y, count)), y(0)))
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
    x = _scale(-reach, reach, LEFT, WIDTH - RIGHT)
    y = _scale(0.0, top, HEIGHT - BOTTOM, TOP)
    styles = ["second"] * middle + ["quiet"] + ["first"] * middle
    times = (-4, -2, -1, 0, 1, 2, 4)
    return _drawn(
        title,
        "how many times longer, in characters",
        [(x(n), f"{2 ** abs(n)}\N{MULTIPLICATION SIGN}" if n else "equal") for n in times],
        counts=[(0, y(0)), (top, y(top))],
        bars=list(zip(styles, map(x, edges), map(x, edges[1:]), map(y, count), strict=False)),
        legend=[("second", "rejected longer"), ("first", "chosen longer")],
    )


def accuracy_chart(accuracies: Mapping[str, Interval], title: str) -> Markup:
    """Accuracies with their intervals, against chance.

    Args:
        accuracies: name to accuracy from 0 to 1; at least one.
        title: what the chart shows, for screen readers.

    Returns:
        An ``<svg>`` element.
    """
    # An interval without ends, of a single cluster, is its mean alone.
    shown = {name: Interval(*np.nan_to_num(i, nan=i.mean)) for name, i in accuracies.items()}
    least = min(0.4, *(np.floor(10 * interval.low) / 10 for interval in shown.values()))
    x = _scale(least, 1.0, LEFT, WIDTH - RIGHT)
    return _drawn(
        title,
        "unseen rows in which chosen is picked",
        [(x(tick), f"{100 * tick:.0f} %") for tick in np.arange(round(10 * least), 11) / 10],
        bottom=TOP + ROW_HEIGHT * len(shown),
        intervals=[(name, *map(x, interval)) for name, interval in shown.items()],
        chance=x(0.5),
    )


def _drawn(
    title: str,
    label: str,
    ticks: Sequence[tuple[float, str]],
    bottom: int = HEIGHT - BOTTOM,
    **marks: object,
) -> Markup:
    """The chart; ``marks`` are what ``templates/chart.svg.j2`` draws between its frame."""
    nothing: dict[str, object] = dict.fromkeys(
        ("counts", "areas", "bars", "legend", "intervals"), ()
    )
    frame = {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": bottom}
    template = templates_of("coala_jax.study").get_template("chart.svg.j2")
    given = {"title": title, "label": label, "ticks": ticks, "row_height": ROW_HEIGHT}
    return Markup(template.render(nothing | frame | given | marks))


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """From data to user units, linearly."""
    factor = (end - start) / (high - low)
    return lambda value: float(start + (value - low) * factor)


def _outline(edges: Sequence[float], heights: Sequence[float], base: float) -> str:
    """Path of the steps of a histogram, from the base line to it, in user units."""
    steps = "".join(
        f"L{left:.1f},{y:.1f}L{right:.1f},{y:.1f}"
        for (left, right), y in zip(itertools.pairwise(edges), heights, strict=True)
    )
    return f"M{edges[0]:.1f},{base:.1f}{steps}L{edges[-1]:.1f},{base:.1f}Z"


def _length_ticks(least: float, most: float) -> list[int]:
    """Round lengths within a range: 1, 2, 5, 10, ... or, where these are many, powers of ten."""
    powers = [10**power for power in range(int(np.log10(most)) + 1)]
    fine = [step * power for power in powers for step in (1, 2, 5)]
    within = [tick for tick in fine if least <= tick <= most]
    coarse = [tick for tick in within if tick in powers]
    return within if len(within) <= MOST_TICKS or len(coarse) < 2 else coarse
