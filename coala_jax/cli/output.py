"""What a command prints: the result on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from coala_jax.study.files import json_text

# Exit code of a command that cannot work with what it was given.
BAD_INPUT = 2
# Characters of a text that a line shows.
EXCERPT = 60


def say(line: str) -> None:
    """A line of progress or a warning."""
    print(f"coala-jax: {line}", file=sys.stderr, flush=True)


def print_result(result: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print the result: one JSON object, or the lines made for people."""
    if as_json:
        sys.stdout.write(json_text(result))
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def excerpt(text: str) -> str:
    """The beginning of a text on one line; what a terminal would act on is left out."""
    words = " ".join(text.split())
    shown = words if len(words) <= EXCERPT else f"{words[:EXCERPT]}..."
    return "".join(mark for mark in shown if mark.isprintable())


def counts_line(title: str, counts: dict[str, int] | None) -> list[str]:
    """One line of counts by reason, or none where there is nothing to count."""
    shown = {reason: count for reason, count in (counts or {}).items() if count}
    if not shown:
        return []
    return [f"{title}: " + ", ".join(f"{reason} {count}" for reason, count in shown.items())]
