"""`coala-jax data alternate`: conversations to preference pairs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coala_jax._files import require_writable
from coala_jax.cli._derived_options import add_fields, from_options
from coala_jax.cli._output import counts_line, report
from coala_jax.cli._row_options import warnings_at_end
from coala_jax.data._alternating import (
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
OPTIONS = ("last_turn", "consecutive", "opening", "system", "duplicate_similarity")
FLAT, CONVERSATIONAL = "flat", "conversational"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "file",
        help="a file or folder of rows with messages [{role, content}] or utterances "
        "[[speaker, text]]",
    )
    parser.add_argument("--out", required=True, help=".jsonl or .jsonl.gz of pairs to make")
    add_fields(parser, AlternatingOptions, OPTIONS)
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
    labels = {**ROLE_LABELS, **dict(arguments.label)}
    options = from_options(arguments, AlternatingOptions, labels=labels)
    population = alternating_population(read.conversations, options)
    write_json_lines(out, _fields(population, arguments.prompt))
    result = {
        "out": out,
        "conversations": {
            "read": len(read.conversations),
            "set_aside": read.set_aside_counts,
            "notes": read.notes,
            "dropped": population.dropped,
        },
        "triplets": len(population.rows),
        "user_turns_skipped": population.skipped,
    }
    turns = len(population.rows) + sum(population.skipped.values())
    lines = [
        *warnings_at_end(arguments, read.notes),
        f"{len(read.conversations)} conversations, {turns} user turns, "
        f"{len(population.rows)} triplets",
        *counts_line("lines set aside", read.set_aside_counts),
        *counts_line("conversations dropped", population.dropped),
        *counts_line("user turns without a triplet", population.skipped),
        f"written: {out}",
    ]
    return report(arguments, result, lines)


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
