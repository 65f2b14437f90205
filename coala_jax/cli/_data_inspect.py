"""`coala-jax data inspect`: look at preference pairs before training on them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from coala_jax._files import write_text
from coala_jax._unseen import printable
from coala_jax.cli._options import add_chat_template, add_hub_id, add_seed
from coala_jax.cli._output import counts_line, output_file, report, warning_line
from coala_jax.cli._parser import UsageError, positive_integer
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

if TYPE_CHECKING:
    from coala_jax.backbones import Tokenizer
    from coala_jax.data import PreferenceRow, RowSet
    from coala_jax.study._inspection import Inspection, Lengths

EXAMPLE = """  coala-jax data inspect pairs.jsonl.gz --out pairs.html
  coala-jax data inspect survey.csv --columns prompt=question,chosen=best,rejected=other"""
EXAMPLE_PARTS = ("id", "prompt", "chosen", "rejected")
# Of a text on the terminal; the page shows all of it.
SHOWN_CHARACTERS = 600


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("file", help=DATA_HELP)
    parser.add_argument(
        "--eval",
        metavar="FILE",
        help="held-out part of a split, checked against the other; read with the same options",
    )
    parser.add_argument(
        "--eval-split", metavar="SPLIT", help="split of --eval, a hub set or a folder"
    )
    parser.add_argument("--out", metavar="PAGE", help="HTML page to write, with plots")
    parser.add_argument(
        "--model",
        help="checkpoint folder, GGUF file or hub id whose tokenizer counts tokens and, where rows "
        "are messages, writes the prompts",
    )
    parser.add_argument(
        "--examples",
        type=positive_integer,
        metavar="N",
        help="show N rows, drawn by the seed; without it no text of the data is shown",
    )
    add_seed(parser, "seed of folds and examples")
    model = parser.add_argument_group("model")
    add_chat_template(model)
    add_hub_id(model)
    add_row_options(parser)
    add_set_aside(parser, "they are counted alone")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.study._inspection import inspect_pairs
    from coala_jax.study._inspection_words import inspection_report

    if arguments.out is not None:  # what it needs is asked for before the long work
        from coala_jax.study._inspection_page import inspection_page
    if arguments.eval_split is not None and arguments.eval is None:
        raise UsageError("--eval-split says how --eval is read: give --eval too, or leave it out")
    out, set_aside = output_file(arguments.out), set_aside_path(arguments, None)
    tokenizer = None if arguments.model is None else _tokenizer(arguments)
    read, held_out = _read(arguments, tokenizer)
    notes = read.notes + (() if held_out is None else held_out.notes)
    warnings = warn_of(notes)
    found = inspect_pairs(
        read.rows,
        () if held_out is None else held_out.rows,
        token_counts=None if tokenizer is None else _token_counts(tokenizer),
        seed=arguments.seed,
    )
    examples = _drawn(read.rows, arguments.examples or 0, arguments.seed)
    counts_of = {"file": read.set_aside_counts}
    if held_out is not None:
        counts_of["eval"] = held_out.set_aside_counts
    result = inspection_report(found) | {
        "set_aside": counts_of,
        "notes": notes,
        "examples": [{part: getattr(row, part) for part in EXAMPLE_PARTS} for row in examples],
        "out": out,
    }
    lines = [*warnings, *_lines(found)]
    if tokenizer is not None:
        result["names_control_tokens"] = _control_tokens(tokenizer, read, held_out)
        lines.append(
            f"{result['names_control_tokens']:,} rows name control tokens of the tokenizer, which "
            "are read as text"
        )
    for part, counts in counts_of.items():
        lines += counts_line(f"lines set aside ({part})", counts)
    lines += [line for row in examples for line in _example_lines(row)]
    all_aside = read.set_aside + (() if held_out is None else held_out.set_aside)
    lines += rows_lines({}, keep_set_aside(set_aside, all_aside), out)
    if out is not None:
        page = inspection_page(Path(arguments.file).name, found, arguments.command_line, examples)
        write_text(out, page)
    return report(arguments, result, lines)


def _tokenizer(arguments: argparse.Namespace) -> Tokenizer:
    from coala_jax.features._chat import checkpoint_tokenizer

    return checkpoint_tokenizer(
        arguments.model,
        revision=arguments.revision,
        download=arguments.download,
        chat_template=arguments.chat_template,
    )


def _control_tokens(tokenizer: Tokenizer, *parts: RowSet | None) -> int:
    """How many rows name control tokens of the tokenizer in their texts."""
    from coala_jax.features._tokens import names_control_tokens

    return sum(
        names_control_tokens(tokenizer, row.prompt, row.chosen, row.rejected)
        for part in parts
        if part is not None
        for row in part.rows
    )


def _token_counts(tokenizer: Tokenizer) -> Callable[[Sequence[str]], list[int]]:
    return lambda texts: [len(ids) for ids in tokenizer.encode_batch(texts)]


def _read(
    arguments: argparse.Namespace, tokenizer: Tokenizer | None
) -> tuple[RowSet, RowSet | None]:
    """The rows of the file, and those of the held-out one."""
    from coala_jax.data import read_rows
    from coala_jax.data._chat import plain_chat

    options, chat = row_options(arguments), plain_chat
    if tokenizer is not None:
        from coala_jax.features._chat import tokenizer_chat

        chat = partial(tokenizer_chat, tokenizer)
    read = read_rows(arguments.file, options, chat)
    if arguments.eval is None:
        return read, None
    return read, read_rows(arguments.eval, replace(options, split=arguments.eval_split), chat)


def _drawn(rows: Sequence[PreferenceRow], count: int, seed: int) -> list[PreferenceRow]:
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[place] for place in sorted(order[:count])]


def _lines(found: Inspection) -> list[str]:
    """The figures for people; what matters most comes first."""
    from coala_jax.study._inspection_words import (
        accuracy_text,
        length_is_skewed,
        length_sentence,
        other_warnings,
        repeat_lines,
    )

    length = length_sentence(found)
    lines = [warning_line(length) if length_is_skewed(found) else length]
    lines += map(warning_line, other_warnings(found))
    lines.append(f"{found.rows} rows, {found.prompts} distinct prompts")
    lines += _length_lines("characters", found.characters)
    if found.tokens is not None:
        lines += _length_lines("tokens", found.tokens)
    lines += [
        f"length rule   {accuracy_text(found.length_rule)}",
        f"words alone   {accuracy_text(found.vocabulary_probe)}",
        f"held out by   {found.held_out}",
    ]
    return lines + [f"{count} {what}" for what, count in repeat_lines(found)]


def _length_lines(unit: str, lengths: Lengths) -> list[str]:
    from coala_jax.study._inspection_words import quantiles

    lines = []
    for part, values in lengths._asdict().items():
        summary = ", ".join(f"{name} {value:,.0f}" for name, value in quantiles(values).items())
        lines.append(f"{unit:<10} {part:<8} {summary}")
    return lines


def _example_lines(row: PreferenceRow) -> list[str]:
    shown = [f"{part}: {_beginning(getattr(row, part))}" for part in EXAMPLE_PARTS[1:]]
    return [f"--- {_beginning(row.id)}", *shown]


def _beginning(text: str) -> str:
    """The beginning of a text; what a terminal would obey is named."""
    cut = text[:SHOWN_CHARACTERS]
    more = f" ... ({len(text) - len(cut)} more characters)" if len(cut) < len(text) else ""
    return printable(cut) + more
