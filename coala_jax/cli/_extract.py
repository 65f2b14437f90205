"""`coala-jax extract`: preference rows to a feature store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from coala_jax._files import require_writable
from coala_jax.cli._data_options import (
    DATA_HELP,
    add_row_options,
    add_set_aside,
    keep_set_aside,
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
from coala_jax.cli._output import say
from coala_jax.cli._parser import (
    UsageError,
    add_command,
    layer_list,
    natural_number,
    positive_integer,
)
from coala_jax.cli._store_summary import print_store
from coala_jax.data._writing import SET_ASIDE_NAME
from coala_jax.features import Part

EXAMPLE = "  coala-jax extract --model models/gpt2 --data pairs.jsonl.gz --out store"


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "extract",
        "run preference rows through a frozen backbone and keep their features",
        EXAMPLE,
        run,
    )
    parser.add_argument(
        "--model", required=True, help="checkpoint folder (Hugging Face layout), or a hub id"
    )
    parser.add_argument("--data", required=True, help=DATA_HELP)
    parser.add_argument("--out", required=True, help="feature store to make")
    parser.add_argument(
        "--pooling",
        default="mean+last",
        help="mean, last or attention over the response, text_mean, first, or several joined by + "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--layers",
        type=layer_list,
        default=(-1,),
        metavar="N,N",
        help="hidden states to pool, such as -1,-8; -1 is the last (default: -1)",
    )
    parser.add_argument(
        "--token-budget",
        type=positive_integer,
        metavar="N",
        help="tokens that run together on a device (default: what its free memory holds, 8192 on "
        "a CPU); lowered where memory ends",
    )
    parser.add_argument(
        "--shard-rows",
        type=positive_integer,
        default=2048,
        help="pairs of a shard: what a killed run loses at most, and what several processes share "
        "out (default: %(default)s)",
    )
    parser.add_argument(
        "--no-sharing",
        action="store_true",
        help="run every text from its first token, also where texts begin alike",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "float16"),
        help="type on disk (default: %(default)s)",
    )
    add_model_options(parser)
    add_model_dtype(parser)
    add_engine(parser)
    add_device_options(parser)
    group = parser.add_argument_group(
        "several processes", "each extracts its part, OUT.part-I-of-N, for coala-jax join"
    )
    group.add_argument(
        "--process-id", type=natural_number, metavar="I", help="which one this is, from 0"
    )
    group.add_argument("--processes", type=positive_integer, metavar="N", help="how many there are")
    add_row_options(parser)
    add_set_aside(parser, f"OUT.{SET_ASIDE_NAME}")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.backbones import load_backbone
    from coala_jax.data import read_rows
    from coala_jax.features._build import extract_store
    from coala_jax.features._chat import checkpoint_chat
    from coala_jax.features._join import part_path
    from coala_jax.features._settings import ExtractSettings

    part = _part(arguments)
    settings = ExtractSettings(
        pooling=arguments.pooling,
        layers=arguments.layers,
        dtype=arguments.dtype,
        token_budget=arguments.token_budget,
        shard_rows=arguments.shard_rows,
        share_prefixes=not arguments.no_sharing,
    )
    out = Path(arguments.out)
    own = out if part is None else part_path(out, part)
    beside = own.absolute().with_name(f"{own.absolute().name}.{SET_ASIDE_NAME}")
    set_aside = set_aside_path(arguments, beside)
    require_writable(out, folder=True)
    require_writable(set_aside, folder=False)
    row_set = read_rows(
        arguments.data,
        row_options(arguments),
        lambda: checkpoint_chat(
            arguments.model, revision=arguments.revision, download=arguments.download
        ),
    )
    kept = keep_set_aside(set_aside, row_set.set_aside)
    say(f"features of {len(row_set.rows)} pairs from {arguments.model}")
    options = {**model_options(arguments), **device_options(arguments)}
    backbone = load_backbone(arguments.model, **options)
    store = extract_store(row_set, backbone, out, settings=settings, part=part)
    print_store(store, arguments, set_aside if kept else None)
    return 0


def _part(arguments: argparse.Namespace) -> Part | None:
    """Which part of a store is asked for; None for all of it."""
    if (arguments.process_id is None) != (arguments.processes is None):
        raise UsageError("--process-id and --processes go together: give both or neither")
    if arguments.processes is None:
        return None
    part = Part(arguments.process_id, arguments.processes)
    part.check()
    return part
