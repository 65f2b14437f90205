"""`coala-jax evaluate answer`: answers to a benchmark in its own format, plainly or by a head."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from coala_jax.cli._derived_options import add_fields, option_of, option_values
from coala_jax.cli._generation_options import TAKES
from coala_jax.cli._options import HEAD_HELP, add_model_options, add_seed, model_options
from coala_jax.cli._output import output_file, report, say, warning_line
from coala_jax.cli._parser import UsageError, non_negative_number, positive_integer
from coala_jax.decoding._config import BATCH_SIZE, GenerationConfig, Guidance, Sampling
from coala_jax.evaluation._benchmark_rows import ROWS_HELP
from coala_jax.evaluation.answering._ways import BEST_OF_N, FASTCHAT, GUIDED, PLAINLY, WAYS

if TYPE_CHECKING:
    from coala_jax.backbones import Backbone
    from coala_jax.decoding import TextRewardModel

EXAMPLE = """  coala-jax evaluate answer head --model models/llama --benchmark alpaca-eval \\
      --data alpaca_eval.json --way best-of-n --name ours --out ours.json
  coala-jax evaluate answer --model models/llama --benchmark mt-bench --data question.jsonl \\
      --way plain --name llama --out model_answer/llama.jsonl"""
SAMPLES = 16
NAMES = ("alpaca-eval", "arena-hard", "mt-bench")
SAMPLING = ("max_new_tokens", "top_p", "top_k", "repetition_penalty", "stop")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("head", nargs="?", help=f"{HEAD_HELP}; without one, --way plain")
    parser.add_argument(
        "--model", required=True, help="a causal model that jax runs; a head knows its own"
    )
    parser.add_argument(
        "--benchmark", required=True, choices=NAMES, help="whose questions and answers these are"
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="QUESTIONS",
        help="its file of questions: question.jsonl, or alpaca_eval.json (also outputs of another "
        f"model); {ROWS_HELP}",
    )
    parser.add_argument("--name", required=True, help="of the model, in the file and for judges")
    parser.add_argument(
        "--out",
        required=True,
        help="to write: model_answer/NAME.jsonl, or of alpaca-eval a .json such as "
        "model_outputs.json; a run that was killed goes on when it is run again",
    )
    parser.add_argument(
        "--way",
        required=True,
        choices=WAYS,
        help="answer plainly, guided by the head, or with the best of several by its rewards",
    )
    parser.add_argument(
        "--n", type=positive_integer, help=f"answers of best-of-n (default: {SAMPLES})"
    )
    parser.add_argument(
        "--temperature",
        type=non_negative_number,
        metavar="X",
        help="of all answers (default: 0.7, but of MT-Bench FastChat's by category: stem, "
        "humanities 0.1; math, coding, reasoning, extraction 0)",
    )
    parser.add_argument(
        "--batch-size",
        type=positive_integer,
        default=BATCH_SIZE,
        metavar="N",
        help="conversations that run together, and are on the disk together (default: %(default)s)",
    )
    add_seed(parser, "of the draws")
    add_model_options(parser, dtype=None)
    add_fields(
        parser.add_argument_group("sampling"), Sampling, SAMPLING, takes=TAKES, defaults=FASTCHAT
    )
    group = parser.add_argument_group("guidance")
    add_fields(group, Sampling, ("scale",), takes=TAKES, unset=True)
    fields = tuple(Guidance.__dataclass_fields__)
    add_fields(group, Guidance, fields, takes=TAKES, unset=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.data import SourceOptions
    from coala_jax.evaluation.answering import BENCHMARKS, Sampler, answer_questions
    from coala_jax.evaluation.answering._conversing import chat_layout
    from coala_jax.evaluation.answering._report import answered_lines, answered_result

    _require_a_say(arguments)
    out = output_file(arguments.out)
    assert out is not None
    config = GenerationConfig(FASTCHAT).with_options(
        **option_values(arguments, Sampling), **option_values(arguments, Guidance)
    )
    read = BENCHMARKS[arguments.benchmark]
    file = read(arguments.data, SourceOptions(download=arguments.download))
    if out.suffix != file.suffix:
        raise UsageError(f"--out {out}: answers to {file.benchmark} are a {file.suffix} file")
    if out.exists():
        raise UsageError(f"--out {out}: is there already; remove it, or give another file")
    model = _open(arguments)
    sampler = Sampler(
        model,
        arguments.way,
        arguments.n or SAMPLES,
        config,
        arguments.temperature,
        arguments.seed,
        arguments.batch_size,
    )
    tally = answer_questions(sampler, file, arguments.name, out, report=say)
    layout = chat_layout(model)
    result = answered_result(tally, layout, headed=arguments.head is not None)
    lines = [warning_line(line) for line in result["warnings"]]
    lines += [*answered_lines(result), f"written: {out}"]
    return report(arguments, {**result, "name": arguments.name, "out": out}, lines)


def _open(arguments: argparse.Namespace) -> Backbone | TextRewardModel:
    from coala_jax.backbones import load_backbone
    from coala_jax.decoding import TextRewardModel

    options = model_options(arguments)
    if arguments.head is not None:
        return TextRewardModel.load(arguments.head, arguments.model, **options)
    dtype = options.pop("dtype") or "float32"
    return load_backbone(arguments.model, dtype=dtype, **options)


def _require_a_say(arguments: argparse.Namespace) -> None:
    """Raise where an option was given that another one leaves without a say.

    Raises:
        UsageError: names both.
    """
    if arguments.head is None and arguments.way != PLAINLY:
        raise UsageError(f"--way {arguments.way} needs a head: give HEAD, or --way plain")
    if arguments.n is not None and arguments.way != BEST_OF_N:
        raise UsageError("--n is of --way best-of-n; leave it out")
    guiding = [*option_values(arguments, Guidance)]
    if "scale" in option_values(arguments, Sampling):
        guiding.append("scale")
    if guiding and arguments.way != GUIDED:
        raise UsageError(f"{option_of(guiding[0])} is of --way guided; leave it out")
