"""`coala-jax score`: rewards of responses under a head."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax.cli._output import counts_line, output_file, report, say
from coala_jax.cli._parser import UsageError, positive_integer
from coala_jax.cli._row_options import (
    add_head_and_rows,
    open_head_and_rows,
    rows_lines,
    set_aside_path,
)
from coala_jax.data._responses import CHUNK_RESPONSES
from coala_jax.data._sources._bytes import COMPRESSIONS

EXAMPLE = """  coala-jax score head --model models/gpt2 --data responses.jsonl --out rewards.jsonl
  cat responses.jsonl | coala-jax score head --model models/gpt2 --data - --out - > rewards.jsonl"""
STANDARD_OUTPUT = "-"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_head_and_rows(parser)
    parser.add_argument(
        "--out",
        required=True,
        help=".jsonl to write, one line a row; a run that was killed goes on when it is run "
        "again; - is standard output",
    )
    parser.add_argument(
        "--chunk-responses",
        type=positive_integer,
        metavar="N",
        default=CHUNK_RESPONSES,
        help="responses that run together: what is in memory, and what a killed run loses at most "
        "(default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.decoding._scoring import score_stream

    out = None if arguments.out == STANDARD_OUTPUT else Path(arguments.out)
    if out is None and arguments.json:
        raise UsageError("--out -: the rewards go to standard output; leave out --json")
    if out is not None and out.suffix in COMPRESSIONS:
        raise UsageError(f"--out: {out}: rewards are written unpacked; leave out {out.suffix}")
    output_file(None if out is None else arguments.out)
    rejected = set_aside_path(arguments, out)
    scored = score_stream(
        *open_head_and_rows(arguments),
        out,
        rejected=rejected,
        chunk_responses=arguments.chunk_responses,
        report=say,
    )
    summary = scored.summary
    lines = [
        f"rewards of {summary['responses']} responses",
        *rows_lines(summary["rows"]["set_aside"], scored.rejected, None),
        *counts_line("responses cut to the context", summary["rows"]["cut"]),
    ]
    if summary["pairs"]:
        lines.insert(
            1,
            f"accuracy {summary['rewards/accuracies']:.3f}, reward margin "
            f"{summary['rewards/margins']:+.3f} on {summary['pairs']} pairs",
        )
    if out is None:
        for line in lines:
            say(line)
        return 0
    summary["rows"]["rejected"] = scored.rejected
    result = {"out": out, **summary, "resumed": scored.resumed}
    return report(arguments, result, [*lines, f"written: {out}"])
