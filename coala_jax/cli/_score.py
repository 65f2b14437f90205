"""`coala-jax score`: rewards of responses under a head."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from coala_jax.cli._output import counts_line, output_file, report, say, warning_line
from coala_jax.cli._parser import UsageError, positive_integer
from coala_jax.cli._row_options import (
    add_head_and_rows,
    open_head_and_rows,
    rows_lines,
    warnings_at_end,
)
from coala_jax.data._responses import CHUNK_RESPONSES
from coala_jax.data._sources._unpacking import COMPRESSIONS

if TYPE_CHECKING:
    from coala_jax.decoding._reward_lines import Tally

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
    from coala_jax.decoding._reward_lines import write_rewards
    from coala_jax.features._distinct import SAME_TOKENS

    out = None if arguments.out == STANDARD_OUTPUT else Path(arguments.out)
    if out is None and arguments.json:
        raise UsageError("--out -: the rewards go to standard output; leave out --json")
    if out is not None and out.suffix in COMPRESSIONS:
        raise UsageError(f"--out: {out}: rewards are written unpacked; leave out {out.suffix}")
    output_file(None if out is None else arguments.out)
    model, usable = open_head_and_rows(arguments, out)
    with usable as rows:
        tally, resumed = write_rewards(
            model, rows, out, chunk_responses=arguments.chunk_responses, report=say
        )
    counts, kept, notes = usable.set_aside
    metrics = tally.metrics()
    cut = {"prompt": tally.prompt_cut, "response": tally.response_cut}
    lines = [*warnings_at_end(arguments, notes), f"rewards of {tally.responses} responses"]
    if metrics:
        accuracy, margin = metrics.values()
        ties = f", {tally.ties} of them tied (half right each)" if tally.ties else ""
        lines.append(
            f"accuracy {accuracy:.3f}, reward margin {margin:+.3f} on {tally.pairs} pairs{ties}"
        )
    lines += counts_line("pairs set aside", {SAME_TOKENS: tally.same} if tally.same else {})
    lines += _known_lines(tally)
    lines += [*rows_lines(counts, kept), *counts_line("responses cut to the context", cut)]
    if out is None:
        for line in lines:
            say(line)
        return 0
    result = {
        "out": out,
        "lines": tally.rows,
        "responses": tally.responses,
        "pairs": tally.pairs,
        "ties": tally.ties,
        "pairs_set_aside": {SAME_TOKENS: tally.same} if tally.same else {},
        **metrics,
        "trained_on": None
        if model.trained_on is None
        else {
            "rows": tally.known_rows,
            "pairs": tally.known_pairs,
            "unseen_accuracy": tally.unseen_accuracy(),
        },
        "rows": {"set_aside": counts, "cut": cut, "rejected": kept, "notes": notes},
        "resumed": resumed,
    }
    return report(arguments, result, [*lines, f"written: {out}"])


def _known_lines(tally: Tally) -> list[str]:
    """What a user must know of prompts that the head was trained on."""
    if not tally.known_rows:
        return []
    line = warning_line(
        f"the head was trained on the prompts of {tally.known_rows} of {tally.rows} rows"
    )
    accuracy = tally.unseen_accuracy()
    if not tally.known_pairs:
        return [line]
    if accuracy is None:
        return [f"{line}, of all pairs here: nothing here says how it orders unseen ones"]
    unseen = tally.pairs - tally.known_pairs
    return [f"{line}; accuracy {accuracy:.3f} on the {unseen} other pairs"]
