"""`coala-jax best-of-n`: several samples a prompt, ordered by reward."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from coala_jax._files import require_writable
from coala_jax._json import valid_json
from coala_jax.cli._generation_options import (
    add_generation_options,
    add_prompt_options,
    generation_config,
    given_prompts,
)
from coala_jax.cli._options import (
    add_device_options,
    add_model_dtype,
    add_model_options,
    add_seed,
    device_options,
    model_options,
)
from coala_jax.cli._output import print_result
from coala_jax.cli._parser import UsageError, add_command, positive_integer
from coala_jax.data._writing import require_suffix, write_json_lines

EXAMPLE = """  coala-jax best-of-n head --model models/gpt2 --n 16 --prompt "What is osmosis?"
  coala-jax best-of-n head --model models/gpt2 --n 16 --data prompts.jsonl --out best.jsonl"""
SAMPLES = 16


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "best-of-n", "sample n responses a prompt and keep the best", EXAMPLE, run
    )
    parser.add_argument("head", help="folder of a head")
    parser.add_argument(
        "--model", required=True, help="the backbone it was made on; checked by its hashes"
    )
    add_prompt_options(parser, required=True, what="responses")
    parser.add_argument(
        "--n", type=positive_integer, default=SAMPLES, help="samples (default: %(default)s)"
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="write all samples with their rewards, not the best alone",
    )
    add_generation_options(parser, guided=False)
    add_seed(parser, "of the draws")
    add_model_options(parser)
    add_model_dtype(parser, None)
    add_device_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    import jax

    from coala_jax.decoding import TextRewardModel, best_of_n
    from coala_jax.decoding._comparison import account_of

    if arguments.data is not None and not (arguments.out or arguments.json):
        raise UsageError("--data needs --out or --json, for what comes of it")
    if arguments.out:
        require_suffix(arguments.out)
        require_writable(Path(arguments.out), folder=False)
    config = generation_config(arguments)
    rows = given_prompts(arguments)
    model = TextRewardModel.load(
        arguments.head, arguments.model, **model_options(arguments), **device_options(arguments)
    )
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
        {"id": row.id, **samples[0], **({"samples": samples} if every_sample else {})}
        for row, samples in zip(rows, accounts, strict=True)
    ]
    if arguments.out:
        write_json_lines(arguments.out, map(valid_json, lines))
    every = [sample["reward"] for samples in accounts for sample in samples]
    best = [samples[0]["reward"] for samples in accounts]
    result = {
        "prompts": len(rows),
        "n": arguments.n,
        "mean_reward": {"best": sum(best) / len(best), "samples": sum(every) / len(every)},
        "out": arguments.out,
        "command": arguments.command_line,
        **({} if arguments.out else {"responses": lines}),
    }
    if arguments.out:
        shown = [
            f"{len(rows)} prompts, {arguments.n} samples each: mean reward "
            f"{result['mean_reward']['best']:+.3f} of the best, "
            f"{result['mean_reward']['samples']:+.3f} of all",
            f"written: {arguments.out}",
        ]
    else:  # --json shows those of a file
        shown = [f"{sample['reward']:+.3f}: {sample['text']}" for sample in accounts[0]]
    print_result(result, shown, as_json=arguments.json)
    return 0
