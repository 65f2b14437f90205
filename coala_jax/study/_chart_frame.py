"""The frame of small charts as SVG text, coloured by the page they stand in.

Text and lines take the page's own colour; series take its variables ``--first``, ``--second`` and
``--quiet``, so that a chart follows a dark page. What a library draws has its colours fixed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from markupsafe import Markup

from coala_jax._templates import templates_of

# User units: text of 12 is still read where a phone shows the width on 340 pixels.
WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 22, 30, 44
# Above the legend, where a chart says what goes upwards.
TOP_WITH_LABEL = 50

Scale = Callable[[float], float]
Ticks = Sequence[tuple[float, str]]


def drawn(title: str, label: str, ticks: Ticks, **marks: object) -> Markup:
    """The chart.

    Args:
        title: what the chart shows, for screen readers.
        label: of what goes to the right.
        ticks: places and texts on the base line.
        **marks: what ``templates/chart.svg.j2`` draws between its frame, and ``top``, ``bottom``
            and ``height_label``.
    """
    kinds = ("levels", "areas", "bars", "legend", "intervals", "lines", "reaches", "dots", "notes")
    nothing: dict[str, object] = dict.fromkeys(kinds, ())
    frame = {"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM}
    template = templates_of("coala_jax.study").get_template("chart.svg.j2")
    given = {"title": title, "label": label, "ticks": ticks, "height_label": ""}
    return Markup(template.render(nothing | frame | given | marks))


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """From data to user units, linearly."""
    factor = (end - start) / (high - low)
    return lambda value: float(start + (value - low) * factor)


def outline(edges: Sequence[float], heights: Sequence[float], base: float) -> str:
    """Path of the steps of a histogram, from the base line to it, in user units."""
    steps = "".join(
        f"L{left:.1f},{y:.1f}L{right:.1f},{y:.1f}"
        for (left, right), y in zip(itertools.pairwise(edges), heights, strict=True)
    )
    return f"M{edges[0]:.1f},{base:.1f}{steps}L{edges[-1]:.1f},{base:.1f}Z"
