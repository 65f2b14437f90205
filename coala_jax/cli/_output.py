"""What a command prints: the result on stdout, everything else on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from coala_jax._files import require_writable, write_text
from coala_jax._json import json_text
from coala_jax._unseen import printable
from coala_jax.data._writing import require_suffix

# Exit codes: done; Python's own of a fault; nothing can be done with what was given; a phase ended
# unsolved; another of several processes ended; Ctrl-C.
DONE, FAULT, BAD_INPUT, NOT_SOLVED, OTHER_ENDED, INTERRUPTED = 0, 1, 2, 3, 4, 130
# Characters of a text that a line shows.
EXCERPT = 60


def say(line: str) -> None:
    """A line of progress or a warning."""
    print(f"coala-jax: {line}", file=sys.stderr, flush=True)


def warning_line(note: str) -> str:
    """A warning as all commands write it."""
    return f"warning: {note}"


def report(
    arguments: argparse.Namespace,
    result: Mapping[str, Any],
    lines: Iterable[str],
    *,
    file: Path | None = None,
) -> int:
    """Print what a command did and give its exit code.

    Args:
        arguments: of the command, which the result names.
        result: what ``--json`` prints as one object, and what goes to ``file``.
        lines: the same for people.
        file: to write as well.
    """
    text = json_text({**result, "command": arguments.command_line})
    if file is not None:
        write_text(file, text)
    if not arguments.json:
        text = "".join(f"{line}\n" for line in lines)
        text = printable(text) if sys.stdout.isatty() else text
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


def output_file(name: str | None, *, lines: bool = False, option: str = "--out") -> Path | None:
    """The file that an option names, or None for none, known to be writable before any long work.

    Args:
        name: what was given.
        lines: whether it must be called as a file of JSON lines.
        option: that was given it.

    Raises:
        ValueError: it is called otherwise.
        OSError: no file can be made there.
    """
    if name is None:
        return None
    if lines:
        require_suffix(name)
    require_writable(Path(name), folder=False, option=option)
    return Path(name)


def excerpt(text: str) -> str:
    """The beginning of a text on one line; what a terminal would act on is left out."""
    words = " ".join(text.split())
    shown = words if len(words) <= EXCERPT else f"{words[:EXCERPT]}..."
    return "".join(mark for mark in shown if mark.isprintable())


def counts_line(title: str, counts: Mapping[str, int] | None) -> list[str]:
    """One line of counts by reason, or none where there is nothing to count."""
    shown = {reason: count for reason, count in (counts or {}).items() if count}
    if not shown:
        return []
    return [f"{title}: " + ", ".join(f"{reason} {count}" for reason, count in shown.items())]
