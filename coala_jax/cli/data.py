"""`coala-jax data`: commands on preference rows."""

from __future__ import annotations

from typing import Any

from coala_jax.cli import data_get

EXAMPLE = "  coala-jax data get helpsteer --download --out data/helpsteer"


def add_parser(commands: Any) -> None:
    """Add the group of commands."""
    summary = "get data sets of preference rows"
    parser = commands.add_parser(
        "data", help=summary, description=summary, epilog=f"example:\n{EXAMPLE}"
    )
    subcommands = parser.add_subparsers(
        dest="data_command", required=True, metavar="COMMAND", title="commands"
    )
    data_get.add_parser(subcommands)
