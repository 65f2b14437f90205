"""`coala-jax evaluate mt-bench judge`: a judge grades answers, or compares them with others."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from coala_jax.cli._judge_options import account_lines, add_judge_options, dry_run, open_judge
from coala_jax.cli._judged_inputs import unread_lines
from coala_jax.cli._options import add_download
from coala_jax.cli._output import output_file, report
from coala_jax.evaluation._benchmark_rows import ROWS_HELP

if TYPE_CHECKING:
    from coala_jax.evaluation.judge import JudgePrompt
    from coala_jax.evaluation.mt_bench import Match

EXAMPLE = """  coala-jax evaluate mt-bench judge ours.jsonl --data question.jsonl \\
      --reference reference_answer/gpt-4.jsonl --judge-prompts judge_prompts.jsonl \\
      --judge gpt-4 --out gpt-4_single.jsonl
  coala-jax evaluate mt-bench judge ours.jsonl --baseline gpt-3.5-turbo.jsonl \\
      --data question.jsonl --reference gpt-4.jsonl --judge gpt-4 --out gpt-4_pair.jsonl"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "answers", nargs="+", help="answers of models, one file each: model_answer/MODEL.jsonl"
    )
    parser.add_argument(
        "--data", required=True, metavar="QUESTIONS", help=f"FastChat's question.jsonl; {ROWS_HELP}"
    )
    parser.add_argument(
        "--reference",
        metavar="FILE",
        help="reference answers to questions of math, reasoning and coding, such as FastChat's "
        "reference_answer/gpt-4.jsonl; needed where there are such questions",
    )
    parser.add_argument(
        "--judge-prompts",
        metavar="FILE",
        help="FastChat's data/judge_prompts.jsonl (default: prompts in our own words, "
        "whose grades are not comparable with published ones)",
    )
    parser.add_argument(
        "--baseline",
        metavar="FILE",
        help="answers of one model to compare with, in both orders (default: grade each answer)",
    )
    parser.add_argument(
        "--out",
        required=True,
        help=".jsonl of judgments to write, as FastChat's JUDGE_single.jsonl or JUDGE_pair.jsonl",
    )
    add_download(parser)
    add_judge_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.data._writing import write_json_lines
    from coala_jax.evaluation.judge._readable import require_readable
    from coala_jax.evaluation.mt_bench import judgment_lines
    from coala_jax.evaluation.mt_bench._judging import requests_of, unread_replies
    from coala_jax.evaluation.mt_bench._report import judged_lines, judged_result

    out = output_file(arguments.out, lines=True)
    assert out is not None
    matches, prompts = _matches(arguments)
    requests = requests_of(matches)
    if arguments.dry_run:
        return dry_run(arguments, requests)
    with open_judge(arguments) as judge:
        replies = judge(requests)
        account = judge.account()
    lines = judgment_lines(matches, replies, judge.model)
    write_json_lines(out, lines)
    unread = unread_replies(matches, replies)
    kept = f"The replies are kept in {arguments.cache}, the judgments in {out}"
    require_readable(unread, len(replies), kept)
    result = judged_result(lines, prompts) | {"unread": unread._asdict()}
    shown = [
        *judged_lines(result),
        *unread_lines(unread),
        *account_lines(account),
        f"written: {out}",
    ]
    return report(arguments, {**result, "account": account, "out": out}, shown)


def _matches(
    arguments: argparse.Namespace,
) -> tuple[list[Match], Mapping[str, JudgePrompt]]:
    """What is to be judged, and the prompts that ask it."""
    from coala_jax.data import SourceOptions
    from coala_jax.evaluation.mt_bench import (
        own_judge_prompts,
        pair_matches,
        read_answers,
        read_judge_prompts,
        read_questions,
        read_references,
        single_matches,
    )
    from coala_jax.evaluation.mt_bench._judge_prompts import PAIRWISE, SINGLE

    options = SourceOptions(download=arguments.download)
    kind = SINGLE if arguments.baseline is None else PAIRWISE
    questions = read_questions(arguments.data, options)
    references = read_references(arguments.reference, questions, options)
    answers = [read_answers(each, questions, options) for each in arguments.answers]
    if arguments.judge_prompts is None:
        prompts = own_judge_prompts(kind)
    else:
        prompts = read_judge_prompts(arguments.judge_prompts, kind)
    if arguments.baseline is None:
        return single_matches(questions, answers, references, prompts), prompts
    baseline = read_answers(arguments.baseline, questions, options)
    return pair_matches(questions, answers, baseline, references, prompts), prompts
