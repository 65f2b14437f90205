"""`coala-jax extract`: preference rows to a feature store."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from coala_jax._files import require_writable
from coala_jax.cli._derived_options import add_fields, from_options
from coala_jax.cli._options import add_model_options, model_options
from coala_jax.cli._output import counts_line, report, say, warning_line
from coala_jax.cli._parser import natural_number, seed
from coala_jax.cli._process_options import add_process_options, asked_part
from coala_jax.cli._row_options import (
    DATA_HELP,
    add_row_options,
    add_set_aside,
    keep_set_aside,
    row_options,
    rows_lines,
    set_aside_path,
    warn_of,
)
from coala_jax.data._writing import SET_ASIDE_NAME
from coala_jax.features import FeatureStore
from coala_jax.features._groups import group_counts
from coala_jax.features._settings import ExtractSettings

EXAMPLE = "  coala-jax extract --model models/gpt2 --data pairs.jsonl.gz --out store"
GROUPS_LINE = "{total} groups; pairs of responses in them that are tied: {tied_pairs}"
SETTINGS = (
    "pooling",
    "layers",
    "prefixes",
    "prefix_seed",
    "token_budget",
    "shard_rows",
    "share_prefixes",
    "dtype",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--model",
        required=True,
        help="checkpoint folder (Hugging Face layout) or GGUF file, or a hub id of either "
        "(ORG/NAME, ORG/NAME:FILE.gguf)",
    )
    parser.add_argument("--data", required=True, help=DATA_HELP)
    parser.add_argument("--out", required=True, help="feature store to make")
    add_fields(
        parser,
        ExtractSettings,
        SETTINGS,
        takes={"prefixes": natural_number, "prefix_seed": seed},
        old={"--no-sharing": "share_prefixes"},
    )
    add_model_options(parser, engine=True)
    add_process_options(
        parser, "each extracts its part, OUT.part-I-of-N, for coala-jax join, or solve as they are"
    )
    add_row_options(parser)
    add_set_aside(parser, f"OUT.{SET_ASIDE_NAME}")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.backbones import load_backbone
    from coala_jax.data import read_rows
    from coala_jax.features._build import extract_store, recorded_chat
    from coala_jax.features._chat import checkpoint_chat
    from coala_jax.features._distinct import set_same_aside
    from coala_jax.features._join import part_path
    from coala_jax.study._inspection_words import repeat_warnings
    from coala_jax.study._repeats import count_again_and_both_ways

    part = asked_part(arguments)
    settings = from_options(arguments, ExtractSettings)
    out = Path(arguments.out)
    require_writable(out, folder=True)
    set_aside = set_aside_path(arguments, out if part is None else part_path(out, part))
    row_set = read_rows(
        arguments.data,
        row_options(arguments),
        lambda: checkpoint_chat(
            arguments.model,
            revision=arguments.revision,
            download=arguments.download,
            chat_template=arguments.chat_template,
            known=recorded_chat(out, part),
        ),
    )
    backbone = load_backbone(arguments.model, **model_options(arguments))
    row_set = set_same_aside(row_set, backbone, settings.for_rows(row_set.chat_template).template)
    kept = keep_set_aside(set_aside, row_set.set_aside)
    notes = (*row_set.notes, *repeat_warnings(*count_again_and_both_ways(row_set.rows)))
    warn_of(notes)  # before the long work, and with its result
    say(f"features of {len(row_set.rows)} pairs from {arguments.model}")
    store = extract_store(row_set, backbone, out, settings=settings, part=part)
    return report_store(arguments, store, kept, notes)


def report_store(
    arguments: argparse.Namespace,
    store: FeatureStore,
    kept: Path | None = None,
    notes: Sequence[str] = (),
) -> int:
    """Print what a store holds, and where rows set aside are kept; gives the exit code."""
    manifest, cuts, groups = store.manifest, store.table.prefixes, group_counts(store.table)
    result = {
        "out": store.path,
        "pairs": {"total": manifest["rows"]},
        **({} if groups is None else {"groups": groups}),
        "features": {"width": manifest["width"], "dtype": manifest["dtype"]},
        **({} if cuts is None else {"prefixes": _prefix_counts(store)}),
        "rows": {
            "set_aside": manifest["refused"],
            "cut": manifest["cut"],
            "rejected": kept,
            "notes": notes,
        },
        **{name: manifest[name] for name in ("tokens", "flops", "shapes", "identity")},
        "repaired": store.repaired,
    }
    lines = [
        *map(warning_line, notes),
        f"features of {manifest['rows']} pairs, {manifest['width']} columns each side",
        *([] if groups is None else [GROUPS_LINE.format(**groups)]),
        *([] if cuts is None else [_prefix_line(_prefix_counts(store))]),
        *rows_lines(manifest["refused"], kept, None),
        *counts_line("pairs cut to the context", manifest["cut"]),
        "tokens: {given} given, {distinct} distinct, {run} run".format(**manifest["tokens"])
        + f" in {manifest['shapes']} shapes, {manifest['flops']:.3g} operations",
        *(f"repaired: {fault}" for fault in store.repaired),
        f"written: {store.path}",
    ]
    return report(arguments, result, lines)


def _prefix_counts(store: FeatureStore) -> dict[str, int]:
    """How many beginnings a store has that holds them, and how many of its pairs have how many."""
    assert store.table.prefixes is not None
    counts, most = store.table.prefixes.counts(len(store.table.ids)), store.manifest["prefixes"]
    return {
        "total": int(counts.sum()),
        "most": most,
        "pairs_with_fewer": int((counts < most).sum()),
        "pairs_without": int((counts == 0).sum()),
    }


def _prefix_line(counts: Mapping[str, int]) -> str:
    text = (
        "{total} beginnings of both responses, at most {most} a pair; pairs with fewer: "
        "{pairs_with_fewer}, without any: {pairs_without}"
    )
    return text.format(**counts)
