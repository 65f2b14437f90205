"""`coala-jax export-head`: a head for those who do not use this package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from coala_jax._files import require_writable
from coala_jax.cli._output import print_result
from coala_jax.cli._parser import add_command

EXAMPLE = """  coala-jax export-head head --to torch --out reward_head
  coala-jax export-head head --to stablehlo --out reward.stablehlo"""
TORCH, STABLEHLO = "torch", "stablehlo"


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "export-head", "a head as a torch module or as a StableHLO function", EXAMPLE, run
    )
    parser.add_argument("head", help="folder of a head")
    parser.add_argument(
        "--to",
        required=True,
        choices=(TORCH, STABLEHLO),
        help="torch: a folder with reward_head.py, which needs torch and safetensors alone; "
        "stablehlo: a file that jax.export reads, with a note beside it",
    )
    parser.add_argument("--out", required=True, help="folder (torch) or file (stablehlo) to write")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.decoding import export_torch
    from coala_jax.decoding._export_stablehlo import export_stablehlo, note_path

    out = Path(arguments.out)
    require_writable(out, folder=arguments.to == TORCH)
    if arguments.to == TORCH:
        written = export_torch(arguments.head, out)
    else:
        file = export_stablehlo(arguments.head, out)
        written = [file, note_path(file)]
    result = {
        "out": str(out),
        "to": arguments.to,
        "files": [str(file) for file in written],
        "command": arguments.command_line,
    }
    print_result(result, [f"written: {file}" for file in written], as_json=arguments.json)
    return 0
