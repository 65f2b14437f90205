"""`coala-jax data`: commands on preference data, before any model is run."""

from __future__ import annotations

from typing import Any

from coala_jax.cli import _data_alternate as data_alternate
from coala_jax.cli import _data_get as data_get
from coala_jax.cli import _data_inspect as data_inspect

SUMMARY = "get preference pairs, make them from conversations, look at them before training"


def add_parser(commands: Any) -> None:
    """Add the group and its commands."""
    parser = commands.add_parser("data", help=SUMMARY, description=SUMMARY)
    subcommands = parser.add_subparsers(
        dest="data_command", required=True, metavar="COMMAND", title="commands"
    )
    for module in (data_get, data_alternate, data_inspect):
        module.add_parser(subcommands)
