"""`coala-jax score`: rewards of responses under a head."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from coala_jax.cli.options import (
    add_device_options,
    add_engine,
    add_model_dtype,
    add_model_options,
    device_options,
    model_options,
)
from coala_jax.cli.output import counts_line, print_result
from coala_jax.cli.parser import add_command
from coala_jax.study.files import require_writable

EXAMPLE = (
    """  coala-jax score head --model models/gpt2 --data responses.jsonl --out rewards.jsonl"""
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "score", "rewards of responses or of both sides of preference rows", EXAMPLE, run
    )
    parser.add_argument("head", help="folder of a head")
    parser.add_argument(
        "--model", required=True, help="the backbone it was made on; checked by its hashes"
    )
    parser.add_argument(
        "--data",
        required=True,
        help="rows with prompt and response, or prompt, chosen and rejected; any kind of file",
    )
    parser.add_argument("--out", required=True, help=".jsonl to write, one line a row")
    add_model_options(parser)
    add_model_dtype(parser, None)
    add_engine(parser)
    add_device_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.decoding.scoring import score_file, write_scores

    out = Path(arguments.out)
    require_writable(out, folder=False)
    options = {**model_options(arguments), **device_options(arguments)}
    scores = score_file(arguments.head, arguments.model, arguments.data, **options)
    write_scores(out, scores)
    summary = scores.summary
    lines = [
        f"rewards of {summary['responses']} responses",
        *counts_line("rows set aside", summary["rows"]["set_aside"]),
        *counts_line("responses cut to the context", summary["rows"]["cut"]),
        f"written: {out}",
    ]
    if summary["pairs"]:
        lines.insert(
            1,
            f"accuracy {summary['rewards/accuracies']:.3f}, reward margin "
            f"{summary['rewards/margins']:+.3f} on {summary['pairs']} pairs",
        )
    result = {"out": str(out), **summary, "command": arguments.command_line}
    print_result(result, lines, as_json=arguments.json)
    return 0
