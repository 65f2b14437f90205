"""Options of commands that generate, and what they have in common."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coala_jax._json import valid_json
from coala_jax.cli._derived_options import Takes, add_fields, from_options, option_of, option_values
from coala_jax.cli._options import add_head, add_seed, add_value_head
from coala_jax.cli._parser import UsageError, finite_number, natural_number, positive_integer
from coala_jax.data._writing import write_json_lines
from coala_jax.decoding._config import (
    BATCH_SIZE,
    CHOICES,
    PAPER,
    SCORED,
    GenerationConfig,
    GenerationError,
    Guidance,
    Sampling,
    option_names,
)

if TYPE_CHECKING:
    from coala_jax.data._prompts import PromptRow
    from coala_jax.decoding import TextRewardModel

# Without guidance of single tokens: all of `Sampling` but its scale.
PLAIN = ("max_new_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "stop")
# Of guidance, what blocks know nothing of.
OF_TOKENS = ("num_candidates", "choice")
TAKES: dict[str, Takes] = {
    "temperature": finite_number,
    "scale": finite_number,
    "choice": CHOICES,
    "scored": SCORED,
    "lookahead": natural_number,
    "continuations": natural_number,
}


def add_generation_options(parser: argparse.ArgumentParser, *, guided: bool) -> None:
    """Add a head, prompts, and what `generation_config` reads.

    Args:
        parser: of the command.
        guided: whether the head guides single tokens, and there need be no prompt.
    """
    add_head(parser)
    source = parser.add_mutually_exclusive_group(required=not guided)
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
        help=f"{'prompts' if guided else 'responses'} that run together (default: %(default)s)",
    )
    add_seed(parser, "of the draws")
    add_fields(parser.add_argument_group("sampling"), Sampling, PLAIN, takes=TAKES)
    if guided:
        group = parser.add_argument_group("guidance")
        add_value_head(group)
        group.add_argument(
            "--paper",
            action="store_true",
            help="guide in the paper's own form (appendix H.3): at every fifth token the whole "
            "pool, closed, with a scale of 1; options that are given count all the same",
        )
        add_fields(group, Sampling, ("scale",), takes=TAKES, unset=True)
        fields = tuple(Guidance.__dataclass_fields__)
        add_fields(group, Guidance, fields, takes=TAKES, unset=True)


def given_prompts(arguments: argparse.Namespace) -> list[PromptRow]:
    """The prompt of ``--prompt``, those of ``--data``, or none where there is neither.

    Raises:
        UsageError: options that do not go together, or an empty prompt.
        DataError: as ``read_prompts`` does.
    """
    from coala_jax.data import Message
    from coala_jax.data._message import USER
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


def require_chat(arguments: argparse.Namespace, model: TextRewardModel) -> None:
    """Raise where what is asked here is a text and the head knows conversations.

    Raises:
        UsageError: names the option that makes one of it.
    """
    if model.settings.written and arguments.data is None and not arguments.chat:
        raise UsageError(
            "the head was trained on conversations that a chat template wrote: give --chat, with "
            "which what is asked is what a user says"
        )


def generation_config(arguments: argparse.Namespace) -> GenerationConfig:
    """What the options say of generation.

    Raises:
        GenerationError: a value out of range.
        UsageError: an option that another one leaves without a say.
    """
    try:
        if not hasattr(arguments, "paper"):
            return GenerationConfig(from_options(arguments, Sampling, scale=0.0))
        given = {**option_values(arguments, Sampling), **option_values(arguments, Guidance)}
        config = (PAPER if arguments.paper else GenerationConfig()).with_options(**given)
    except GenerationError as error:
        raise GenerationError(_with_dashes(str(error))) from None
    _require_a_say(config.guidance, given, values=arguments.value_head is not None)
    return config


def _with_dashes(message: str) -> str:
    """A message whose fields are named as the command's options are."""
    for name in option_names():
        message = re.sub(rf"\b{name}=", f"{option_of(name)} ", message)
    return message


def _require_a_say(guidance: Guidance, given: Mapping[str, Any], *, values: bool) -> None:
    """Raise where an option was given that another one leaves without a say.

    Args:
        guidance: that comes of the options.
        given: by field, what was said of it.
        values: whether a value head guides.

    Raises:
        UsageError: names both options.
    """
    if guidance.continuations and (idle := [name for name in OF_TOKENS if name in given]):
        raise UsageError(
            f"{option_of(idle[0])} is of single tokens, and --continuations keeps the block with "
            "the highest score; leave out one of the two"
        )
    if values and given.get("scored") == "closed":
        raise UsageError(
            "--scored closed: a value head reads texts as they stand; leave out --scored or "
            "--value-head"
        )


def keep_responses(out: Path | None, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write responses where there is a file for them; else give them, for the result."""
    if out is None:
        return {"responses": lines}
    write_json_lines(out, map(valid_json, lines))
    return {}
