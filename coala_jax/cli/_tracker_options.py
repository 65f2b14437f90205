"""The option of commands whose runs may be told to trackers."""

from __future__ import annotations

import argparse

from coala_jax._errors import CoalaError
from coala_jax._trackers import NONE, TRACKERS, require_trackers


def add_report_to(parser: argparse.ArgumentParser) -> None:
    """Add ``--report-to``, whose value is a tuple of trackers, or None."""
    parser.add_argument(
        "--report-to",
        type=_trackers,
        metavar="TRACKER",
        help=f"{', '.join(TRACKERS)}, or several with commas between them: give settings and "
        f"figures, step by step and at the end, to their own clients (default: {NONE})",
    )


def _trackers(text: str) -> tuple[str, ...]:
    """Trackers that are installed, from names with commas between them."""
    try:
        return require_trackers([name.strip() for name in text.split(",")])
    except CoalaError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
