"""`coala-jax data get`: a data set of the paper by name, split and checked against its counts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coala_jax._files import require_writable, write_text
from coala_jax._json import json_text
from coala_jax.cli._data_options import add_set_aside, add_strict, keep_set_aside, set_aside_path
from coala_jax.cli._options import add_seed
from coala_jax.cli._output import counts_line, print_result, say
from coala_jax.cli._parser import add_command, fraction
from coala_jax.data._writing import SET_ASIDE_NAME

if TYPE_CHECKING:
    from coala_jax.data._named import NamedRows

EXAMPLE = """  coala-jax data get helpsteer --download --out data/helpsteer
  coala-jax data get imdb --from copies/imdb --out data/imdb"""
# What a folder holds in the end.
TRAIN, EVAL, ABOUT = "train.jsonl", "eval.jsonl", "dataset.json"


def add_parser(subcommands: Any) -> None:
    """Add the command."""
    from coala_jax.data._named import EVAL_FRACTION, KNOWN_SETS

    parser = add_command(
        subcommands, "get", "make a data set of the COALA paper: train, eval, counts", EXAMPLE, run
    )
    parser.add_argument("name", choices=tuple(KNOWN_SETS), help="the data set")
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="PATH",
        help="a copy of its hub repository, or one file of it (default: the hub, with --download)",
    )
    parser.add_argument("--download", action="store_true", help="fetch it from the hub")
    parser.add_argument("--revision", help="branch, tag or commit of the hub")
    parser.add_argument("--attribute", help="helpsteer: by what responses are judged")
    parser.add_argument(
        "--eval-fraction",
        type=fraction,
        default=EVAL_FRACTION,
        help="share of the prompts to hold out (default: %(default)s)",
    )
    add_seed(parser, "which prompts are held out")
    add_strict(parser)
    add_set_aside(parser, f"OUT/{SET_ASIDE_NAME}")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.data import RowOptions, require_no_leak, write_rows
    from coala_jax.data._named import load_named, split_named

    out = Path(arguments.out)
    require_writable(out, folder=True)
    loaded = load_named(
        arguments.name,
        arguments.source,
        arguments.attribute,
        RowOptions(
            revision=arguments.revision, download=arguments.download, strict=arguments.strict
        ),
    )
    say(loaded.check())
    parts = split_named(loaded.row_set.rows, arguments.eval_fraction, arguments.seed)
    require_no_leak(parts.train, parts.eval)
    write_rows(out / TRAIN, parts.train)
    write_rows(out / EVAL, parts.eval)
    path = set_aside_path(arguments, out / SET_ASIDE_NAME)
    kept = keep_set_aside(path, loaded.row_set.set_aside)
    result = {
        "out": str(out),
        **_about(loaded, arguments),
        "pairs": {
            "total": len(loaded.row_set.rows),
            "train": len(parts.train),
            "eval": len(parts.eval),
            "paper": loaded.known.pairs,
            "difference": loaded.difference,
        },
        "rows": {"set_aside": loaded.row_set.set_aside_counts},
        "command": arguments.command_line,
    }
    write_text(out / ABOUT, json_text(result))
    lines = [
        f"{loaded.known.name}: {loaded.check()}",
        f"split by prompt: {len(parts.train)} to train on, {len(parts.eval)} held out",
        *counts_line("rows set aside", loaded.row_set.set_aside_counts),
        *kept,
        f"written: {out}: {TRAIN}, {EVAL}, {ABOUT}",
    ]
    print_result(result, lines, as_json=arguments.json)
    return 0


def _about(loaded: NamedRows, arguments: argparse.Namespace) -> dict[str, Any]:
    known = loaded.known
    return {
        "name": known.name,
        "hub_id": known.hub_id,
        "config": known.config,
        "split": known.split,
        "revision": arguments.revision,
        "source": arguments.source,
        "attribute": loaded.attribute or None,
        "conversational": bool(loaded.row_set.chat_template),
        "eval_fraction": arguments.eval_fraction,
        "seed": arguments.seed,
    }
