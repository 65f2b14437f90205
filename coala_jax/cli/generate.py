"""`coala-jax generate`: responses under the guidance of a head."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from coala_jax.cli.generation_options import add_generation_options, generation_config
from coala_jax.cli.options import (
    add_device_options,
    add_model_dtype,
    add_model_options,
    add_seed,
    device_options,
    model_options,
)
from coala_jax.cli.output import print_result
from coala_jax.cli.parser import UsageError, add_command, positive_integer
from coala_jax.files import write_text
from coala_jax.study.files import require_writable, valid_json

EXAMPLE = """  coala-jax generate head --model models/gpt2 --prompt "What is osmosis?" --scale 4
  coala-jax generate head --model models/gpt2 --data prompts.jsonl --out responses.jsonl
  coala-jax generate head --model models/gpt2                # a session: a prompt a line"""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "generate",
        "answer prompts plainly and under the guidance of a head: one, a file, or a session",
        EXAMPLE,
        run,
    )
    parser.add_argument("head", help="folder of a head")
    parser.add_argument(
        "--model", required=True, help="the backbone it was made on; checked by its hashes"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompt", help="one prompt")
    source.add_argument(
        "--data",
        help="rows with prompt (text or messages), any kind of file; or .txt, one a line",
    )
    parser.add_argument(
        "--chat",
        action="store_true",
        help="--prompt, or a line of a session, is what a user says; the tokenizer's chat template "
        "writes the conversation",
    )
    parser.add_argument("--out", help=".jsonl to write, one line a prompt; with --data")
    parser.add_argument(
        "--html", help="page to write: plain and guided side by side, rewards as colour"
    )
    parser.add_argument(
        "--batch-size",
        type=positive_integer,
        default=32,
        metavar="N",
        help="prompts that run together (default: %(default)s)",
    )
    add_generation_options(parser)
    add_seed(parser, "of the draws")
    add_model_options(parser)
    add_model_dtype(parser, None)
    add_device_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.decoding.text_head import open_text_head

    one, file = arguments.prompt is not None, arguments.data is not None
    if file and not (arguments.out or arguments.html or arguments.json):
        raise UsageError("--data needs --out, --html or --json, for what comes of it")
    if arguments.out and not file:
        raise UsageError("--out takes the responses to --data; give --data")
    if arguments.html and not (one or file):
        raise UsageError("--html shows the responses to --prompt or --data; give one of them")
    if arguments.json and not (one or file):
        raise UsageError("--json prints the responses to --prompt or --data; give one of them")
    for path in filter(None, (arguments.out, arguments.html)):
        require_writable(Path(path), folder=False)
    config = generation_config(arguments)
    prompts = _prompts(arguments)
    backbone, head = open_text_head(
        arguments.head, arguments.model, **model_options(arguments), **device_options(arguments)
    )
    if not prompts:
        from coala_jax.cli.session import run_session

        return run_session(backbone, head, config, arguments.seed, chat=arguments.chat)
    return _answer(arguments, backbone, head, config, prompts)


def _prompts(arguments: argparse.Namespace) -> list[tuple[str, Any]]:
    """Names of rows and their prompts; none ask for a session."""
    from coala_jax.data.prompts import read_prompts

    if arguments.data is not None:
        if arguments.chat:
            raise UsageError("--chat is for --prompt; rows of --data say it by messages")
        return [(row.id, row.prompt) for row in read_prompts(arguments.data)]
    if arguments.prompt is None:
        return []
    said = [{"role": "user", "content": arguments.prompt}]
    return [("prompt", said if arguments.chat else arguments.prompt)]


def _answer(
    arguments: argparse.Namespace,
    backbone: Any,
    head: Any,
    config: Any,
    named: list[tuple[str, Any]],
) -> int:
    from coala_jax.decoding.comparison import compare_plain_and_guided

    names, prompts = zip(*named, strict=True)
    pairs = compare_plain_and_guided(
        backbone,
        head,
        prompts,
        config,
        arguments.seed,
        batch_size=arguments.batch_size,
        trace=arguments.html is not None,
    )
    responses = [{"id": name, **pair.account()} for name, pair in zip(names, pairs, strict=True)]
    written = []
    if arguments.out:
        lines = "".join(json.dumps(valid_json(row)) + "\n" for row in responses)
        write_text(Path(arguments.out), lines)
        written.append(arguments.out)
    if arguments.html:
        from coala_jax.decoding.page import comparison_page

        page = comparison_page(backbone, head, prompts, pairs, config)
        write_text(Path(arguments.html), page)
        written.append(arguments.html)
    rewards = {
        side: sum(getattr(pair, side).reward for pair in pairs) / len(pairs)
        for side in ("plain", "guided")
    }
    result = {
        "prompts": len(pairs),
        "mean_reward": rewards,
        "near_ties": sum(pair.guided.near_ties for pair in pairs),
        "written": written,
        "command": arguments.command_line,
    }
    if not arguments.out:
        result["responses"] = responses
    if arguments.prompt is None:
        shown = [
            f"{len(pairs)} prompts, mean reward {rewards['plain']:+.3f} plainly, "
            f"{rewards['guided']:+.3f} guided"
        ]
    else:
        texts = {side: getattr(pairs[0], side).text for side in rewards}
        shown = [f"{side} ({rewards[side]:+.3f}): {text}" for side, text in texts.items()]
    shown += [f"written: {path}" for path in written]
    print_result(result, shown, as_json=arguments.json)
    return 0
