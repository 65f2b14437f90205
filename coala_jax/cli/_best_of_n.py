"""`coala-jax best-of-n`: several samples a prompt, ordered by reward."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from coala_jax.cli._generation_options import (
    add_generation_options,
    generation_config,
    given_prompts,
    keep_responses,
    require_chat,
)
from coala_jax.cli._options import open_head
from coala_jax.cli._output import output_file, report
from coala_jax.cli._parser import UsageError, positive_integer

if TYPE_CHECKING:
    from coala_jax.data._prompts import PromptRow

EXAMPLE = """  coala-jax best-of-n head --model models/gpt2 --n 16 --prompt "What is osmosis?"
  coala-jax best-of-n head --model models/gpt2 --n 16 --data prompts.jsonl --out best.jsonl"""
SAMPLES = 16


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--n", type=positive_integer, default=SAMPLES, help="samples (default: %(default)s)"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="write all samples with their rewards, not the best alone, and prompt, completions "
        "and scores, of which `extract --pairs all` makes pairs",
    )
    add_generation_options(parser, guided=False)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    import jax

    from coala_jax.decoding import best_of_n
    from coala_jax.decoding._comparison import account_of

    if arguments.data is not None and not (arguments.out or arguments.json):
        raise UsageError("--data needs --out or --json, for what comes of it")
    out = output_file(arguments.out, lines=True)
    config = generation_config(arguments)
    rows = given_prompts(arguments)
    model = open_head(arguments)
    require_chat(arguments, model)
    ordered = best_of_n(
        model,
        [row.prompt for row in rows],
        arguments.n,
        config,
        jax.random.key(arguments.seed),
        batch_size=arguments.batch_size,
    )
    every_sample = arguments.all or arguments.prompt is not None
    accounts = [[account_of(sample) for sample in samples] for samples in ordered]
    lines = [
        {"id": row.id, **samples[0], **(_all_of(row, samples) if every_sample else {})}
        for row, samples in zip(rows, accounts, strict=True)
    ]
    rewards = {
        "best": fmean(samples[0]["reward"] for samples in accounts),
        "samples": fmean(sample["reward"] for samples in accounts for sample in samples),
    }
    result = {
        "prompts": len(rows),
        "n": arguments.n,
        "mean_reward": rewards,
        "out": out,
        **keep_responses(out, lines),
    }
    if out is None:  # --json shows those of a file
        shown = [f"{sample['reward']:+.3f}: {sample['text']}" for sample in accounts[0]]
    else:
        shown = [
            f"{len(rows)} prompts, {arguments.n} samples each: mean reward "
            f"{rewards['best']:+.3f} of the best, {rewards['samples']:+.3f} of all",
            f"written: {out}",
        ]
    return report(arguments, result, shown)


def _all_of(row: PromptRow, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All samples of a prompt, also as a row of scored completions."""
    from coala_jax.data._message import ASSISTANT, Message

    texts = [sample["text"] for sample in samples]
    prompt: Any = row.prompt
    completions: list[Any] = texts
    if not isinstance(prompt, str):
        prompt = [message.as_dict() for message in prompt]
        completions = [[Message(ASSISTANT, text).as_dict()] for text in texts]
    return {
        "samples": samples,
        "prompt": prompt,
        "completions": completions,
        "scores": [sample["reward"] for sample in samples],
    }
