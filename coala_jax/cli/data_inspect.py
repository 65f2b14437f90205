"""`coala-jax data inspect`: look at preference pairs before training on them."""

from __future__ import annotations

from typing import Any


def add_parser(subcommands: Any) -> None:
    """Add the command."""
