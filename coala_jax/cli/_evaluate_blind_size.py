"""`coala-jax evaluate blind size`: how many people a difference needs."""

from __future__ import annotations

import argparse
import math

from coala_jax.cli._derived_options import add_fields, from_options
from coala_jax.cli._output import report
from coala_jax.cli._parser import UsageError, fraction, non_negative_number, positive_integer
from coala_jax.evaluation.statistics._sample_size import Protocol

EXAMPLE = """  coala-jax evaluate blind size --share 0.6 --items 20 --prompts 40
  coala-jax evaluate blind size --shares 0.391,0.288 --items 25 --prompts 25 --people 107"""
DEFAULTS = Protocol(items=1, prompts=2)
# What the options of the protocol take.
TAKES = {
    "icc_participant": non_negative_number,
    "icc_prompt": non_negative_number,
    "level": fraction,
    "power": fraction,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    effect = parser.add_mutually_exclusive_group(required=True)
    effect.add_argument(
        "--share", type=fraction, help="win rate in pairs that is to be told from one half"
    )
    effect.add_argument(
        "--shares",
        metavar="P,Q",
        help="shares of one choice among several answers that are to be told apart, as in the "
        "paper's study",
    )
    parser.add_argument(
        "--ties",
        type=non_negative_number,
        default=0.0,
        help="share of pairs that are ties, with --share (default: %(default)s)",
    )
    parser.add_argument(
        "--items",
        type=positive_integer,
        required=True,
        metavar="N",
        help="prompts that each person judges",
    )
    parser.add_argument(
        "--prompts", type=positive_integer, required=True, metavar="N", help="prompts there are"
    )
    parser.add_argument(
        "--systems",
        type=positive_integer,
        default=2,
        metavar="N",
        help="with --share: systems, whose pairs share the items of a person (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--people",
        type=positive_integer,
        metavar="N",
        help="say what so many people tell, in place of how many are needed",
    )
    add_fields(parser, Protocol, tuple(TAKES), takes=TAKES, defaults=DEFAULTS)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.evaluation.statistics import (
        choice_effect,
        pair_effect,
        people_needed,
        precision_of,
        wald_margin,
    )

    if arguments.shares is None:
        if arguments.systems < 2:
            raise UsageError(f"--systems {arguments.systems} must be at least 2")
        effect = pair_effect(arguments.share, arguments.ties)
        pairs = math.comb(arguments.systems, 2)
    else:
        effect, pairs = choice_effect(*_two(arguments.shares)), 1
    protocol = from_options(
        arguments, Protocol, items=arguments.items / pairs, prompts=arguments.prompts
    )
    if arguments.people is None:
        found = people_needed(effect, protocol)
    else:
        found = precision_of(effect, protocol, arguments.people)
    plain = wald_margin(effect.deviation, found.people, protocol.level)
    result = {
        **found._asdict(),
        "difference": effect.difference,
        "deviation": effect.deviation,
        "margin_of_as_many_choices": plain,
        "items": protocol.items,
        "prompts": protocol.prompts,
    }
    lines = [
        f"{found.people} people: {100 * effect.difference:.1f} ± {100 * found.margin:.1f} points, "
        f"found with a chance of {100 * found.power:.0f} %",
        f"{found.people} independent choices would give ± {100 * plain:.1f} points",
    ]
    return report(arguments, result, lines)


def _two(text: str) -> tuple[float, float]:
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--shares {text}: two shares such as 0.391,0.288 are expected") from None
    return first, second
