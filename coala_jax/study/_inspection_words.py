"""The figures of an inspection as sentences, lines and JSON, without text of the rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from coala_jax._accuracy import TIE
from coala_jax._intervals import Interval
from coala_jax.study._inspection import Inspection, Lengths
from coala_jax.study._pair_set import BY_GROUP
from coala_jax.study._simple_rules import Accuracy

# The ends, the quartiles, and the lengths that all but a twentieth keep within.
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
# A warning wants an interval that excludes chance, and a distance from it that matters.
SKEW_THAT_MATTERS = 0.05
PROBE_THAT_MATTERS = 0.1


def length_is_skewed(found: Inspection) -> bool:
    """Whether length tells chosen from rejected by enough to mind."""
    return _off_chance(found.balance, SKEW_THAT_MATTERS)


def length_sentence(found: Inspection) -> str:
    """In how many rows chosen is the longer response, or the shorter one if that is more often."""
    side, share = "longer", found.longer.mean
    if found.shorter > share:
        side, share = "shorter", found.shorter
    advice = ": compare every accuracy with the length rule's" if length_is_skewed(found) else ""
    return f"chosen is the {side} one in {percent(share)} of rows{advice}"


def other_warnings(found: Inspection) -> list[str]:
    """What else to know before training; sentences without text of the rows in them."""
    warnings = []
    if found.leaks is not None and found.leaks.rows:
        shared = "prompt or group" if found.split_by == BY_GROUP else "prompt"
        warnings.append(
            f"{found.leaks.rows:,} of {found.leaks.held_out:,} held-out rows have a {shared} that "
            "is also trained on: they are not unseen"
        )
    warnings += repeat_warnings(found.repeats.rows, found.repeats.contradictions)
    probe = found.vocabulary_probe.interval
    if probe is not None and _off_chance(probe, PROBE_THAT_MATTERS):
        warnings.append(
            f"words alone pick chosen in {percent(probe.mean)} of unseen rows: a reward that is no "
            "better may have learned vocabulary alone"
        )
    return warnings


def repeat_warnings(again: int, contradictions: int) -> list[str]:
    """What to know of rows that say what others say, or the contrary."""
    warnings = []
    if contradictions:
        warnings.append(
            f"{contradictions:,} rows contradict another row: the same prompt and responses, but "
            "for case and spacing, the other one chosen"
        )
    if again:
        warnings.append(f"{again:,} rows repeat an earlier row")
    return warnings


def percent(share: float) -> str:
    """A share as ``71 %``."""
    return f"{100 * share:.0f} %"


def quantiles(lengths: np.ndarray) -> dict[str, float]:
    """`QUANTILES` and the mean of (n,) lengths, by name."""
    names = ("min", "5%", "25%", "median", "75%", "95%", "max")
    values = np.quantile(lengths, QUANTILES)
    named = {name: float(value) for name, value in zip(names, values, strict=True)}
    return named | {"mean": float(lengths.mean())}


def inspection_report(found: Inspection) -> dict[str, Any]:
    """The figures as JSON values; no text of the rows is among them."""

    def lengths(given: Lengths | None) -> dict[str, Any] | None:
        if given is None:
            return None
        return {part: quantiles(values) for part, values in given._asdict().items()}

    def accuracy(given: Accuracy) -> dict[str, Any]:
        interval = None if given.interval is None else given.interval._asdict()
        return {"accuracy": interval, "rows": given.rows, "why_not": given.why_not or None}

    return {
        "warnings": [length_sentence(found)] * length_is_skewed(found) + other_warnings(found),
        "rows": found.rows,
        "prompts": found.prompts,
        "chosen_longer": found.longer._asdict(),
        "chosen_shorter": found.shorter,
        "characters": lengths(found.characters),
        "tokens": lengths(found.tokens),
        "repeats": found.repeats._asdict(),
        "leaks": None if found.leaks is None else found.leaks._asdict(),
        "leaks_of_a_split_by_row": found.row_split_leaks._asdict(),
        "held_out": {"how": found.held_out, "by": found.split_by, "keys": found.keys},
        "length_rule": accuracy(found.length_rule),
        "vocabulary_probe": accuracy(found.vocabulary_probe),
    }


def accuracy_text(accuracy: Accuracy) -> str:
    """For example ``0.706 [0.689, 0.723] of 4363 rows``, or why there is no figure."""
    if accuracy.interval is None:
        return f"none: {accuracy.why_not}"
    mean, low, high = accuracy.interval
    ends = "no interval" if math.isnan(low) else f"[{low:.3f}, {high:.3f}]"
    return f"{mean:.3f} {ends} on {accuracy.rows:,} rows"


def repeat_lines(found: Inspection) -> list[tuple[str, str]]:
    """What repeats and what leaks, each with its count."""
    repeats, by_row = found.repeats, found.row_split_leaks
    lines = [
        ("rows that repeat an earlier row", f"{repeats.rows:,}"),
        ("rows that contradict another row", f"{repeats.contradictions:,}"),
        ("rows that share their prompt with another row", f"{repeats.prompts:,}"),
        ("rows whose prompt another prompt begins with", f"{repeats.near_prompts:,}"),
        ("rows with a response chosen here and rejected there", f"{repeats.both_sides:,}"),
    ]
    if found.leaks is not None:
        leaks = found.leaks
        lines.append(("prompts on both sides of the given split", f"{leaks.prompts:,}"))
        if leaks.groups is not None:
            lines.append(("groups on both sides of the given split", f"{leaks.groups:,}"))
        lines.append(("held-out rows that are not unseen", f"{leaks.rows:,} of {leaks.held_out:,}"))
    lines.append(
        (
            "held-out rows a random split by row would not keep unseen",
            f"{by_row.rows:,} of {by_row.held_out:,}",
        )
    )
    return lines


def _off_chance(share: Interval, distance: float) -> bool:
    """Whether a share differs from one half by more than its error, and by enough to matter."""
    beyond = share.low > TIE or share.high < TIE
    return beyond and abs(share.mean - TIE) >= distance
