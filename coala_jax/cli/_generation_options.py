"""Options of commands that generate."""

from __future__ import annotations

import argparse
from typing import Any

from coala_jax.cli._parser import (
    UsageError,
    finite_number,
    natural_number,
    positive_integer,
    positive_number,
)
from coala_jax.decoding._config import (
    BATCH_SIZE,
    CHOICES,
    REWEIGHTINGS,
    SCORED,
    GenerationConfig,
    option_names,
)


def add_prompt_options(parser: argparse.ArgumentParser, *, required: bool, what: str) -> None:
    """Add what `given_prompts` reads, and ``--batch-size``.

    Args:
        parser: of the command.
        required: whether there must be a prompt or a file.
        what: runs together, in the help of ``--batch-size``.
    """
    source = parser.add_mutually_exclusive_group(required=required)
    source.add_argument("--prompt", help="one prompt")
    source.add_argument(
        "--data",
        help="rows with prompt (text or messages), any kind of file; or .txt, one a line",
    )
    parser.add_argument(
        "--chat",
        action="store_true",
        help="what is asked is what a user says; the tokenizer's chat template writes the "
        "conversation. Rows of --data say it by messages",
    )
    parser.add_argument("--out", help=".jsonl to write, one line a prompt; with --data")
    parser.add_argument(
        "--batch-size",
        type=positive_integer,
        default=BATCH_SIZE,
        metavar="N",
        help=f"{what} that run together (default: %(default)s)",
    )


def given_prompts(arguments: argparse.Namespace) -> list[Any]:
    """The `PromptRow` of ``--prompt``, those of ``--data``, or none where there is neither.

    Raises:
        UsageError: options that do not go together, or an empty prompt.
        DataError: as ``read_prompts`` does.
    """
    from coala_jax.data import Message
    from coala_jax.data._conversations import USER
    from coala_jax.data._prompts import PromptRow, read_prompts

    if arguments.out and arguments.data is None:
        raise UsageError("--out takes the responses to --data; give --data")
    if arguments.data is not None:
        if arguments.chat:
            raise UsageError("--chat is for what is asked here; rows of --data say it by messages")
        return list(read_prompts(arguments.data))
    if arguments.prompt is None:
        return []
    if not arguments.prompt.strip():
        raise UsageError("--prompt is empty; give something to answer")
    said = [Message(USER, arguments.prompt)] if arguments.chat else arguments.prompt
    return [PromptRow("prompt", said)]


def add_generation_options(parser: argparse.ArgumentParser, *, guided: bool = True) -> None:
    """Add what `generation_config` reads; every default is shown in the help.

    Args:
        parser: of the command.
        guided: whether the head guides single tokens; without it, the options of sampling alone.
    """
    defaults = GenerationConfig()
    values = {**vars(defaults.sampling), **vars(defaults.guidance)}
    group = parser.add_argument_group("sampling")

    def add(group: Any, name: str, type_: Any, text: str) -> None:
        option = f"--{name.replace('_', '-')}"
        default = values[name]
        shown = "all of the pool" if default is None else default
        group.add_argument(option, type=type_, default=default, help=f"{text} (default: {shown})")

    add(group, "max_new_tokens", positive_integer, "the most tokens of a response")
    add(group, "temperature", finite_number, "0 takes the most probable token")
    add(group, "top_p", positive_number, "nucleus: the fewest tokens of this probability")
    add(group, "top_k", positive_integer, "the most tokens of a pool")
    add(group, "repetition_penalty", positive_number, "above 1 makes repeated tokens rarer")
    group.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="ends a response; may repeat"
    )
    if not guided:
        return
    group = parser.add_argument_group("guidance")
    add(group, "scale", finite_number, "guidance scale, lambda; 0 is plain sampling")
    add(group, "guide_every", positive_integer, "the head guides every N-th token")
    add(group, "num_candidates", positive_integer, "candidates that are scored and chosen from")
    for name, known, text in (
        ("reweighting", REWEIGHTINGS, "how scores move probabilities"),
        ("choice", CHOICES, "sample by the moved probabilities, or take the best score"),
        ("scored", SCORED, "the prefix closed by the end token, as it stands, or the token alone"),
    ):
        default = values[name]
        group.add_argument(
            f"--{name}", choices=known, default=default, help=f"{text} (default: {default})"
        )
    add(group, "lookahead", natural_number, "tokens by which a candidate is continued first")
    add(
        group,
        "continuations",
        natural_number,
        "blockwise best-of-k: sample k continuations of N tokens and keep the best; 0 guides "
        "single tokens",
    )


def generation_config(arguments: argparse.Namespace) -> Any:
    """The `GenerationConfig` that the options say.

    Raises:
        GenerationError: a value out of range.
    """
    given = {name: getattr(arguments, name) for name in option_names() if hasattr(arguments, name)}
    given.setdefault("scale", 0.0)  # a command without guidance
    return GenerationConfig.from_options(**{**given, "stop": tuple(arguments.stop)})
