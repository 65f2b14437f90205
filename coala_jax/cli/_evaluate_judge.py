"""`coala-jax evaluate judge`: two systems' answers compared by a judge, in both orders."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from coala_jax.cli._judge_options import account_lines, add_judge_options, dry_run, open_judge
from coala_jax.cli._judged_inputs import (
    ANSWERS_HELP,
    add_judged_inputs,
    files_account,
    judge_prompt,
    matched_answers,
    prompt_line,
    share_text,
    unread_lines,
)
from coala_jax.cli._output import output_file, report, warning_line

if TYPE_CHECKING:
    from coala_jax.evaluation.judge._pair_report import PairReport
    from coala_jax.evaluation.judge._pairwise import Comparison

EXAMPLE = """  coala-jax evaluate judge ours.json theirs.json --judge gpt-4.1 --dry-run
  coala-jax evaluate judge out.jsonl:guided out.jsonl:plain --questions prompts.jsonl \\
    --judge local --base-url http://127.0.0.1:8000/v1 --out verdicts.jsonl"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("first", help=f"answers whose win rate is wanted: {ANSWERS_HELP}")
    parser.add_argument("second", help="answers of the other system to the same questions")
    parser.add_argument(
        "--names", nargs=2, metavar=("FIRST", "SECOND"), help="names of the systems in the report"
    )
    add_judged_inputs(parser)
    parser.add_argument(
        "--verdict",
        choices=("text", "token"),
        default="text",
        help="read [[A]], [[B]] or [[C]] at the end of what the judge says, or the log "
        "probabilities of A and B as its first token (default: %(default)s)",
    )
    add_judge_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.data._writing import write_json_lines
    from coala_jax.evaluation.judge._pair_report import pair_report, pair_warnings
    from coala_jax.evaluation.judge._pairwise import judge_pairs, pair_requests

    out = output_file(arguments.out, lines=True)
    comparison = _comparison(arguments)
    sources = (arguments.first, arguments.second)
    matched = matched_answers(sources, arguments.names, arguments.questions)
    first, second = matched.answers
    if arguments.dry_run:
        return dry_run(arguments, pair_requests(matched.questions, first, second, comparison))
    with open_judge(arguments) as judge:
        judged = judge_pairs(judge, matched.questions, first, second, comparison)
        account = judge.account()
    found = pair_report(judged)
    files = files_account(matched)
    warnings = pair_warnings(found)
    if out is not None:
        shared = {"judge": judge.model, "systems": files, "prompt": comparison.prompt.account()}
        write_json_lines(out, ({**each.account(), **shared} for each in judged.outcomes))
    result = {
        "systems": files,
        "prompt": comparison.prompt.account(),
        "verdict": arguments.verdict,
        **found.account(),
        "unread": judged.unread._asdict(),
        "warnings": warnings,
        "judge": account,
        "out": out,
    }
    lines = [
        *_lines(found, first.system, second.system),
        *map(warning_line, warnings),
        *unread_lines(judged.unread),
        prompt_line(comparison.prompt.account()),
        *account_lines(account),
        *([f"written: {out}"] if out is not None else []),
    ]
    return report(arguments, result, lines)


def _comparison(arguments: argparse.Namespace) -> Comparison:
    from coala_jax.evaluation.judge._pairwise import TEXT, TOKEN
    from coala_jax.evaluation.judge._prompts import PAIRWISE

    kind = TOKEN if arguments.verdict == "token" else TEXT
    return kind._replace(prompt=judge_prompt(arguments, PAIRWISE, kind.prompt))


def _lines(found: PairReport, first: str, second: str) -> list[str]:
    """The figures for people; what matters most comes first."""
    return [
        f"win rate of {first} against {second}: {share_text(found.win_rate)} (mean of both "
        "orders, ties half; 95 % over questions)",
        f"with differing orders as ties (FastChat's rule): {share_text(found.discordant_as_ties)}: "
        f"{found.wins:,} won, {found.ties:,} ties, {found.losses:,} lost",
        f"questions: {found.counted:,} counted, {found.left_out:,} left out, "
        f"{found.equal_answers:,} with equal answers (ties, not asked)",
        f"mean length: {found.characters[0]:,.0f} characters against {found.characters[1]:,.0f}; "
        f"the rule 'the longer wins' gives {found.longer_wins:.1%}",
        f"the judge is for the longer answer in {share_text(found.prefers_longer)}",
        f"the judge agrees with itself when the order is turned in {share_text(found.consistent)}",
        f"the judge is for the answer shown first in {share_text(found.first_place)} (50 % is no "
        "bias)",
    ]
