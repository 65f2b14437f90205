"""`coala-jax join`: the parts that several processes extracted to one feature store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from coala_jax._files import require_writable
from coala_jax.cli._parser import add_command
from coala_jax.cli._store_summary import print_store
from coala_jax.features import join_parts

EXAMPLE = "  coala-jax join store.part-0-of-2 store.part-1-of-2 --out store"


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "join",
        "join the parts that `extract --process-id I --processes N` made to one feature store",
        EXAMPLE,
        run,
    )
    parser.add_argument("parts", nargs="+", metavar="PART", help="all parts, in any order")
    parser.add_argument("--out", required=True, help="feature store to make")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    require_writable(Path(arguments.out), folder=True)
    print_store(join_parts(arguments.parts, arguments.out), arguments)
    return 0
