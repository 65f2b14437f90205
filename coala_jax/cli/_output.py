"""What a command prints: the result on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from coala_jax._json import json_text

# Exit code of a command that cannot work with what it was given.
BAD_INPUT = 2
# Characters of a text that a line shows.
EXCERPT = 60


def say(line: str) -> None:
    """A line of progress or a warning."""
    print(f"coala-jax: {line}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Text for a terminal, which would obey the control characters that a model may write."""
    return text.translate(_PICTURES)


# Of control characters but tab and line break Unicode has pictures; those beyond ASCII have none.
_PICTURES: dict[int, int | str] = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), "\N{REPLACEMENT CHARACTER}"),
}


def print_result(result: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print the result: one JSON object, or the lines made for people."""
    if as_json:
        sys.stdout.write(json_text(result))
    else:
        text = "".join(f"{line}\n" for line in lines)
        sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
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
