"""`coala-jax evaluate alpaca-eval judge`: a judge's preferences against the baseline's answers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from coala_jax.cli._judge_options import account_lines, add_judge_options, dry_run, open_judge
from coala_jax.cli._judged_inputs import share_text, unread_lines
from coala_jax.cli._options import add_download
from coala_jax.cli._output import counts_line, output_file, report, warning_line
from coala_jax.cli._parser import UsageError
from coala_jax.evaluation._benchmark_rows import ROWS_HELP
from coala_jax.evaluation._interval_text import interval_text
from coala_jax.evaluation._order_effect import order_warnings

if TYPE_CHECKING:
    from coala_jax.evaluation.alpaca_eval import Template
    from coala_jax.evaluation.alpaca_eval._judging import Verdicts

EXAMPLE = """  coala-jax evaluate alpaca-eval judge model_outputs.json \\
      --baseline alpaca_eval_gpt4_baseline.json --template alpaca_eval_clf.txt \\
      --judge gpt-4-1106-preview --out annotations.json"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "outputs",
        help=f"answers to judge, rows of instruction, output and generator: {ROWS_HELP}",
    )
    parser.add_argument(
        "--baseline",
        required=True,
        metavar="FILE",
        help="answers to judge them against, in the same format; its instructions are the set",
    )
    parser.add_argument(
        "--template",
        metavar="FILE",
        help="what the judge is asked, in the format of alpaca_eval_clf.txt of "
        "tatsu-lab/alpaca_eval; without it wording of our own is used",
    )
    parser.add_argument(
        "--both-orders",
        action="store_true",
        help="ask twice a pair, each answer first, and take the mean; without it once, in an order "
        "drawn by the instruction, as the leaderboard does",
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="judge what is answered where some instructions are not",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="annotations.json to write")
    add_download(parser)
    add_judge_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.data import SourceOptions
    from coala_jax.evaluation import alpaca_eval
    from coala_jax.evaluation.judge._readable import require_readable

    out = output_file(arguments.out)
    assert out is not None
    if out.suffix != ".json":
        raise UsageError(f"--out {out}: annotations are a .json file")
    template = alpaca_eval.OWN_WORDING
    if arguments.template is not None:
        template = alpaca_eval.read_template(Path(arguments.template))
    options = SourceOptions(download=arguments.download)
    baseline = alpaca_eval.read_outputs(arguments.baseline, options)
    model = alpaca_eval.read_outputs(arguments.outputs, options)
    questions = alpaca_eval.read_questions(arguments.baseline, options)
    pairs = alpaca_eval.pair_outputs(questions, baseline, model, partial=arguments.partial)
    calls = alpaca_eval.judge_calls(pairs, template, both_orders=arguments.both_orders)
    requests = [call.request for call in calls]
    if arguments.dry_run:
        return dry_run(arguments, requests)
    with open_judge(arguments) as judge:
        replies = judge(requests)
        name, account = judge.model, judge.account()
    rows, verdicts = alpaca_eval.judged(pairs, calls, replies, template)
    annotations = alpaca_eval.Annotations(baseline.system, model.system, name, rows, str(out))
    alpaca_eval.write_annotations(out, annotations)
    kept = f"The replies are kept in {arguments.cache}, the preferences that were read in {out}"
    require_readable(verdicts.unread, verdicts.calls, kept)
    result = {
        "out": out,
        "model": model.system,
        "baseline": baseline.system,
        "annotator": name,
        "pairs": len(pairs),
        "template": template.wording._asdict(),
        "orders": "both" if arguments.both_orders else "one, drawn by the instruction",
        "verdicts": verdicts.account(),
        "warnings": order_warnings(verdicts.consistent.mean),
        "outputs": {"file": model.name, "sha256": model.sha256},
        "baseline_outputs": {"file": baseline.name, "sha256": baseline.sha256},
        "judge": account,
    }
    lines = [*_lines(verdicts, template, len(pairs)), *account_lines(account), f"written: {out}"]
    return report(arguments, result, lines)


def _lines(verdicts: Verdicts, template: Template, pairs: int) -> list[str]:
    counts = {
        "by logprobs": verdicts.by_logprobs,
        "by text": verdicts.by_text,
        "not read": sum(verdicts.unread.counts.values()),
        "same outputs": verdicts.same_outputs,
    }
    lines = [
        f"{pairs} pairs, {verdicts.calls} calls, prompt: {template.wording.name} (sha256 "
        f"{template.wording.sha256[:16]}...)",
        *counts_line("verdicts", counts),
        *unread_lines(verdicts.unread),
    ]
    first = interval_text(verdicts.first_preferred, 3)
    lines.append(f"preference for the answer shown first: {first} (0.5 is no bias)")
    if verdicts.both_orders:
        lines.append(
            f"same verdict in both orders: {share_text(verdicts.consistent)} of "
            f"{verdicts.both_orders} pairs"
        )
    return [*lines, *map(warning_line, order_warnings(verdicts.consistent.mean))]
