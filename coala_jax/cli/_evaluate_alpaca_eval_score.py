"""`coala-jax evaluate alpaca-eval score`: win rates of annotations, plain and length-controlled."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from coala_jax.cli._options import add_download, add_seed
from coala_jax.cli._output import output_file, report, say, warning_line
from coala_jax.cli._parser import UsageError, positive_integer
from coala_jax.evaluation._benchmark_rows import ROWS_HELP
from coala_jax.evaluation._bootstrap import DRAWS

if TYPE_CHECKING:
    from coala_jax.evaluation.alpaca_eval import LengthData

EXAMPLE = """  coala-jax evaluate alpaca-eval score annotations.json
  coala-jax evaluate alpaca-eval score annotations.json --outputs model_outputs.json \\
      --questions alpaca_eval.json --gamed df_gamed.csv --out leaderboard.csv"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "annotations", help=f"preferences of one judge for one model, whoever made it: {ROWS_HELP}"
    )
    parser.add_argument(
        "--outputs",
        metavar="FILE",
        help="the answers that were judged, to be sure that they were not edited since",
    )
    parser.add_argument(
        "--questions",
        metavar="FILE",
        help="all instructions in the order of the set: alpaca_eval.json or the baseline's outputs",
    )
    parser.add_argument(
        "--gamed",
        metavar="FILE",
        help="df_gamed.csv of the hub set tatsu-lab/alpaca_eval; without it there is no "
        "length-controlled win rate",
    )
    parser.add_argument(
        "--difficulty",
        metavar="FILE",
        help="instruction_difficulty.csv of that set, to be sure that --gamed is of the same",
    )
    parser.add_argument(
        "--partial", action="store_true", help="score a part of the set, and say how much it is"
    )
    parser.add_argument(
        "--draws",
        type=positive_integer,
        default=DRAWS,
        metavar="N",
        help="resampled sets of the interval at equal lengths (default: %(default)s)",
    )
    add_seed(parser, "seed of these draws")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="row of a leaderboard to write, as .csv or .json; none of a part of the set",
    )
    add_download(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.data import SourceOptions
    from coala_jax.evaluation import alpaca_eval
    from coala_jax.evaluation.alpaca_eval._annotations import in_order_of, require_judged
    from coala_jax.evaluation.alpaca_eval._length_data import order_notes
    from coala_jax.evaluation.alpaca_eval._report import (
        require_leaderboard_name,
        require_whole,
        score_lines,
    )

    out = output_file(arguments.out)
    if out is not None:
        require_leaderboard_name(out)
    if arguments.questions is None:
        for option in ("gamed", "difficulty", "partial"):
            if getattr(arguments, option):
                raise UsageError(
                    f"--{option} needs --questions FILE, which says what the set is and its order"
                )
    if arguments.difficulty is not None and arguments.gamed is None:
        raise UsageError("--difficulty checks --gamed: give that too")
    options = SourceOptions(download=arguments.download)
    annotations = alpaca_eval.read_annotations(arguments.annotations, options)
    questions = data = None
    if arguments.questions is not None:
        questions = alpaca_eval.read_questions(arguments.questions, options)
        annotations = in_order_of(questions, annotations, partial=arguments.partial)
        if out is not None:
            require_whole(annotations, len(questions))
        data = _length_data(arguments, len(questions))
    if arguments.outputs is not None:
        outputs = alpaca_eval.read_outputs(arguments.outputs, options)
        require_judged(annotations, outputs, partial=arguments.partial)
    score = alpaca_eval.score(
        annotations, questions, data, draws=arguments.draws, seed=arguments.seed
    )
    notes = alpaca_eval.score_warnings(score)
    if questions is not None and data is not None:
        notes += order_notes(questions)
    for note in notes:
        say(warning_line(note))
    if out is not None:
        alpaca_eval.write_leaderboard(out, score)
    written = [] if out is None else [f"written: {out}"]
    result = {**alpaca_eval.score_report(score), "out": out}
    return report(arguments, result, [*score_lines(score), *written])


def _length_data(arguments: argparse.Namespace, count: int) -> LengthData | None:
    from coala_jax.evaluation.alpaca_eval._length_data import (
        read_difficulty,
        read_length_data,
        require_same_difficulty,
    )

    if arguments.gamed is None:
        return None
    data = read_length_data(Path(arguments.gamed), count)
    if arguments.difficulty is not None:
        difficulty = read_difficulty(Path(arguments.difficulty), count)
        require_same_difficulty(arguments.difficulty, difficulty, data)
    return data
