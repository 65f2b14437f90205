"""`coala-jax join`: the parts that several processes extracted to one feature store."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax._files import require_writable
from coala_jax.cli._extract import report_store
from coala_jax.features import join_parts

EXAMPLE = "  coala-jax join store.part-0-of-2 store.part-1-of-2 --out store"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("parts", nargs="+", metavar="PART", help="all parts, in any order")
    parser.add_argument("--out", required=True, help="feature store to make")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    require_writable(Path(arguments.out), folder=True)
    return report_store(arguments, join_parts(arguments.parts, arguments.out))
