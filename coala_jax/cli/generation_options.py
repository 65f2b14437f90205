"""Options of commands that generate."""

from __future__ import annotations

import argparse
from typing import Any

from coala_jax.cli.parser import (
    finite_number,
    natural_number,
    positive_integer,
    positive_number,
)


def add_generation_options(parser: argparse.ArgumentParser, *, guided: bool = True) -> None:
    """Add what `generation_config` reads; every default is shown in the help.

    Args:
        parser: of the command.
        guided: whether the head guides single tokens; without it, the options of sampling alone.
    """
    from coala_jax.decoding.config import CHOICES, REWEIGHTINGS, SCORED, GenerationConfig

    defaults = GenerationConfig()
    group = parser.add_argument_group("sampling")

    def add(group: Any, name: str, type_: Any, text: str) -> None:
        option = f"--{name.replace('_', '-')}"
        default = getattr(defaults, name)
        shown = "all of the pool" if default is None else default
        group.add_argument(option, type=type_, default=default, help=f"{text} (default: {shown})")

    add(group, "max_new_tokens", positive_integer, "the most tokens of a response")
    add(group, "temperature", finite_number, "0 takes the most probable token")
    add(group, "top_p", positive_number, "nucleus: the fewest tokens of this probability")
    add(group, "top_k", positive_integer, "the most tokens of a pool")
    add(group, "repetition_penalty", positive_number, "above 1 makes repeated tokens rarer")
    group.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="ends a response; may repeat"
    )
    if not guided:
        return
    group = parser.add_argument_group("guidance")
    add(group, "scale", finite_number, "guidance scale, lambda; 0 is plain sampling")
    add(group, "guide_every", positive_integer, "the head guides every N-th token")
    add(group, "num_candidates", positive_integer, "candidates that are scored and chosen from")
    for name, known, text in (
        ("reweighting", REWEIGHTINGS, "how scores move probabilities"),
        ("choice", CHOICES, "sample by the moved probabilities, or take the best score"),
        ("scored", SCORED, "the prefix closed by the end token, as it stands, or the token alone"),
    ):
        default = getattr(defaults, name)
        group.add_argument(
            f"--{name}", choices=known, default=default, help=f"{text} (default: {default})"
        )
    add(group, "lookahead", natural_number, "tokens by which a candidate is continued first")
    add(
        group,
        "continuations",
        natural_number,
        "blockwise best-of-k: sample k continuations of N tokens and keep the best; 0 guides "
        "single tokens",
    )


def generation_config(arguments: argparse.Namespace) -> Any:
    """The `GenerationConfig` that the options say.

    Raises:
        GenerationError: a value out of range.
    """
    from coala_jax.decoding.config import GenerationConfig, config_fields

    given = {name: getattr(arguments, name) for name in config_fields() if hasattr(arguments, name)}
    given.setdefault("scale", 0.0)  # a command without guidance
    return GenerationConfig(**{**given, "stop": tuple(arguments.stop)})
