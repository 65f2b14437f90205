"""`coala-jax serve`: an OpenAI-compatible server of guided generation and rewards."""

from __future__ import annotations

import argparse

from coala_jax.cli._address_options import add_address
from coala_jax.cli._derived_options import add_fields, from_options
from coala_jax.cli._options import add_head, add_value_head, open_head
from coala_jax.cli._output import report, say
from coala_jax.cli._parser import UsageError, finite_number
from coala_jax.decoding._config import Sampling
from coala_jax.serving._limits import Limits

EXAMPLE = """  coala-jax serve head --model models/gpt2
  coala-jax serve head --model models/gpt2 --port 0 --token-file token.txt --scale 2"""
# The limits that have an option, and its name.
LIMITS = {
    "rows": "--batch-size",
    "context": "--max-context",
    "new_tokens": "--max-tokens",
    "choices": "--max-choices",
    "top_k": "--max-top-k",
    "score_rows": "--max-score-rows",
    "waiting": "--max-waiting",
    "requests": "--max-requests",
    "lanes": "--max-lanes",
    "body_bytes": "--max-body-bytes",
    "request_seconds": "--request-seconds",
    "shutdown_seconds": "--shutdown-seconds",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_head(parser)
    add_value_head(parser)
    parser.add_argument(
        "--served-name",
        metavar="NAME",
        help="what clients call the model (default: the backbone's)",
    )
    parser.add_argument(
        "--scale",
        type=finite_number,
        default=Sampling().scale,
        help="guidance scale of requests without guidance_scale; 0 is plain (default: %(default)s)",
    )
    parser.add_argument(
        "--chat-as-text",
        action="store_true",
        help="let the tokenizer's chat template write conversations even where the head was "
        "trained on other text; without it they are refused",
    )
    add_fields(parser.add_argument_group("limits"), Limits, tuple(LIMITS), names=LIMITS)
    group = parser.add_argument_group("access")
    add_address(
        group,
        8000,
        "web page, app or extension that may ask, by the Origin that it sends, such as "
        "https://app.example.org, app://obsidian.md or null; may be repeated (default: none)",
    )
    group.add_argument(
        "--token-file",
        metavar="FILE",
        help="holds the bearer token that every request must have (default: the variable "
        "COALA_JAX_TOKEN where it is set, else none)",
    )
    group.add_argument(
        "--without-token",
        action="store_true",
        help="listen beyond this machine without a token: whoever reaches it is served",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command until it is stopped; gives the exit code."""
    from coala_jax.serving._access import (
        Access,
        allowed_hosts,
        allowed_origins,
        read_token,
        require_guarded,
    )
    from coala_jax.serving._run import Server, address_of, open_socket

    if arguments.scale < 0:
        raise UsageError(f"--scale {arguments.scale} must be at least 0")
    limits = from_options(arguments, Limits)
    token = read_token(arguments.token_file)
    require_guarded(arguments.host, token, unguarded=arguments.without_token)
    access = Access(
        hosts=allowed_hosts(arguments.host, tuple(arguments.allow_host)),
        origins=allowed_origins(tuple(arguments.allow_origin)),
        token=token,
    )
    with open_socket(arguments.host, arguments.port) as listener:
        model = open_head(arguments)
        name = arguments.served_name or model.backbone.identity.name
        server = Server(
            model,
            limits=limits,
            access=access,
            served_name=name,
            scale=arguments.scale,
            log=say,
            chat_as_text=arguments.chat_as_text,
        )
        url = f"{address_of(listener)}/v1"

        def ready() -> None:
            report(arguments, {"url": url, "model": name}, [f"serving {name} at {url}"])

        say("compiling")
        server.run(listener, ready=ready)
    return 0
