"""`coala-jax evaluate arena-hard score`: judgments to win rates, with intervals that hold."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from coala_jax.cli._options import add_download, add_seed
from coala_jax.cli._output import output_file, report, warning_line
from coala_jax.cli._parser import UsageError
from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import ROWS_HELP
from coala_jax.evaluation.arena_hard._judgments import Scoring

if TYPE_CHECKING:
    from coala_jax.evaluation.arena_hard import TokenCounter

EXAMPLE = """  coala-jax evaluate arena-hard score data/arena-hard-v2.0/model_judgment/gpt-4.1 \\
    --answers data/arena-hard-v2.0/model_answer --style
  coala-jax evaluate arena-hard score data/arena-hard-v0.1/model_judgment/gpt-4-1106-preview \\
    --scoring v0.1"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "judgments",
        nargs="+",
        help="model_judgment/JUDGE, or files of it; of several judges all games are taken together",
    )
    parser.add_argument(
        "--answers",
        metavar="FOLDER",
        help="model_answer: lengths beside the win rates, and a check that these answers were "
        "judged",
    )
    parser.add_argument(
        "--style",
        action="store_true",
        help="hold length and markdown fixed, as the benchmark's -f markdown length; needs "
        "--answers",
    )
    parser.add_argument(
        "--questions",
        metavar="FILE",
        help=f"question.jsonl, to check what was judged: {ROWS_HELP}",
    )
    parser.add_argument(
        "--scoring",
        choices=get_args(Scoring),
        default="v2.0",
        help="v2.0 leaves out both games of a question where one has no label and prints 5 to "
        "95 %%; v0.1 leaves out that game and prints 2.5 to 97.5 %% (default: %(default)s)",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="MODEL",
        help="checkpoint folder, GGUF file or hub id whose tokenizer counts tokens (default: the "
        "counts in the files where all have them, else an estimate)",
    )
    add_seed(parser, "seed of the published intervals")
    add_download(parser)
    parser.add_argument("--out", metavar="FILE", help="JSON file for the result")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.evaluation import arena_hard
    from coala_jax.evaluation.arena_hard._answers import styles_of
    from coala_jax.evaluation.arena_hard._judgments import battles_of, edited_notes
    from coala_jax.evaluation.arena_hard._report import score_lines, score_report
    from coala_jax.evaluation.arena_hard._scores import place_notes

    if arguments.answers is None and (arguments.style or arguments.tokenizer):
        raise UsageError("--style and --tokenizer are about answers: give --answers too")
    out = output_file(arguments.out)
    questions = None
    if arguments.questions is not None:
        options = SourceOptions(download=arguments.download)
        questions = arena_hard.read_questions(arguments.questions, options)
    judgments = arena_hard.read_judgments(arguments.judgments, questions)
    if out is not None and out.resolve() in {Path(file).resolve() for file in judgments.sha256}:
        raise UsageError(f"--out {out} is what is read; give another file")
    notes, styles, counter = list(judgments.notes), None, None
    sha256: dict[str, str | None] = dict(judgments.sha256)
    if arguments.answers is not None:
        named = {name for row in judgments.rows for name in (row.model, row.baseline)}
        systems = arena_hard.read_answer_folder(arguments.answers, named)
        notes += edited_notes(judgments.rows, systems)
        sha256 |= {each.answers.name: each.answers.sha256 for each in systems.values()}
        styles, counter = styles_of(systems, _token_counter(arguments))
    by_category = {category: judgments.of(category) for category in judgments.categories()}
    scores = {
        category: arena_hard.score_models(
            rows, scoring=arguments.scoring, styles=styles, seed=arguments.seed
        )
        for category, rows in by_category.items()
    }
    notes += [note for each in scores.items() for note in place_notes(*each)]
    controls = {}
    if arguments.style and styles is not None:
        controls = {
            category: arena_hard.control_style(
                battles_of(rows, arguments.scoring), styles, seed=arguments.seed
            )
            for category, rows in by_category.items()
        }
    result = score_report(judgments, arguments.scoring, scores, controls, counter, notes, sha256)
    lines = [*map(warning_line, notes), *score_lines(result)]
    return report(arguments, result, lines, file=out)


def _token_counter(arguments: argparse.Namespace) -> TokenCounter | None:
    if arguments.tokenizer is None:
        return None
    from coala_jax.evaluation.arena_hard import TokenCounter
    from coala_jax.features._chat import checkpoint_tokenizer

    tokenizer = checkpoint_tokenizer(arguments.tokenizer, download=arguments.download)
    return TokenCounter(
        f"the tokenizer of {arguments.tokenizer}",
        lambda texts: [len(ids) for ids in tokenizer.encode_batch(texts)],
    )
