"""`coala-jax explain`: shares of neurons in a reward, and the responses that move them most."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coala_jax._files import require_writable, write_text
from coala_jax._json import json_text
from coala_jax.cli._head_options import add_head_and_rows, open_head_and_rows, set_aside_beside
from coala_jax.cli._output import counts_line, excerpt, print_result
from coala_jax.cli._parser import add_command, positive_integer

if TYPE_CHECKING:
    from coala_jax.data import ResponseRow
    from coala_jax.decoding._explanation import Explanation, Moved, NeuronAccount

EXAMPLE = "  coala-jax explain head --model models/gpt2 --data responses.jsonl --id line-3"


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "explain",
        "each neuron's share in the reward of a response, and the responses that move it most",
        EXAMPLE,
        run,
    )
    add_head_and_rows(parser)
    parser.add_argument(
        "--id",
        action="append",
        default=[],
        help="row of --data to explain; may be given several times (default: the first one)",
    )
    parser.add_argument(
        "--neurons",
        type=positive_integer,
        default=5,
        metavar="N",
        help="neurons of which the responses that move them most are shown (default: %(default)s)",
    )
    parser.add_argument(
        "--examples",
        type=positive_integer,
        default=3,
        metavar="N",
        help="such responses on either side (default: %(default)s)",
    )
    parser.add_argument("--out", help=".json to write what --json prints")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.decoding._explanation import (
        account_fields,
        explain_stream,
        explanation_fields,
    )

    out = None if arguments.out is None else Path(arguments.out)
    if out is not None:
        require_writable(out, folder=False)
    rejected = set_aside_beside(arguments, out)
    found = explain_stream(
        *open_head_and_rows(arguments),
        arguments.id,
        neurons=arguments.neurons,
        examples=arguments.examples,
        rejected=rejected,
    )
    result = {
        "out": None if out is None else str(out),
        "explanations": [explanation_fields(*each) for each in found.explanations],
        "neurons": [account_fields(account) for account in found.neurons],
        "responses": found.responses,
        "rows": {
            "set_aside": found.set_aside,
            "rejected": None if found.rejected is None else str(found.rejected),
        },
        "command": arguments.command_line,
    }
    if out is not None:
        write_text(out, json_text(result))
    lines = [
        *(line for each in found.explanations for line in _explanation(*each)),
        *(line for each in found.neurons for line in _account(each, found.responses)),
        *counts_line("rows set aside", dict(found.set_aside)),
        *([] if found.rejected is None else [f"set aside: {found.rejected}"]),
        *([] if out is None else [f"written: {out}"]),
    ]
    print_result(result, lines, as_json=arguments.json)
    return 0


def _explanation(row: ResponseRow, explanation: Explanation) -> list[str]:
    """A reward and its shares, for people."""
    return [
        f"{row.id} ({row.side}): reward {explanation.reward:+.4f}  {excerpt(row.response)}",
        *(
            f"  neuron {neuron:4}  {share:+10.4f}"
            for neuron, share in zip(
                explanation.neurons.tolist(), explanation.shares.tolist(), strict=True
            )
        ),
        "",
    ]


def _account(account: NeuronAccount, responses: int) -> list[str]:
    """A neuron and the responses that move it most, for people."""
    return [
        f"neuron {account.neuron}: on in {account.active} of {responses} responses, mean size of "
        f"its share {account.mean_size:.4f}",
        *_moved("raises", account.raises),
        *_moved("lowers", account.lowers),
        "",
    ]


def _moved(title: str, moved: tuple[Moved, ...]) -> list[str]:
    return [
        f"  {title}  {each.share:+10.4f}  {each.row.id} ({each.row.side})  "
        f"{excerpt(each.row.response)}"
        for each in moved
    ]
