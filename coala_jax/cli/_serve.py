"""`coala-jax serve`: an OpenAI-compatible server of guided generation and rewards."""

from __future__ import annotations

import argparse
from typing import Any

from coala_jax.cli._options import (
    add_device_options,
    add_model_dtype,
    add_model_options,
    device_options,
    model_options,
)
from coala_jax.cli._output import print_result, say
from coala_jax.cli._parser import (
    UsageError,
    add_command,
    finite_number,
    natural_number,
    positive_integer,
    positive_number,
)

EXAMPLE = """  coala-jax serve head --model models/gpt2
  coala-jax serve head --model models/gpt2 --port 0 --token-file token.txt --scale 2"""
LARGEST_PORT = 65535


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "serve",
        "serve guided completions and rewards to OpenAI clients, on this machine alone by default",
        EXAMPLE,
        run,
    )
    parser.add_argument("head", help="folder of a head")
    parser.add_argument(
        "--model", required=True, help="the backbone it was made on; checked by its hashes"
    )
    parser.add_argument(
        "--served-name",
        metavar="NAME",
        help="what clients call the model (default: the backbone's)",
    )
    parser.add_argument(
        "--scale",
        type=finite_number,
        default=1.0,
        help="guidance scale of requests without guidance_scale; 0 is plain (default: %(default)s)",
    )
    parser.add_argument(
        "--chat-as-text",
        action="store_true",
        help="let the tokenizer's chat template write conversations even where the head was "
        "trained on other text; without it they are refused",
    )
    _add_access(parser)
    _add_limits(parser)
    add_model_options(parser)
    add_model_dtype(parser, None)
    add_device_options(parser)


def _add_access(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("access")
    group.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    group.add_argument(
        "--port",
        type=natural_number,
        default=8000,
        help="0 takes a free one, which is printed (default: %(default)s)",
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
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name that the Host header may have beside localhost and --host; may be repeated",
    )
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="web pages that browsers may ask from, such as https://app.example.org; may be "
        "repeated (default: none)",
    )


# Fields of `coala_jax.serving._limits.Limits`, whose defaults they have.
_LIMITS: tuple[tuple[str, str, Any, str], ...] = (
    ("--batch-size", "rows", positive_integer, "responses that are generated together"),
    ("--max-context", "context", positive_integer, "tokens of a prompt and its response"),
    ("--max-tokens", "new_tokens", positive_integer, "tokens of a response"),
    ("--max-choices", "choices", positive_integer, "responses to one request"),
    ("--max-top-k", "top_k", positive_integer, "tokens of a pool"),
    ("--max-score-rows", "score_rows", positive_integer, "responses of a request for rewards"),
    ("--max-waiting", "waiting", positive_integer, "responses that wait for their turn"),
    ("--max-requests", "requests", positive_integer, "requests that are answered together"),
    ("--max-lanes", "lanes", positive_integer, "sets of rows held in memory together"),
    ("--max-body-bytes", "body_bytes", positive_integer, "bytes of a body"),
    (
        "--request-seconds",
        "request_seconds",
        positive_number,
        "seconds until a request is answered",
    ),
    (
        "--shutdown-seconds",
        "shutdown_seconds",
        positive_number,
        "seconds for answers to end in after a signal",
    ),
)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    from coala_jax.serving._limits import Limits

    defaults = Limits()
    group = parser.add_argument_group("limits")
    for option, name, type_, text in _LIMITS:
        group.add_argument(
            option,
            dest=name,
            type=type_,
            default=getattr(defaults, name),
            metavar="N",
            help=f"the most {text} (default: %(default)s)",
        )


def run(arguments: argparse.Namespace) -> int:
    """Run the command until it is stopped; gives the exit code."""
    from coala_jax.decoding import TextRewardModel
    from coala_jax.serving._access import (
        Access,
        allowed_hosts,
        allowed_origins,
        read_token,
        require_guarded,
    )
    from coala_jax.serving._limits import Limits
    from coala_jax.serving._run import Server, address_of, open_socket

    if arguments.port > LARGEST_PORT:
        raise UsageError(f"--port {arguments.port} must be at most {LARGEST_PORT}")
    if arguments.scale < 0:
        raise UsageError(f"--scale {arguments.scale} must be at least 0")
    limits = Limits(**{name: getattr(arguments, name) for _, name, _, _ in _LIMITS})
    token = read_token(arguments.token_file)
    require_guarded(arguments.host, token, unguarded=arguments.without_token)
    access = Access(
        hosts=allowed_hosts(arguments.host, tuple(arguments.allow_host)),
        origins=allowed_origins(tuple(arguments.allow_origin)),
        token=token,
    )
    with open_socket(arguments.host, arguments.port) as listener:
        model = TextRewardModel.load(
            arguments.head, arguments.model, **model_options(arguments), **device_options(arguments)
        )
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
        result = {"url": url, "model": name, "command": arguments.command_line}

        def ready() -> None:
            print_result(result, [f"serving {name} at {url}"], as_json=arguments.json)

        say("compiling")
        server.run(listener, ready=ready)
    return 0
