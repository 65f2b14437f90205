"""`coala-jax generate`: responses under the guidance of a head."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coala_jax._files import require_writable, write_text
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
from coala_jax.cli._parser import UsageError, add_command
from coala_jax.data._writing import require_suffix, write_json_lines

if TYPE_CHECKING:
    from coala_jax.data._prompts import PromptRow

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
    add_prompt_options(parser, required=False, what="prompts")
    parser.add_argument(
        "--html", help="page to write: plain and guided side by side, rewards as colour"
    )
    add_generation_options(parser)
    add_seed(parser, "of the draws")
    add_model_options(parser)
    add_model_dtype(parser, None)
    add_device_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.decoding import TextRewardModel

    one, file = arguments.prompt is not None, arguments.data is not None
    if file and not (arguments.out or arguments.html or arguments.json):
        raise UsageError("--data needs --out, --html or --json, for what comes of it")
    for option in ("html", "json"):
        if getattr(arguments, option) and not (one or file):
            raise UsageError(f"--{option} shows the responses to --prompt or --data; give one")
    if arguments.out:
        require_suffix(arguments.out)
    for option in ("out", "html"):
        if path := getattr(arguments, option):
            require_writable(Path(path), folder=False, option=f"--{option}")
    if arguments.out and arguments.out == arguments.html:
        raise UsageError(f"--out and --html are both {arguments.out}; give two files")
    config = generation_config(arguments)
    rows = given_prompts(arguments)
    model = TextRewardModel.load(
        arguments.head, arguments.model, **model_options(arguments), **device_options(arguments)
    )
    if not rows:
        from coala_jax.cli._session import run_session

        return run_session(model, config, arguments.seed, chat=arguments.chat)
    return _answer(arguments, model, config, rows)


def _answer(
    arguments: argparse.Namespace,
    model: Any,
    config: Any,
    rows: list[PromptRow],
) -> int:
    from coala_jax.decoding._comparison import compare_plain_and_guided

    prompts = [row.prompt for row in rows]
    pairs = compare_plain_and_guided(
        model,
        prompts,
        config,
        arguments.seed,
        batch_size=arguments.batch_size,
        trace=arguments.html is not None,
    )
    responses = [{"id": row.id, **pair.account()} for row, pair in zip(rows, pairs, strict=True)]
    written = []
    if arguments.out:
        write_json_lines(arguments.out, map(valid_json, responses))
        written.append(arguments.out)
    if arguments.html:
        from coala_jax.decoding._page import comparison_page

        page = comparison_page(
            model,
            prompts,
            pairs,
            config,
            names=[row.id for row in rows],
            facts={"seed": arguments.seed, "command": arguments.command_line},
        )
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
