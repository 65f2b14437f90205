"""`coala-jax evaluate alpaca-eval judge`: a judge's preferences against the baseline's answers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coala_jax.cli._judge_options import account_lines, add_judge_options, dry_run, open_judge
from coala_jax.cli._output import counts_line, excerpt, output_file, report, warning_line
from coala_jax.cli._parser import UsageError
from coala_jax.evaluation._benchmark_rows import ROWS_HELP

if TYPE_CHECKING:
    from coala_jax.evaluation.alpaca_eval import Template, Verdicts

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
    add_judge_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.evaluation import alpaca_eval

    out = output_file(arguments.out)
    assert out is not None
    if out.suffix != ".json":
        raise UsageError(f"--out {out}: annotations are a .json file")
    template = alpaca_eval.OWN_WORDING
    if arguments.template is not None:
        template = alpaca_eval.read_template(Path(arguments.template))
    baseline = alpaca_eval.read_outputs(arguments.baseline)
    model = alpaca_eval.read_outputs(arguments.outputs)
    questions = alpaca_eval.read_questions(arguments.baseline)
    pairs = alpaca_eval.pair_outputs(questions, baseline, model, partial=arguments.partial)
    calls = alpaca_eval.judge_calls(pairs, template, both_orders=arguments.both_orders)
    requests = [call.request for call in calls]
    if arguments.dry_run:
        return dry_run(arguments, requests)
    with open_judge(arguments) as judge:
        replies = judge(requests)
        name, account = judge.model, judge.account()
    rows, verdicts = alpaca_eval.judged(pairs, calls, replies)
    annotations = alpaca_eval.Annotations(baseline.system, model.system, name, rows, str(out))
    alpaca_eval.write_annotations(out, annotations)
    result = {
        "out": out,
        "model": model.system,
        "baseline": baseline.system,
        "annotator": name,
        "pairs": len(pairs),
        "template": {"source": template.source, "sha256": template.sha256},
        "orders": "both" if arguments.both_orders else "one, drawn by the instruction",
        "verdicts": verdicts._asdict(),
        "outputs": {"file": model.name, "sha256": model.sha256},
        "baseline_outputs": {"file": baseline.name, "sha256": baseline.sha256},
        "judge": account,
    }
    lines = [*_lines(verdicts, template, len(pairs)), *account_lines(account), f"written: {out}"]
    return report(arguments, result, lines)


def _lines(verdicts: Verdicts, template: Template, pairs: int) -> list[str]:
    counts: dict[str, Any] = verdicts._asdict()
    shown = ("by_logprobs", "by_text", "unparsable", "failed", "same_outputs")
    lines = [
        f"{pairs} pairs, {verdicts.calls} calls, prompt: {template.source}",
        *counts_line("verdicts", {name.replace("_", " "): counts[name] for name in shown}),
        f"preference for the answer shown first: {verdicts.first_preferred:.3f}",
    ]
    if verdicts.example is not None:
        lines.append(
            warning_line(
                f"{verdicts.unparsable} of {verdicts.calls} replies say neither m nor M, such as "
                f"{excerpt(verdicts.example)!r}: their pairs have no preference. Take a judge that "
                "keeps to the form asked for, or one that gives log probabilities"
            )
        )
    if verdicts.both_orders:
        lines.append(
            f"{verdicts.consistent} of {verdicts.both_orders} pairs have the same verdict in both "
            "orders"
        )
    return lines
