"""`coala-jax evaluate grade`: a system's answers graded by a judge, from 1 to 10."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from coala_jax.cli._judge_options import account_lines, add_judge_options, dry_run, open_judge
from coala_jax.cli._judged_inputs import (
    ALONE,
    ANSWERS_HELP,
    add_judged_inputs,
    files_account,
    judge_prompt,
    matched_answers,
    prompt_line,
    unread_lines,
)
from coala_jax.cli._output import output_file, report, warning_line
from coala_jax.evaluation._interval_text import interval_text

if TYPE_CHECKING:
    from coala_jax.evaluation.judge._grading import Grades

EXAMPLE = """  coala-jax evaluate grade ours.json --judge gpt-4.1 --out grades.jsonl
  coala-jax evaluate grade best.jsonl --questions prompts.jsonl --judge local \\
    --base-url http://127.0.0.1:8000/v1"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("answers", help=ANSWERS_HELP)
    parser.add_argument("--name", help="of the system, in the report")
    add_judged_inputs(parser)
    add_judge_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.data._writing import write_json_lines
    from coala_jax.evaluation.judge._grading import grade_answers, grade_requests, grade_warnings
    from coala_jax.evaluation.judge._prompts import GRADE, SINGLE

    out = output_file(arguments.out, lines=True)
    names = None if arguments.name is None else (arguments.name,)
    prompt = judge_prompt(arguments, SINGLE, GRADE)
    matched = matched_answers((arguments.answers,), names, arguments.questions)
    (answers,) = matched.answers
    if arguments.dry_run:
        return dry_run(arguments, grade_requests(matched.questions, answers, prompt))
    with open_judge(arguments) as judge:
        found = grade_answers(judge, matched.questions, answers, prompt)
        account = judge.account()
    files = files_account(matched)
    if out is not None:
        shared = {"judge": judge.model, "systems": files, "prompt": prompt.account()}
        write_json_lines(out, ({**each.account(), **shared} for each in found.grades))
    result = {
        "systems": files,
        "prompt": prompt.account(),
        **found.account(),
        "warnings": grade_warnings(found),
        "unread": found.unread._asdict(),
        "judge": account,
        "out": out,
    }
    lines = [
        *_lines(found, answers.system),
        *map(warning_line, grade_warnings(found)),
        *unread_lines(found.unread),
        prompt_line(prompt.account()),
        *account_lines(account),
        *([f"written: {out}"] if out is not None else []),
    ]
    return report(arguments, result, lines)


def _lines(found: Grades, system: str) -> list[str]:
    """The figures for people."""
    mean = found.mean
    kind = "95 % over questions" if mean.low == mean.low else ALONE
    correlation = found.length_correlation
    return [
        f"mean grade of {system}: {interval_text(mean)} of 10 ({kind})",
        f"questions: {found.counted:,} graded, {len(found.grades) - found.counted:,} left out",
        f"mean length: {found.characters:,.0f} characters; rank correlation of grade and length "
        + (
            f"{correlation:+.2f}" if correlation == correlation else "unknown: one of them is alike"
        ),
    ]
