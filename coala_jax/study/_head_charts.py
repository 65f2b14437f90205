"""What a head does on held-out pairs, and how it was solved, as small charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from coala_jax.study._chart_frame import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP_WITH_LABEL,
    WIDTH,
    Ticks,
    drawn,
    scale,
)
from coala_jax.study._experiment_words import interval
from coala_jax.study._round_steps import round_ticks

STYLES = ("first", "second")
MOST_TICKS = 5
# The row of counts under the shares.
_COUNTS_HIGH = 16
# Bins of confidence have little room for their counts.
_WIDEST_COUNT = 9999
# Room above and below curves, of what they span.
_MARGIN = 0.05
# What a chart spans at least, of its heights, so that their digits fit beside it.
_LEAST_SPAN = 0.01


def margin_chart(margins: Mapping[str, Any], title: str) -> Markup:
    """Histogram of reward differences, those that order their pairs right in another colour.

    Args:
        margins: of `margin_histogram`.
        title: what the chart shows, for screen readers.
    """
    edges, counts = margins["edges"], margins["pairs"]
    top = max(1, *counts)
    x = scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    y = scale(0.0, top, HEIGHT - BOTTOM, TOP_WITH_LABEL)
    styles = ["first" if edge >= 0 else "second" for edge in edges]
    return drawn(
        title,
        "reward difference, chosen less rejected",
        [(x(value), text) for value, text in round_ticks(edges[0], edges[-1], MOST_TICKS)],
        top=TOP_WITH_LABEL,
        height_label="held-out pairs",
        levels=[(y(top), f"{top:,}"), (y(0), "0")],
        bars=list(zip(styles, map(x, edges), map(x, edges[1:]), map(y, counts), strict=False)),
        legend=[("second", "ordered wrong"), ("first", "ordered right")],
    )


def reliability_chart(bins: Sequence[Mapping[str, Any]], title: str) -> Markup:
    """Share ordered right against confidence, by bin, with intervals and the number of pairs.

    Args:
        bins: of `reliability`.
        title: what the chart shows, for screen readers.
    """
    shares = [(each, interval(each["right"])) for each in bins]
    known = [end for _, share in shares for end in share if not math.isnan(end)]
    low = math.floor(5 * min([0.4, *known])) / 5
    x = scale(0.5, 1.0, LEFT, WIDTH - RIGHT)
    y = scale(low, 1.0, HEIGHT - BOTTOM - _COUNTS_HIGH, TOP_WITH_LABEL)
    return drawn(
        title,
        "confidence of the head",
        [(x(tick), f"{100 * tick:.0f} %") for tick in np.arange(5, 11) / 10],
        top=TOP_WITH_LABEL,
        height_label="ordered right, and pairs in each bin",
        levels=[(y(tick), f"{100 * tick:.0f} %") for tick in np.arange(low, 1.01, 0.2)],
        lines=[("chance", [(x(0.5), y(0.5)), (x(1.0), y(1.0))])],
        reaches=[
            ("first", x(each["confidence"]), y(share.low), y(share.high))
            for each, share in shares
            if not math.isnan(share.low)
        ],
        dots=[("first", x(each["confidence"]), y(share.mean)) for each, share in shares],
        notes=[
            (x((each["low"] + each["high"]) / 2), HEIGHT - BOTTOM - 5, _short(each["pairs"]))
            for each in bins
        ],
    )


def _short(count: int) -> str:
    return str(count) if count <= _WIDEST_COUNT else f"{count / 1000:.0f}k"


def curve_chart(
    series: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    label: str,
    height_label: str,
    *,
    level: float | None = None,
    logarithmic: bool = False,
) -> Markup:
    """One or two curves; those of a single point are dots.

    Args:
        series: name to points; at least one of them in all, and what is not finite left out.
        title: what the chart shows, for screen readers.
        label: of what goes to the right.
        height_label: of what goes upwards.
        level: a height to be told from the others, such as a tolerance.
        logarithmic: whether heights are shown by their powers of ten; all of them are above 0 then.
    """
    as_drawn = math.log10 if logarithmic else float
    points = [point for curve in series.values() for point in curve]
    heights = [as_drawn(height) for _, height in points]
    if level is not None:
        heights.append(as_drawn(level))
    low, high = min(heights), max(heights)
    if logarithmic:
        low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
        levels = _powers(low, high)
    else:
        span = max(high - low, _LEAST_SPAN * max(abs(low), abs(high))) or 1.0
        margin = (span - (high - low)) / 2 + _MARGIN * span
        low, high = low - margin, high + margin
        levels = round_ticks(low, high, MOST_TICKS)
    last = max(*(at for at, _ in points), 1.0)
    x = scale(0.0, last, LEFT, WIDTH - RIGHT)
    y = scale(low, high, HEIGHT - BOTTOM, TOP_WITH_LABEL)
    placed = [
        (style, [(x(at), y(as_drawn(height))) for at, height in curve])
        for style, curve in zip(STYLES, series.values(), strict=False)
    ]
    lines = [(f"line {style}", curve) for style, curve in placed if len(curve) > 1]
    if level is not None:
        lines.append(("chance", [(LEFT, y(as_drawn(level))), (WIDTH - RIGHT, y(as_drawn(level)))]))
    return drawn(
        title,
        label,
        [(x(at), text) for at, text in round_ticks(0.0, last, MOST_TICKS)],
        top=TOP_WITH_LABEL,
        height_label=height_label,
        levels=[(y(height), text) for height, text in levels],
        lines=lines,
        dots=[(style, *curve[0]) for style, curve in placed if len(curve) == 1],
        legend=list(zip(STYLES, series, strict=False)) if len(series) > 1 else [],
    )


def _powers(low: int, high: int) -> Ticks:
    """Exponents of powers of ten with their texts, not more than `MOST_TICKS` steps of them."""
    step = max(1, math.ceil((high - low) / MOST_TICKS))
    return [(power, f"1e{power}") for power in range(low, high + 1, step)]
