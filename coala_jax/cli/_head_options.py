"""Options of commands in which a head scores rows: the head, its backbone, the rows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from coala_jax._files import require_writable
from coala_jax.cli._data_options import (
    add_row_options,
    add_set_aside,
    row_options,
    set_aside_path,
)
from coala_jax.cli._options import (
    add_device_options,
    add_engine,
    add_model_dtype,
    add_model_options,
    device_options,
    model_options,
)
from coala_jax.data._writing import SET_ASIDE_NAME

if TYPE_CHECKING:
    from coala_jax.data._responses import ResponseStream
    from coala_jax.decoding import TextRewardModel

RESPONSE_HELP = (
    "rows with prompt and response, or prompt and responses (a list), or those that extract "
    "takes: any kind of file, a folder, a hub id with --download; - is standard input, JSON lines"
)


def add_head_and_rows(parser: argparse.ArgumentParser) -> None:
    """Add what `open_head_and_rows` and `set_aside_beside` read."""
    parser.add_argument("head", help="folder of a head")
    parser.add_argument(
        "--model", required=True, help="the backbone it was made on; checked by its hashes"
    )
    parser.add_argument("--data", required=True, help=RESPONSE_HELP)
    add_model_options(parser)
    add_model_dtype(parser, None)
    add_engine(parser)
    add_device_options(parser)
    add_row_options(parser)
    add_set_aside(parser, f"OUT.{SET_ASIDE_NAME}")


def open_head_and_rows(
    arguments: argparse.Namespace,
) -> tuple[TextRewardModel, ResponseStream]:
    """The head, its backbone and the rows that the options name."""
    from coala_jax.decoding._inputs import open_inputs

    return open_inputs(
        arguments.head,
        arguments.model,
        arguments.data,
        row_options(arguments),
        **model_options(arguments),
        **device_options(arguments),
    )


def set_aside_beside(arguments: argparse.Namespace, out: Path | None) -> Path | None:
    """Where rows set aside go: beside the output unless said otherwise; None where there is none.

    Raises:
        OSError: no file can be made there.
    """
    if out is not None:
        beside = out.absolute().with_name(f"{out.absolute().name}.{SET_ASIDE_NAME}")
        path = set_aside_path(arguments, beside)
    elif arguments.set_aside is not None:
        path = Path(arguments.set_aside)
    else:
        return None
    require_writable(path, folder=False)
    return path
