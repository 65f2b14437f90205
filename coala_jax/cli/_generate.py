"""`coala-jax generate`: responses under the guidance of a head."""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

from coala_jax._files import write_text
from coala_jax.cli._generation_options import (
    add_generation_options,
    generation_config,
    given_prompts,
    keep_responses,
    require_chat,
)
from coala_jax.cli._options import open_head
from coala_jax.cli._output import output_file, report
from coala_jax.cli._parser import UsageError

EXAMPLE = """  coala-jax generate head --model models/gpt2 --prompt "What is osmosis?" --scale 4
  coala-jax generate head --model models/gpt2 --data prompts.jsonl --out responses.jsonl
  coala-jax generate head --model models/gpt2                # a session: a prompt a line"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "--html", help="page to write: plain and guided side by side, rewards as colour"
    )
    add_generation_options(parser, guided=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.decoding._comparison import compare_plain_and_guided

    out, page = _outputs(arguments)
    config = generation_config(arguments)
    rows = given_prompts(arguments)
    model = open_head(arguments)
    require_chat(arguments, model)
    if not rows:
        from coala_jax.cli._session import run_session

        return run_session(model, config, arguments.seed, chat=arguments.chat)
    prompts = [row.prompt for row in rows]
    pairs = compare_plain_and_guided(
        model,
        prompts,
        config,
        arguments.seed,
        batch_size=arguments.batch_size,
        trace=page is not None,
    )
    responses = [{"id": row.id, **pair.account()} for row, pair in zip(rows, pairs, strict=True)]
    rewards = {
        side: fmean(getattr(pair, side).reward for pair in pairs) for side in ("plain", "guided")
    }
    written = [path for path in (out, page) if path is not None]
    result = {
        "prompts": len(pairs),
        "mean_reward": rewards,
        "near_ties": sum(pair.guided.near_ties for pair in pairs),
        "written": written,
        **keep_responses(out, responses),
    }
    if page is not None:
        from coala_jax.decoding._page import comparison_page

        html = comparison_page(
            model,
            prompts,
            pairs,
            config,
            names=[row.id for row in rows],
            facts={"seed": arguments.seed, "command": arguments.command_line},
        )
        write_text(page, html)
    if arguments.data is not None:
        shown = [
            f"{len(pairs)} prompts, mean reward {rewards['plain']:+.3f} plainly, "
            f"{rewards['guided']:+.3f} guided"
        ]
    else:
        texts = {side: getattr(pairs[0], side).text for side in rewards}
        shown = [f"{side} ({rewards[side]:+.3f}): {text}" for side, text in texts.items()]
    return report(arguments, result, shown + [f"written: {path}" for path in written])


def _outputs(arguments: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """The files of responses and of the page.

    Raises:
        UsageError: there would be none where one is needed, nothing to put there, or one for both.
    """
    one, many = arguments.prompt is not None, arguments.data is not None
    if many and not (arguments.out or arguments.html or arguments.json):
        raise UsageError("--data needs --out, --html or --json, for what comes of it")
    for option in ("html", "json"):
        if getattr(arguments, option) and not (one or many):
            raise UsageError(f"--{option} shows the responses to --prompt or --data; give one")
    out, page = output_file(arguments.out, lines=True), output_file(arguments.html, option="--html")
    if out is not None and out == page:
        raise UsageError(f"--out and --html are both {out}; give two files")
    return out, page
