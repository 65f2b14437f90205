"""Options of commands that read rows: preference pairs, or responses that a head scores."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coala_jax._files import require_writable
from coala_jax.cli._derived_options import add_fields, from_options, given_fields, option_of
from coala_jax.cli._options import add_head, model_options
from coala_jax.cli._output import counts_line, say, warning_line
from coala_jax.data import RowOptions, SetAsideRow, write_set_aside
from coala_jax.data._writing import SET_ASIDE_NAME

if TYPE_CHECKING:
    from coala_jax.decoding import TextRewardModel
    from coala_jax.decoding._usable_rows import UsableRows

DATA_HELP = (
    "preference rows: a file (.jsonl, .json, .csv, .tsv, each also .gz or .zst; .parquet, .arrow), "
    "a folder of them, or a hub id with --download"
)
RESPONSE_HELP = (
    "rows with prompt and response, or prompt and responses (a list), or those that extract "
    "takes: any kind of file, a folder, a hub id with --download; - is standard input, JSON lines"
)
# The fields of `RowOptions` with an option; what models have too is called otherwise.
FIELDS = ("columns", "format", "pairs", "strip_prompt", "config", "split", "revision", "strict")
NAMES = {"config": "--data-config", "revision": "--data-revision"}


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """Add what `row_options` reads, but ``--download``, which models and rows share."""
    group = parser.add_argument_group("rows")
    add_fields(group, RowOptions, FIELDS, names=NAMES)


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
    return from_options(arguments, RowOptions, download=arguments.download)


def given_row_options(arguments: argparse.Namespace) -> list[str]:
    """The options of `add_row_options` that were given, as they are written."""
    return [NAMES.get(name, option_of(name)) for name in given_fields(arguments, RowOptions)]


def set_aside_path(
    arguments: argparse.Namespace, out: Path | None, *, inside: bool = False
) -> Path | None:
    """Where rows set aside go: ``--rejected``, or beside (or inside) what is written.

    Raises:
        OSError: no file can be made there.
    """
    if arguments.set_aside is not None:
        path = Path(arguments.set_aside)
    elif out is None:
        return None
    elif inside:
        return out / SET_ASIDE_NAME
    else:
        path = out.absolute().with_name(f"{out.absolute().name}.{SET_ASIDE_NAME}")
    require_writable(path, folder=False)
    return path


def keep_set_aside(path: Path | None, set_aside: tuple[SetAsideRow, ...]) -> Path | None:
    """Write what was set aside, over what an earlier run left; gives the file, if any."""
    if path is None or not (set_aside or path.exists()):
        return None
    write_set_aside(path, set_aside)
    return path if set_aside else None


def warn_of(notes: Iterable[str]) -> list[str]:
    """Say before long work what must be known of rows; gives the first lines of its result too."""
    lines = list(map(warning_line, notes))
    for line in lines:
        say(line)
    return lines


def warnings_at_end(arguments: argparse.Namespace, notes: Iterable[str]) -> list[str]:
    """What must be known of rows, where no work is left: the first lines of the result alone.

    Beside ``--json``, whose object has no lines, it is said.
    """
    if arguments.json:
        warn_of(notes)
        return []
    return list(map(warning_line, notes))


def rows_lines(counts: Mapping[str, int], kept: Path | None, out: Path | None = None) -> list[str]:
    """The last lines of a command: rows set aside, where they are, and where its output is."""
    return [
        *counts_line("rows set aside", counts),
        *([] if kept is None else [f"set aside: {kept}"]),
        *([] if out is None else [f"written: {out}"]),
    ]


def add_head_and_rows(parser: argparse.ArgumentParser) -> None:
    """Add what `open_head_and_rows` reads."""
    add_head(parser, engine=True)
    parser.add_argument("--data", required=True, help=RESPONSE_HELP)
    add_row_options(parser)
    add_set_aside(parser, f"OUT.{SET_ASIDE_NAME}")


def open_head_and_rows(
    arguments: argparse.Namespace, out: Path | None
) -> tuple[TextRewardModel, UsableRows]:
    """The head with its backbone, and the rows that the options name, for an output."""
    from coala_jax.decoding._usable_rows import UsableRows, open_inputs

    path = set_aside_path(arguments, out)
    model, stream = open_inputs(
        arguments.head,
        arguments.model,
        arguments.data,
        row_options(arguments),
        **model_options(arguments),
    )
    return model, UsableRows(model, stream, path)
