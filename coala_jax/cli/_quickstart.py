"""`coala-jax quickstart`: the main job on the embedded data and backbone."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax._files import require_writable
from coala_jax.cli._options import (
    add_learning_curve,
    add_seed,
    add_solver_options,
    solver_settings,
)
from coala_jax.cli._output import say
from coala_jax.cli._parser import pair_count
from coala_jax.cli._summary import finish
from coala_jax.cli._tracker_options import add_report_to
from coala_jax.quickstart._tutoring import EVAL_PAIRS, TRAIN_PAIRS, tutoring_rows
from coala_jax.study._experiment import run_experiment
from coala_jax.study._learning_curve import learning_curve

DEFAULT_OUT = "coala-quickstart"
DEFAULT_POOLING = "last"
EXAMPLE = "  coala-jax quickstart --out out/quickstart --seed 0"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--out", default=DEFAULT_OUT, help="folder to write (default: %(default)s)")
    parser.add_argument("--model", help="another checkpoint folder than the embedded backbone")
    parser.add_argument(
        "--pooling", default=DEFAULT_POOLING, help="mean, last or mean+last (default: %(default)s)"
    )
    parser.add_argument(
        "--train-pairs", type=pair_count, default=TRAIN_PAIRS, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--eval-pairs", type=pair_count, default=EVAL_PAIRS, help="(default: %(default)s)"
    )
    add_learning_curve(parser)
    add_seed(parser, "decides rows, held-out concepts and gates")
    add_solver_options(parser, model="--network")
    add_report_to(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.quickstart._demo import demo_pairs, embedded_backbone

    settings = solver_settings(arguments)
    out = Path(arguments.out)
    require_writable(out, folder=True)
    model = Path(arguments.model or embedded_backbone())
    rows = tutoring_rows(arguments.seed, arguments.train_pairs, arguments.eval_pairs)
    say(f"features of {len(rows.train)} + {len(rows.eval)} tutoring pairs from {model}")
    demo = demo_pairs(rows, model, arguments.pooling)
    experiment = run_experiment(demo.pairs, demo.held_out, settings, say)
    curve = None
    if arguments.learning_curve:
        curve = learning_curve(demo.pairs, demo.held_out, experiment, say)
    return finish(arguments, experiment, out, curve)
