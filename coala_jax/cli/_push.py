"""`coala-jax push`: a head to a repository of the Hugging Face hub."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from coala_jax._model_card import solve_status
from coala_jax._status import Status
from coala_jax.cli._output import report, warning_line
from coala_jax.study._push import head_files, push_head

EXAMPLE = """  coala-jax push head me/helpful-head --dry-run
  coala-jax push head me/helpful-head --private"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("head", help="folder of a head")
    parser.add_argument(
        "repository",
        metavar="REPO",
        help="ORG/NAME on the hub; made where there is none. The login is that of huggingface_hub "
        "(`hf auth login`, or HF_TOKEN)",
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="make the repository private; one that is there and public is refused",
    )
    parser.add_argument(
        "--revision", metavar="BRANCH", help="branch to push to, made if missing (default: main)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="list what would go, and open no connection"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    files = head_files(arguments.head)
    notes = [*_unsolved(files.document), *files.notes()]
    sizes = files.sizes()
    commit = None
    if not arguments.dry_run:
        commit = push_head(
            files,
            arguments.repository,
            private=arguments.private,
            revision=arguments.revision,
        )
    result = {
        "head": arguments.head,
        "repository": arguments.repository,
        "revision": arguments.revision,
        "private": arguments.private,
        "files": sizes,
        "left_out": list(files.left_out),
        "notes": notes,
        "commit": commit,
    }
    end = f"pushed: {commit}" if commit else f"nothing was pushed to {arguments.repository}"
    lines = [*map(warning_line, notes), *(f"{size:>12,}  {name}" for name, size in sizes.items())]
    return report(arguments, result, [*lines, end])


def _unsolved(document: Mapping[str, Any]) -> list[str]:
    """What to say of a head whose file says that it is not solved."""
    status = solve_status(document)
    if status is None or (isinstance(status, Status) and status.ok):
        return []
    return [f"this head is not solved: {str(status).lower()}; its card says so first"]
