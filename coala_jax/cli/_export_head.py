"""`coala-jax export-head`: a head for those who do not use this package."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax._files import require_writable
from coala_jax.cli._options import HEAD_HELP, add_download
from coala_jax.cli._output import report

EXAMPLE = """  coala-jax export-head head --to torch --out reward_head
  coala-jax export-head head --to stablehlo --out reward.stablehlo"""
TORCH, STABLEHLO = "torch", "stablehlo"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("head", help=HEAD_HELP)
    parser.add_argument(
        "--to",
        required=True,
        choices=(TORCH, STABLEHLO),
        help="torch: a folder with reward_head.py, which needs torch and safetensors, and for the "
        "rewards of texts transformers; "
        "stablehlo: a file that jax.export reads, with a note beside it",
    )
    parser.add_argument("--out", required=True, help="folder (torch) or file (stablehlo) to write")
    add_download(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.decoding import export_torch
    from coala_jax.decoding._export_stablehlo import export_stablehlo, note_path

    out = Path(arguments.out)
    require_writable(out, folder=arguments.to == TORCH)
    if arguments.to == TORCH:
        written = export_torch(arguments.head, out, download=arguments.download)
    else:
        file = export_stablehlo(arguments.head, out, download=arguments.download)
        written = [file, note_path(file)]
    result = {"out": out, "to": arguments.to, "files": written}
    return report(arguments, result, [f"written: {file}" for file in written])
