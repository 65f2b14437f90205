"""Options of commands that serve: where they listen, and by which names they are asked."""

from __future__ import annotations

import argparse

from coala_jax.cli._parser import port


def add_address(group: argparse._ActionsContainer, usual: int, origins: str) -> None:
    """Add address, usual port, and the names and pages that may ask; ``origins`` is help."""
    group.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    group.add_argument(
        "--port",
        type=port,
        default=usual,
        metavar="N",
        help="0 takes a free one, which is printed (default: %(default)s)",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name that the Host header may have beside localhost and --host; may be repeated",
    )
    group.add_argument(
        "--allow-origin", action="append", default=[], metavar="ORIGIN", help=origins
    )
