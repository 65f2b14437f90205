"""`coala-jax evaluate mt-bench score`: scores and win rates of judgments, ours or others'."""

from __future__ import annotations

import argparse

from coala_jax.cli._options import add_download
from coala_jax.cli._output import output_file, report, warning_line
from coala_jax.cli._parser import UsageError
from coala_jax.evaluation._benchmark_rows import ROWS_HELP

EXAMPLE = """  coala-jax evaluate mt-bench score gpt-4_single.jsonl --data question.jsonl
  coala-jax evaluate mt-bench score gpt-4_pair.jsonl --against gpt-3.5-turbo \\
      --answers model_answer/ours.jsonl model_answer/gpt-3.5-turbo.jsonl"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "judgments",
        help=f"FastChat's JUDGE_single.jsonl or JUDGE_pair.jsonl, or that of `judge`; {ROWS_HELP}",
    )
    parser.add_argument(
        "--data",
        metavar="QUESTIONS",
        help="FastChat's question.jsonl: gives scores by category, and makes sure that all answers "
        "are judged and no others",
    )
    parser.add_argument(
        "--answers",
        nargs="+",
        default=[],
        metavar="FILE",
        help="answers of the models, one file each: their lengths stand beside the scores, and "
        "those that the judge was not shown are named",
    )
    parser.add_argument(
        "--against",
        metavar="NAME",
        help="of comparisons, count those with this model alone, as FastChat does with "
        "gpt-3.5-turbo (default: all of them)",
    )
    parser.add_argument("--out", metavar="FILE", help=".json to write as well")
    add_download(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.data import SourceOptions
    from coala_jax.evaluation.mt_bench import (
        model_scores,
        pair_scores,
        read_answers,
        read_judgments,
        read_questions,
    )
    from coala_jax.evaluation.mt_bench._answers import mean_lengths
    from coala_jax.evaluation.mt_bench._judgments import answer_notes
    from coala_jax.evaluation.mt_bench._report import (
        pair_lines,
        pair_result,
        pair_warnings,
        single_lines,
        single_result,
        single_warnings,
    )

    out = output_file(arguments.out)
    options = SourceOptions(download=arguments.download)
    questions = None if arguments.data is None else read_questions(arguments.data, options)
    categories = None if questions is None else {each.key: each.category for each in questions}
    judgments = read_judgments(arguments.judgments, questions, options)
    answers = [read_answers(each, questions, options) for each in arguments.answers]
    lengths = {each.system: mean_lengths(each) for each in answers}
    if judgments.pairs:
        compared = pair_scores(judgments.pairs, categories, arguments.against)
        warnings = pair_warnings(compared)
        result = pair_result(judgments.judge, compared, lengths)
        lines = pair_lines(judgments.judge, compared, lengths)
    else:
        if arguments.against is not None:
            raise UsageError("--against is for comparisons, and these are grades; leave it out")
        scores = model_scores(judgments.single, categories)
        warnings = single_warnings(scores)
        result = single_result(judgments.judge, scores, lengths)
        lines = single_lines(judgments.judge, scores, lengths)
    warnings += judgments.own_words_notes()
    warnings += answer_notes(judgments.pairs or judgments.single, answers)
    lines = [*map(warning_line, warnings), *lines]
    return report(arguments, {**result, "warnings": warnings}, lines, file=out)
