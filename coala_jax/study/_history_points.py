"""Points of curves from the lists of `history.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Points = Sequence[tuple[float, float]]


class Checks(NamedTuple):
    """What Phase I knew at its checks, against steps of ADMM.

    Attributes:
        primal: value of the objective; where it was a number.
        dual: bound of it, where a gap was certified.
        gap: relative, where there is one above 0.
    """

    primal: Points
    dual: Points
    gap: Points


def checks_of(history: Mapping[str, Any]) -> Checks:
    """The checks of a history; none in one of an earlier version."""
    phase1 = history.get("phase1")
    if phase1 is None:
        return Checks((), (), ())
    steps, gaps = phase1["iteration"], phase1["relative_gap"]
    bounds = zip(phase1["dual_bound"], gaps, strict=True)
    return Checks(
        points_of(steps, phase1["primal_value"]),
        points_of(steps, [None if gap is None else bound for bound, gap in bounds]),
        [point for point in points_of(steps, gaps) if point[1] > 0],
    )


def points_of(at: Sequence[float | None], heights: Sequence[float | None]) -> Points:
    """Points of two lists of JSON, which has null for what is not finite, without those."""
    pairs = zip(at, heights, strict=True)
    return [(float(x), float(y)) for x, y in pairs if x is not None and y is not None]
