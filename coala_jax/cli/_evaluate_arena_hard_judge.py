"""`coala-jax evaluate arena-hard judge`: ask a judge which of two answers is better, twice each."""

from __future__ import annotations

import argparse
from pathlib import Path

from coala_jax._files import require_writable, write_files
from coala_jax._lock import only_writer
from coala_jax.cli._judge_options import account_lines, add_judge_options, dry_run, open_judge
from coala_jax.cli._judged_inputs import unread_lines
from coala_jax.cli._options import add_download
from coala_jax.cli._output import report, say
from coala_jax.data._options import SourceOptions
from coala_jax.decoding._resumed_lines import json_line
from coala_jax.evaluation import EvaluationError
from coala_jax.evaluation._benchmark_rows import ROWS_HELP
from coala_jax.evaluation.arena_hard._prompts import PROMPTS_HELP

EXAMPLE = """  coala-jax evaluate arena-hard judge data/arena-hard-v2.0/model_answer/mine.jsonl \\
    --questions data/arena-hard-v2.0/question.jsonl --category hard_prompt \\
    --baseline data/arena-hard-v2.0/model_answer/o3-mini-2025-01-31.jsonl \\
    --prompts utils/judge_utils.py config/arena-hard-v2.0.yaml \\
    --judge gpt-4.1 --out data/arena-hard-v2.0/model_judgment"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("answers", help="model_answer/MODEL.jsonl, of v2.0 or v0.1")
    parser.add_argument(
        "--questions", required=True, metavar="FILE", help=f"question.jsonl: {ROWS_HELP}"
    )
    parser.add_argument(
        "--baseline",
        required=True,
        action="append",
        metavar="FILE",
        help="answers of the baseline; for v2.0 give one of each category",
    )
    parser.add_argument(
        "--category",
        action="append",
        metavar="NAME",
        help="judge this category alone, such as hard_prompt; may be given again (default: all)",
    )
    parser.add_argument(
        "--prompts",
        nargs="+",
        default=[],
        metavar="FILE",
        help=f"{PROMPTS_HELP} (default: words of coala-jax, which the report says)",
    )
    parser.add_argument(
        "--partial", action="store_true", help="judge the answers there are, if some are missing"
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        required=True,
        help="model_judgment: JUDGE/MODEL.jsonl is written there; its rows of other questions stay",
    )
    add_judge_options(parser)
    add_download(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.evaluation import arena_hard
    from coala_jax.evaluation.arena_hard._games import other_rows, requests_of
    from coala_jax.evaluation.arena_hard._report import judge_lines, judge_report
    from coala_jax.evaluation.arena_hard._unread_games import unread_games
    from coala_jax.evaluation.judge._readable import require_readable

    options = SourceOptions(download=arguments.download)
    questions = arena_hard.read_questions(arguments.questions, options)
    answers = arena_hard.read_answers(arguments.answers).answers
    baselines = [arena_hard.read_answers(file).answers for file in arguments.baseline]
    prompts = arena_hard.read_prompts(arguments.prompts)
    matches = arena_hard.make_matches(
        questions,
        answers,
        baselines,
        prompts,
        categories=arguments.category,
        partial=arguments.partial,
    )
    requests = requests_of(matches)
    if arguments.dry_run:
        return dry_run(arguments, requests)
    names = (_file_name(name) for name in (arguments.judge, f"{answers.system}.jsonl"))
    out = Path(arguments.out, *names)
    require_writable(out, folder=False)
    with only_writer(out, say, EvaluationError), open_judge(arguments) as judge:
        others = other_rows(out, matches, answers.system)
        replies = judge(requests)
        account = judge.account()
        rows = list(
            arena_hard.judgment_rows(matches, replies, judge=judge.model, model=answers.system)
        )
        write_files({out: b"".join(map(json_line, (*others, *rows)))})
    unread = unread_games(replies)
    kept = f"The replies are kept in {arguments.cache}, the games in {out}"
    require_readable(unread, len(replies), kept)
    result = judge_report(matches, rows, prompts, answers, baselines)
    lines = [*judge_lines(result), *unread_lines(unread), *account_lines(account), f"wrote {out}"]
    fields = {"unread": unread._asdict(), "judge": account, "out": out}
    return report(arguments, result | fields, lines)


def _file_name(name: str) -> str:
    """A name that may have the form of a path, as the benchmark shortens it."""
    return name.split("/")[-1]
