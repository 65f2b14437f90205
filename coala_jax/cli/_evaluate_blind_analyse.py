"""`coala-jax evaluate blind analyse`: what a study found, by the plan that was made with it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from coala_jax._files import require_writable, write_text
from coala_jax.cli._output import report, say, warning_line

if TYPE_CHECKING:
    from coala_jax.evaluation.blind._analyse import Analysis, Commitment

EXAMPLE = """  coala-jax evaluate blind analyse answers --plan study/plan.json \\
      --key study/key.json --out report"""
REPORT_JSON, REPORT_MARKDOWN, REPORT_PAGE = "report.json", "report.md", "report.html"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "answers", nargs="+", metavar="ANSWERS", help="files of answers, or folders of them"
    )
    parser.add_argument("--plan", required=True, metavar="FILE", help="plan.json of `blind make`")
    parser.add_argument(
        "--key",
        required=True,
        metavar="FILE",
        help="key.json of `blind make`; opened once plan, answers and code are fixed by their "
        "hashes, which are printed",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help=f"for {REPORT_MARKDOWN}, {REPORT_JSON} and {REPORT_PAGE}"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.evaluation.blind._analyse import analyse
    from coala_jax.evaluation.blind._report import report_fields, report_lines

    out = None if arguments.out is None else Path(arguments.out)
    if out is not None:
        from coala_jax.evaluation.blind._report_page import report_page

        require_writable(out, folder=True)
    analysis = analyse(
        [Path(name) for name in arguments.answers],
        Path(arguments.plan),
        Path(arguments.key),
        committed=_say_commitment,
    )
    if out is not None:
        write_text(out / REPORT_PAGE, report_page(analysis))
        write_text(out / REPORT_MARKDOWN, "".join(f"{line}\n" for line in report_lines(analysis)))
    file = None if out is None else out / REPORT_JSON
    return report(arguments, report_fields(analysis), _lines(analysis), file=file)


def _say_commitment(commitment: Commitment) -> None:
    say(
        f"fixed before the key is opened: plan {commitment.plan_sha256}, code "
        f"{commitment.code_sha256}, answers {commitment.answers_sha256}"
    )


def _lines(analysis: Analysis) -> list[str]:
    from coala_jax.evaluation.blind._report import comparison_line, percent

    found = analysis.findings
    lines = [
        warning_line(f"{one.name}: {one.reason}: {one.detail}; it does not count")
        for one in analysis.set_aside
    ]
    if analysis.changed_plan is not None:
        lines.append(
            warning_line("the plan was changed after the study was made: this is exploratory")
        )
    lines += [f"{analysis.people} people count, {len(analysis.set_aside)} files do not"]
    lines += map(comparison_line, found.comparisons)
    if found.davidson is not None:
        ranked = sorted(found.davidson.strengths.items(), key=lambda one: -one[1].mean)
        lines.append(
            "strengths (Davidson): "
            + ", ".join(f"{name} {strength.mean:+.2f}" for name, strength in ranked)
        )
    return [
        *lines,
        f"left chosen {percent(found.left)}, longer chosen {percent(found.longer)}",
        f"same answer to a pair shown again: {percent(found.consistent, 'person')} of "
        f"{found.repeats}",
    ]
