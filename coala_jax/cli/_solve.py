"""`coala-jax solve`: features to an aligned, certified head."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax._files import require_writable
from coala_jax.cli._options import (
    add_download,
    add_eval_fraction,
    add_seed,
    add_solver_options,
    solver_settings,
)
from coala_jax.cli._output import say
from coala_jax.cli._parser import UsageError
from coala_jax.cli._row_options import DATA_HELP, add_row_options, given_row_options, row_options
from coala_jax.cli._summary import finish
from coala_jax.study._experiment import run_experiment
from coala_jax.study._pairs import hold_out, read_pairs

EVAL_FRACTION = 0.2
EXAMPLE = """  coala-jax solve store --out head
  coala-jax solve store --prefixes --out prefix_head
  coala-jax solve group_store --phase1-loss listwise --out head
  coala-jax solve features.npz --groups groups.jsonl --out head --group-lasso 0.1
  coala-jax solve store --data survey.csv --columns prompt=question,chosen=best --out head"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "features",
        help="feature store, or .npz or saved data set with chosen and rejected, (n, d) each; of "
        "pairs, or of groups (`extract --pairs groups`)",
    )
    parser.add_argument("--out", required=True, help="folder of the head to write")
    parser.add_argument(
        "--groups",
        help="row id to group, .json or .jsonl[.gz]: rows of one group are never split",
    )
    parser.add_argument(
        "--data",
        help="rows behind the features, matched by id: give the prompts to split by and the length "
        f"rule; to be read as `extract` read them; {DATA_HELP}",
    )
    parser.add_argument(
        "--prefixes",
        action="store_true",
        help="solve on the beginnings of responses that `extract --prefixes K` has kept, and on "
        "them alone: a head that scores texts in the making; a pair counts once, whatever its cuts",
    )
    add_eval_fraction(parser, EVAL_FRACTION)
    add_seed(parser, "decides the split and the gates")
    add_solver_options(parser, groups=True)
    add_row_options(parser)
    add_download(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    settings = solver_settings(arguments)
    if arguments.data is None and (given := given_row_options(arguments)):
        raise UsageError(f"{given[0]} says how --data is read: give --data too, or leave it out")
    out = Path(arguments.out)
    require_writable(out, folder=True)
    pairs = read_pairs(
        arguments.features,
        arguments.groups,
        arguments.data,
        row_options(arguments),
        prefixes=arguments.prefixes,
    )
    if pairs.groups is not None and not settings.config.loss.grouped:
        say(
            f"{arguments.features}: groups, of which all pairs of members are taken; "
            "--phase1-loss listwise takes them whole"
        )
    held_out = hold_out(pairs, arguments.eval_fraction, arguments.seed)
    experiment = run_experiment(pairs, held_out, settings, say)
    return finish(arguments, experiment, out)
