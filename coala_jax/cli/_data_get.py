"""`coala-jax data get`: a known data set by name, split, and checked against the paper's counts."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from coala_jax._files import require_writable
from coala_jax.cli._derived_options import add_fields, from_options
from coala_jax.cli._options import add_eval_fraction, add_seed
from coala_jax.cli._output import report, say
from coala_jax.cli._row_options import (
    add_set_aside,
    keep_set_aside,
    rows_lines,
    set_aside_path,
    warnings_at_end,
)
from coala_jax.data import NamedRows, RowOptions, Split
from coala_jax.data._answer_groups import answer_groups
from coala_jax.data._writing import SET_ASIDE_NAME

EXAMPLE = """  coala-jax data get helpsteer --download --out data/helpsteer
  coala-jax data get imdb --from copies/imdb --out data/imdb
  coala-jax data get nectar --pairs groups --download --out data/nectar"""
# What a folder holds in the end.
TRAIN, EVAL, ABOUT = "train.jsonl", "eval.jsonl", "dataset.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    from coala_jax.data._named import EVAL_FRACTION, KNOWN_SETS

    known = KNOWN_SETS.values()
    ids = ", ".join(f"{each.name} ({each.hub_id})" for each in known)
    rated = [
        *(each.name for each in known if each.attributes),
        *(f"{each.name} with --pairs all or groups" for each in known if each.whole),
    ]
    parser.add_argument("name", choices=tuple(KNOWN_SETS), help=f"the data set: {ids}")
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="PATH",
        help="a copy of its hub repository, or one file of it (default: the hub, with --download)",
    )
    parser.add_argument(
        "--attribute",
        metavar="NAME[+NAME]",
        help=f"by what responses are judged, or several whose mean counts; of {', '.join(rated)}",
    )
    add_eval_fraction(parser, EVAL_FRACTION)
    add_seed(parser, "which prompts are held out")
    add_fields(parser, RowOptions, ("pairs", "revision", "download", "strict"))
    add_set_aside(parser, f"OUT/{SET_ASIDE_NAME}")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.data import require_no_leak, write_groups, write_rows
    from coala_jax.data._named import load_named, split_named

    out = Path(arguments.out)
    require_writable(out, folder=True)
    options = from_options(arguments, RowOptions)
    loaded = load_named(arguments.name, arguments.source, arguments.attribute, options)
    known = loaded.known
    say(loaded.check())
    parts = split_named(loaded.row_set.rows, arguments.eval_fraction, arguments.seed)
    require_no_leak(parts.train, parts.eval)
    write = write_groups if options.pairs == "groups" else write_rows
    write(out / TRAIN, parts.train)
    write(out / EVAL, parts.eval)
    path = set_aside_path(arguments, out, inside=True)
    kept = keep_set_aside(path, loaded.row_set.set_aside)
    counts = _counts(loaded, parts)
    result = {
        "out": out,
        "name": known.name,
        "hub_id": known.hub_id,
        "config": known.config,
        "split": known.split,
        "revision": options.revision,
        "source": arguments.source,
        "attribute": loaded.attribute or None,
        "conversational": bool(loaded.row_set.chat_template),
        "eval_fraction": arguments.eval_fraction,
        "seed": arguments.seed,
        "pairs": None if options.pairs == "groups" else counts,
        "groups": counts if options.pairs == "groups" else None,
        "rows": {
            "set_aside": loaded.row_set.set_aside_counts,
            "notes": loaded.row_set.notes,
        },
    }
    lines = [
        *warnings_at_end(arguments, loaded.row_set.notes),
        f"{known.name}: {loaded.check()}",
        f"split by prompt: {counts['train']} to train on, {counts['eval']} held out",
        *rows_lines(loaded.row_set.set_aside_counts, kept, None),
        f"written: {out}: {TRAIN}, {EVAL}, {ABOUT}",
    ]
    return report(arguments, result, lines, file=out / ABOUT)


def _counts(loaded: NamedRows, parts: Split) -> dict[str, Any]:
    """How many pairs or groups there are, and on which side."""
    if loaded.pairs == "groups":
        groups = loaded.groups()
        sizes = Counter(len(group.answers) for group in groups)
        return {
            "total": len(groups),
            "train": len(answer_groups(parts.train)),
            "eval": len(answer_groups(parts.eval)),
            "answers": {str(size): sizes[size] for size in sorted(sizes)},
            "tied_pairs": sum(group.tied for group in groups),
        }
    return {
        "total": len(loaded.row_set.rows),
        "train": len(parts.train),
        "eval": len(parts.eval),
        "paper": loaded.paper,
        "difference": loaded.difference,
    }
