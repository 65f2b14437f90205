"""`coala-jax solve`: features to an aligned, certified head."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax._files import require_writable
from coala_jax._processes import together
from coala_jax.cli._options import (
    add_download,
    add_eval_fraction,
    add_learning_curve,
    add_seed,
    add_solver_options,
    solver_settings,
)
from coala_jax.cli._output import say
from coala_jax.cli._parser import UsageError
from coala_jax.cli._process_options import add_process_options, joined_processes
from coala_jax.cli._row_options import DATA_HELP, add_row_options, given_row_options, row_options
from coala_jax.cli._summary import exit_code, finish
from coala_jax.cli._tracker_options import add_report_to
from coala_jax.study._all_pairs import of_all_processes
from coala_jax.study._experiment import Settings, run_experiment
from coala_jax.study._hold_out import hold_out
from coala_jax.study._learning_curve import learning_curve
from coala_jax.study._read_pairs import read_pairs

EVAL_FRACTION = 0.2
EXAMPLE = """  coala-jax solve store --out head
  coala-jax solve store --prefixes --out prefix_head
  coala-jax solve group_store --phase1-loss listwise --out head
  coala-jax solve features.npz --groups groups.jsonl --out head --group-lasso 0.1
  coala-jax solve store --out head --coordinator node1:29500 --processes 4 --process-id 0
  coala-jax solve store --data survey.csv --columns prompt=question,chosen=best --out head"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "features",
        help="feature store, or .npz, Parquet (a file, or a folder of them) or saved data set with "
        "chosen and rejected, (n, d) each; of pairs, or of groups (`extract --pairs groups`); or "
        "the name of a store whose parts (`extract --processes`) were not joined",
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
    add_learning_curve(parser)
    add_seed(parser, "decides the split and the gates")
    add_solver_options(parser, groups=True)
    add_process_options(
        parser,
        "each reads a share of the features and keeps it on its devices, and all solve one problem "
        "together; process 0 writes and reports",
        coordinator=True,
    )
    add_row_options(parser)
    add_download(parser)
    add_report_to(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    settings = solver_settings(arguments)
    if arguments.data is None and (given := given_row_options(arguments)):
        raise UsageError(f"{given[0]} says how --data is read: give --data too, or leave it out")
    with joined_processes(arguments) as part:
        return _solve(arguments, settings, is_first=part.number == 0)


def _solve(arguments: argparse.Namespace, settings: Settings, *, is_first: bool) -> int:
    """Solve, with the other processes where there are some, of which the first writes."""
    out, tell = Path(arguments.out), say if is_first else _say_nothing
    together(lambda: require_writable(out, folder=True) if is_first else None)
    pairs = read_pairs(
        arguments.features,
        arguments.groups,
        arguments.data,
        row_options(arguments),
        prefixes=arguments.prefixes,
    )
    if pairs.groups is not None and not settings.config.loss.grouped:
        tell(
            f"{arguments.features}: groups, of which all pairs of members are taken; "
            "--phase1-loss listwise takes them whole"
        )
    held_out = hold_out(of_all_processes(pairs), arguments.eval_fraction, arguments.seed)
    experiment = run_experiment(pairs, held_out, settings, tell)
    curve = learning_curve(pairs, held_out, experiment, tell) if arguments.learning_curve else None
    # One that has died ends the others here, and not when the head is written.
    together(lambda: None)
    return together(
        lambda: finish(arguments, experiment, out, curve) if is_first else exit_code(experiment)
    )


def _say_nothing(_: str) -> None:
    """What processes but the first have to say while all goes well."""
