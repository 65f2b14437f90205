"""`coala-jax evaluate reward-bench`: a head, or rewards of others, on RewardBench 1 or 2."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from coala_jax._files import file_sha256, require_writable
from coala_jax.cli._derived_options import add_fields, from_options
from coala_jax.cli._options import HEAD_HELP, add_model_options, model_options
from coala_jax.cli._output import counts_line, report, say, warning_line
from coala_jax.cli._parser import UsageError, positive_integer
from coala_jax.cli._row_options import NAMES
from coala_jax.data._options import SourceOptions
from coala_jax.data._responses import CHUNK_RESPONSES
from coala_jax.evaluation._benchmark_rows import ROWS_HELP

if TYPE_CHECKING:
    from coala_jax.evaluation.reward_bench import RewardBench

EXAMPLE = """  coala-jax evaluate reward-bench head --model models/gpt2 --data rows.jsonl --out out
  coala-jax evaluate reward-bench --scores out/scores.jsonl --data rows.jsonl"""


class _Rewards(NamedTuple):
    """Rewards of all answers, lines about them, what eval-set.json and report.json say of them."""

    scores: list[tuple[float, ...]]
    lines: list[str]
    name: str
    chat_template: str
    account: dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("head", nargs="?", help=f"{HEAD_HELP}; left out with --scores")
    parser.add_argument("--model", help="the backbone it was made on; checked by its hashes")
    parser.add_argument(
        "--data",
        required=True,
        help="rows of RewardBench 1 (chosen is a text) or 2 (chosen is a list): "
        f"{ROWS_HELP} with --download, of which the published split is taken",
    )
    parser.add_argument(
        "--scores",
        metavar="FILE",
        help="rewards that are there already, in place of a head: rows with id, subset and scores, "
        "or an eval-set-scores file of rewardbench",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder to write: report.json, eval-set.json, and of a head scores.jsonl, with which "
        "a run that was killed goes on; needed with a head",
    )
    parser.add_argument(
        "--name", help="what eval-set.json calls the model (default: head and backbone, or FILE)"
    )
    parser.add_argument(
        "--chunk-responses",
        type=positive_integer,
        metavar="N",
        default=CHUNK_RESPONSES,
        help="answers that run together: what is in memory, and what a killed run loses at most "
        "(default: %(default)s)",
    )
    add_fields(parser.add_argument_group("rows"), SourceOptions, ("split", "revision"), names=NAMES)
    add_model_options(parser, dtype=None, engine=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.evaluation.reward_bench import read_reward_bench, reward_bench
    from coala_jax.evaluation.reward_bench._report import result_json, result_lines, write_result

    _require_one_source(arguments)
    out = None if arguments.out is None else Path(arguments.out)
    if out is not None:
        require_writable(out, folder=True)
        _require_inputs_kept(arguments, out)
    options = from_options(arguments, SourceOptions, download=arguments.download)
    bench = read_reward_bench(arguments.data, options)
    is_scored = arguments.scores is not None
    rewards = (_of_file if is_scored else _of_head)(arguments, bench)
    result = reward_bench(bench, rewards.scores)
    account = {"data": bench.name, "data_sha256": bench.file_sha256, **rewards.account}
    written = []
    if out is not None:
        name = arguments.name or rewards.name
        written = write_result(out, result, account, name, rewards.chat_template)
    lines = [*rewards.lines, *result_lines(result), *(f"written: {file}" for file in written)]
    return report(arguments, {**account, **result_json(result), "out": out}, lines)


def _require_one_source(arguments: argparse.Namespace) -> None:
    """Raise unless there is a head with all that it needs, or a file of rewards alone."""
    if arguments.scores is not None:
        if arguments.head is not None or arguments.model is not None:
            raise UsageError("--scores stands in place of HEAD and --model: give the one or others")
    elif arguments.head is None:
        raise UsageError("give HEAD with --model, or --scores FILE")
    elif arguments.model is None:
        raise UsageError("HEAD needs --model, the backbone that it was made on")
    elif arguments.out is None:
        raise UsageError("HEAD needs --out, the folder that keeps its rewards")


def _require_inputs_kept(arguments: argparse.Namespace, out: Path) -> None:
    """Raise where a file that is written is one that is read."""
    from coala_jax.evaluation.reward_bench._report import EVAL_SET_NAME, REPORT_NAME, SCORES_NAME

    written = [REPORT_NAME, EVAL_SET_NAME, *([] if arguments.scores is not None else [SCORES_NAME])]
    for read in filter(None, (arguments.data, arguments.scores)):
        for place in (out / name for name in written):
            if place.is_file() and Path(read).is_file() and place.samefile(read):
                raise UsageError(f"--out {out}: {place} is what is read; give another folder")


def _of_file(arguments: argparse.Namespace, bench: RewardBench) -> _Rewards:
    from coala_jax.evaluation.reward_bench import read_scores
    from coala_jax.evaluation.reward_bench._report import UNKNOWN_TEMPLATE

    path = Path(arguments.scores)
    scores = read_scores(arguments.scores, bench)
    sha256 = file_sha256(path) if path.is_file() else None
    return _Rewards(
        scores, [], path.stem, UNKNOWN_TEMPLATE, {"scores": path, "scores_sha256": sha256}
    )


def _of_head(arguments: argparse.Namespace, bench: RewardBench) -> _Rewards:
    from coala_jax.decoding import TextRewardModel
    from coala_jax.evaluation.reward_bench import model_rewards
    from coala_jax.evaluation.reward_bench._report import SCORES_NAME, template_name

    model = TextRewardModel.load(arguments.head, arguments.model, **model_options(arguments))
    made = model_rewards(
        model,
        bench,
        Path(arguments.out) / SCORES_NAME,
        chunk_responses=arguments.chunk_responses,
        report=say,
    )
    cut = {"prompt": made.prompt_cut, "response": made.response_cut}
    lines = counts_line("answers cut to the context", cut)
    if made.known_prompts:
        known = f"{made.known_prompts} of {len(bench.rows)} rows"
        lines.append(warning_line(f"the head was trained on the prompts of {known}"))
    account = {
        "head": arguments.head,
        "head_sha256": model.head_sha256,
        "identity": model.identity._asdict(),
        "cut": cut,
        "known_prompts": made.known_prompts,
        "resumed": made.resumed,
    }
    name = f"{Path(arguments.head).resolve().name} on {model.backbone.identity.name}"
    return _Rewards(made.scores, lines, name, template_name(model.identity.chat_template), account)
