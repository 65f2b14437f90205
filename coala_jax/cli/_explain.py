"""`coala-jax explain`: shares of neurons in a reward, and the responses that move them most."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from coala_jax.cli._output import excerpt, output_file, report
from coala_jax.cli._parser import positive_integer
from coala_jax.cli._row_options import (
    add_head_and_rows,
    open_head_and_rows,
    rows_lines,
    warnings_at_end,
)

if TYPE_CHECKING:
    from coala_jax.data import ResponseRow
    from coala_jax.decoding._explanation import Explained, Explanation, Moved, NeuronAccount

EXAMPLE = "  coala-jax explain head --model models/gpt2 --data responses.jsonl --id line-3"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
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
    from coala_jax.decoding import explain

    out = output_file(arguments.out)
    model, usable = open_head_and_rows(arguments, out)
    with usable as rows:
        found = explain(
            model,
            rows.responses(),
            arguments.id,
            neurons=arguments.neurons,
            examples=arguments.examples,
        )
    counts, kept, notes = usable.set_aside
    result = {
        "out": out,
        "explanations": [explanation_fields(*each) for each in found.explanations],
        "neurons": [account_fields(account) for account in found.neurons],
        "linear_path": found.linear_path,
        "responses": found.responses,
        "rows": {"set_aside": counts, "rejected": kept, "notes": notes},
    }
    lines = [
        *warnings_at_end(arguments, notes),
        *(line for each in found.explanations for line in _explanation(*each, found.linear_path)),
        *(line for each in found.neurons for line in _account(each, found)),
        *rows_lines(counts, kept, out),
    ]
    return report(arguments, result, lines, file=out)


def explanation_fields(row: ResponseRow, explanation: Explanation) -> dict[str, Any]:
    """An explanation as JSON can say it; `math.fsum` of its shares is its reward there too."""
    pairs = zip(explanation.neurons.tolist(), explanation.shares.tolist(), strict=True)
    shares = [{"neuron": neuron, "share": share} for neuron, share in pairs]
    return {"id": row.id, "side": row.side, "reward": explanation.reward, "shares": shares}


def account_fields(account: NeuronAccount) -> dict[str, Any]:
    """An account as JSON can say it."""

    def moved(side: tuple[Moved, ...]) -> list[dict[str, Any]]:
        return [
            {"id": row.id, "side": row.side, "share": share, "response": row.response}
            for row, share in side
        ]

    sides = {"raises": moved(account.raises), "lowers": moved(account.lowers)}
    return {**account._asdict(), **sides}


def _name(neuron: int, linear_path: int | None) -> str:
    return "linear path" if neuron == linear_path else f"neuron {neuron:4}"


def _explanation(row: ResponseRow, explanation: Explanation, linear_path: int | None) -> list[str]:
    """A reward and its shares, for people."""
    return [
        f"{row.id} ({row.side}): reward {explanation.reward:+.4f}  {excerpt(row.response)}",
        *(
            f"  {_name(neuron, linear_path)}  {share:+10.4f}"
            for neuron, share in zip(
                explanation.neurons.tolist(), explanation.shares.tolist(), strict=True
            )
        ),
        "",
    ]


def _account(account: NeuronAccount, found: Explained) -> list[str]:
    """A neuron and the responses that move it most, for people."""
    on = f"on in {account.active} of {found.responses} responses, "
    is_path = account.neuron == found.linear_path
    name = "linear path: " if is_path else f"neuron {account.neuron}: {on}"
    return [
        f"{name}mean size of its share {account.mean_size:.4f}",
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
