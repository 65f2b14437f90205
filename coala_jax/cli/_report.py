"""`coala-jax report`: the page and the picture of a head, made again from its folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax._files import require_writable
from coala_jax.cli._output import report
from coala_jax.study._head_folder import PAGE, PICTURE, draw

EXAMPLE = """  coala-jax report head
  coala-jax report head --picture --out pages"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "head", help="folder of a head, with report.json and history.json that `solve` wrote"
    )
    parser.add_argument(
        "--picture", action="store_true", help=f"make {PICTURE} too, which needs matplotlib"
    )
    parser.add_argument("--out", help=f"folder to write {PAGE} to (default: HEAD)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    head = Path(arguments.head)
    out = head if arguments.out is None else Path(arguments.out)
    require_writable(out, folder=True)
    names = (PAGE, PICTURE) if arguments.picture else (PAGE,)
    files = [draw(head, out, name, title=head.absolute().name) for name in names]
    return report(arguments, {"out": out, "files": files}, [f"written: {f}" for f in files])
