"""Options of commands that read preference rows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from coala_jax._choices import choices
from coala_jax.data import RowOptions, SetAsideRow, write_set_aside
from coala_jax.data._options import COLUMNS, Format, Pairs

DATA_HELP = (
    "preference rows: a file (.jsonl, .json, .csv, .tsv, each also .gz or .zst; .parquet, .arrow), "
    "a folder of them, or a hub id with --download"
)
# What `row_options` reads, beside --download, with the values that ask for nothing.
DEFAULTS: dict[str, Any] = {
    "columns": {},
    "format": None,
    "pairs": "one",
    "strip_prompt": False,
    "data_config": None,
    "split": None,
    "data_revision": None,
    "strict": False,
}


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """Add what `row_options` reads, but ``--download``, which models and rows share."""
    group = parser.add_argument_group("rows")
    group.add_argument(
        "--columns",
        type=column_names,
        metavar="NAME=COLUMN,...",
        help=f"what columns are called there, such as prompt=question; names: {', '.join(COLUMNS)}",
    )
    group.add_argument(
        "--format", choices=choices(Format), help="format of the rows (default: by the columns)"
    )
    group.add_argument(
        "--pairs",
        choices=choices(Pairs),
        help="of unpaired and scored rows: one pair a response or row, or all (default: one)",
    )
    group.add_argument(
        "--strip-prompt",
        action="store_true",
        help="take a prompt that the responses repeat out of them",
    )
    group.add_argument("--data-config", help="configuration of a hub set, or a folder in a folder")
    group.add_argument("--split", help="split of a hub set or a folder (default: train)")
    group.add_argument("--data-revision", help="branch, tag or commit of a hub set")
    add_strict(group)
    parser.set_defaults(**DEFAULTS)


def add_strict(parser: argparse._ActionsContainer) -> None:
    """Add ``--strict``."""
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first row that cannot be used"
    )


def add_set_aside(parser: argparse._ActionsContainer, default: str) -> None:
    """Add ``--rejected``, where rows that cannot be used go; ``default`` is said in its help."""
    parser.add_argument(
        "--rejected",
        dest="set_aside",
        metavar="FILE",
        help=f"where rows set aside go, with the reason (default: {default})",
    )


def row_options(arguments: argparse.Namespace) -> RowOptions:
    """What the options say of the rows."""
    names = ("columns", "format", "pairs", "strip_prompt", "strict", "split", "download")
    options = {name: getattr(arguments, name) for name in names}
    return RowOptions(**options, config=arguments.data_config, revision=arguments.data_revision)


def given_row_options(arguments: argparse.Namespace) -> list[str]:
    """The options of `add_row_options` that were given, as they are written."""
    return [
        f"--{name.replace('_', '-')}"
        for name, default in DEFAULTS.items()
        if getattr(arguments, name) != default
    ]


def column_names(text: str) -> dict[str, str]:
    """Names here to names there, from ``prompt=question,chosen=best``."""
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and column for name, _, column in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as prompt=question")
    return {name.strip(): column.strip() for name, _, column in pairs}


def set_aside_path(arguments: argparse.Namespace, default: Path) -> Path:
    """Where rows that are set aside go."""
    return default if arguments.set_aside is None else Path(arguments.set_aside)


def keep_set_aside(path: Path, set_aside: tuple[SetAsideRow, ...]) -> list[str]:
    """Write what was set aside, over what an earlier run left; gives the line that says so."""
    if not set_aside and not path.exists():
        return []
    write_set_aside(path, set_aside)
    return [f"set aside: {path}"] if set_aside else []
