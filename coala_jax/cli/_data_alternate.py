"""`coala-jax data alternate`: conversations to preference pairs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coala_jax._files import require_writable
from coala_jax.cli._output import counts_line, print_result
from coala_jax.cli._parser import add_command, positive_number
from coala_jax.data._alternating import (
    DUPLICATE_SIMILARITY,
    ROLE_LABELS,
    AlternatingOptions,
    AlternatingPopulation,
    alternating_population,
    conversational,
)
from coala_jax.data._conversations import SPEAKERS, read_conversations
from coala_jax.data._rows import PreferenceRow
from coala_jax.data._writing import require_suffix, write_json_lines

EXAMPLE = "  coala-jax data alternate conversations.jsonl.gz --out pairs.jsonl.gz"
FLAT, CONVERSATIONAL = "flat", "conversational"


def add_parser(subcommands: Any) -> None:
    """Add the command."""
    parser = add_command(
        subcommands,
        "alternate",
        "make preference pairs from conversations (the Alternating Population Strategy): of every "
        "user turn the immediate answer is chosen, the next later one rejected",
        EXAMPLE,
        run,
    )
    parser.add_argument(
        "file",
        help=".jsonl or .jsonl.gz with messages [{role, content}] or utterances [[speaker, text]]",
    )
    parser.add_argument("--out", required=True, help=".jsonl or .jsonl.gz of pairs to make")
    parser.add_argument(
        "--last-turn",
        choices=("drop", "wrap"),
        default="drop",
        help="the last answered turn makes no pair, or rejects the first answer "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--consecutive",
        choices=("merge", "keep"),
        default="merge",
        help="turns of one speaker in a row are joined, or stay apart (default: %(default)s)",
    )
    parser.add_argument(
        "--opening",
        choices=("keep", "drop"),
        default="keep",
        help="what the assistant says before the user (default: %(default)s)",
    )
    parser.add_argument(
        "--system",
        choices=("keep", "drop"),
        default="keep",
        help="system messages in the prompts (default: %(default)s)",
    )
    parser.add_argument(
        "--duplicate-similarity",
        type=positive_number,
        default=DUPLICATE_SIMILARITY,
        metavar="SHARE",
        help="share of common words from which on two answers are too alike for a pair "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--prompt",
        choices=(FLAT, CONVERSATIONAL),
        default=FLAT,
        help="prompts as one text, or everything as lists of messages (default: %(default)s)",
    )
    parser.add_argument(
        "--label",
        action="append",
        type=_assignment,
        default=[],
        metavar="ROLE=LABEL",
        help="label of a role in flat prompts (default: "
        + ", ".join(f"{role}={label}" for role, label in ROLE_LABELS.items())
        + ")",
    )
    parser.add_argument(
        "--speaker",
        action="append",
        type=_assignment,
        default=[],
        metavar="NAME=ROLE",
        help="role of a speaker whom the file calls otherwise (known: " + ", ".join(SPEAKERS) + ")",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    out = Path(arguments.out)
    require_suffix(out)
    require_writable(out, folder=False)
    speakers = {name.lower(): role for name, role in arguments.speaker}
    read = read_conversations(arguments.file, {**SPEAKERS, **speakers})
    options = AlternatingOptions(
        last_turn=arguments.last_turn,
        consecutive=arguments.consecutive,
        opening=arguments.opening,
        system=arguments.system,
        duplicate_similarity=arguments.duplicate_similarity,
        labels={**ROLE_LABELS, **dict(arguments.label)},
    )
    population = alternating_population(read.conversations, options)
    write_json_lines(out, _fields(population, arguments.prompt))
    result = {
        "out": str(out),
        "conversations": {
            "read": len(read.conversations),
            "set_aside": read.set_aside_counts,
            "dropped": population.dropped,
        },
        "triplets": len(population.rows),
        "user_turns_skipped": population.skipped,
        "command": arguments.command_line,
    }
    turns = len(population.rows) + sum(population.skipped.values())
    lines = [
        f"{len(read.conversations)} conversations, {turns} user turns, "
        f"{len(population.rows)} triplets",
        *counts_line("lines set aside", read.set_aside_counts),
        *counts_line("conversations dropped", population.dropped),
        *counts_line("user turns without a triplet", population.skipped),
        f"written: {out}",
    ]
    print_result(result, lines, as_json=arguments.json)
    return 0


def _assignment(text: str) -> tuple[str, str]:
    """``NAME=VALUE`` as its two parts."""
    name, sign, value = text.partition("=")
    if not (name.strip() and sign and value.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name.strip(), value.strip()


def _fields(population: AlternatingPopulation, prompt: str) -> list[Mapping[str, Any]]:
    """The lines of the file."""
    if prompt == FLAT:
        return [_flat(row) for row in population.rows]
    pairs = zip(population.rows, population.dialogues, strict=True)
    return [_flat(row) | conversational(row, dialogue) for row, dialogue in pairs]


def _flat(row: PreferenceRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("id", "prompt", "chosen", "rejected", "group")}
