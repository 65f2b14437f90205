"""`coala-jax extract`: preference rows to a feature store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from coala_jax.cli.options import add_model_options, model_options
from coala_jax.cli.output import counts_line, print_result, say
from coala_jax.cli.parser import add_command, layer_list, positive_integer
from coala_jax.study.files import require_writable

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
    parser.add_argument(
        "--data", required=True, help=".jsonl or .jsonl.gz with prompt, chosen, rejected"
    )
    parser.add_argument("--out", required=True, help="feature store to make")
    parser.add_argument(
        "--pooling",
        default="mean+last",
        help="mean or last of the response, text_mean, first, or several joined by + "
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
        default=8192,
        help="tokens that run together; lowered where memory ends (default: %(default)s)",
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


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.backbones import load_backbone
    from coala_jax.data import read_rows
    from coala_jax.features.build import extract_store
    from coala_jax.features.extract import ExtractSettings

    settings = ExtractSettings(
        pooling=arguments.pooling,
        layers=arguments.layers,
        dtype=arguments.dtype,
        token_budget=arguments.token_budget,
        share_prefixes=not arguments.no_sharing,
    )
    require_writable(Path(arguments.out), folder=True)
    row_set = read_rows(arguments.data)
    say(f"features of {len(row_set.rows)} pairs from {arguments.model}")
    backbone = load_backbone(arguments.model, **model_options(arguments))
    store = extract_store(row_set, backbone, arguments.out, settings=settings)
    manifest = store.manifest
    result = {
        "out": str(store.path),
        "pairs": {"total": manifest["rows"]},
        "features": {"width": manifest["width"], "dtype": manifest["dtype"]},
        "rows": {"set_aside": manifest["refused"], "cut": manifest["cut"]},
        "tokens": manifest["tokens"],
        "flops": manifest["flops"],
        "shapes": manifest["shapes"],
        "identity": manifest["identity"],
        "command": arguments.command_line,
    }
    lines = [
        f"features of {manifest['rows']} pairs, {manifest['width']} columns each side",
        *counts_line("rows set aside", manifest["refused"]),
        *counts_line("pairs cut to the context", manifest["cut"]),
        "tokens: {given} given, {distinct} distinct, {run} run".format(**manifest["tokens"])
        + f" in {manifest['shapes']} shapes, {manifest['flops']:.3g} operations",
        f"written: {store.path}",
    ]
    print_result(result, lines, as_json=arguments.json)
    return 0
