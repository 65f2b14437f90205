"""`coala-jax rank`: the responses of each prompt in order, with the probability of each pair."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from coala_jax.cli._output import counts_line, excerpt, output_file, report
from coala_jax.cli._row_options import (
    add_head_and_rows,
    open_head_and_rows,
    rows_lines,
    set_aside_path,
)

if TYPE_CHECKING:
    from coala_jax.decoding._ranking import Ranking

EXAMPLE = "  coala-jax rank head --model models/gpt2 --data candidates.jsonl --out ranking.jsonl"
# Without --out this many prompts are shown.
SHOWN_PROMPTS = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_head_and_rows(parser)
    parser.add_argument(
        "--out", help=f".jsonl to write, one line a prompt; without it {SHOWN_PROMPTS} are shown"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; gives the exit code."""
    from coala_jax.data._writing import write_json_lines
    from coala_jax.decoding._ranking import rank_stream, ranking_line

    out = output_file(arguments.out, lines=True)
    rejected = set_aside_path(arguments, out)
    ranked = rank_stream(*open_head_and_rows(arguments), rejected)
    made = [ranking_line(ranking) for ranking in ranked.rankings]
    if out is not None:
        write_json_lines(out, made)
    ties = {
        name: sum(getattr(each, name) for each in ranked.rankings) for name in ("ties", "near_ties")
    }
    counts = {
        "prompts": len(made),
        "responses": sum(len(each.ranked) for each in ranked.rankings),
        **ties,
        "rows": {"set_aside": ranked.set_aside, "rejected": ranked.rejected},
    }
    lines = [] if out is not None else _shown(ranked.rankings)
    lines += [
        f"{counts['responses']} responses of {counts['prompts']} prompts ranked",
        *counts_line("pairs without an order", ties),
        *rows_lines(ranked.set_aside, ranked.rejected, out),
    ]
    result = {"out": out, **counts, **({"rankings": made} if out is None else {})}
    return report(arguments, result, lines)


def _shown(rankings: tuple[Ranking, ...]) -> list[str]:
    """The first rankings for people: each response with its chance against the one below it."""
    lines = []
    for ranking in rankings[:SHOWN_PROMPTS]:
        lines.append(f"{ranking.group.id}: {excerpt(ranking.group.prompt)}")
        for place, each in enumerate(ranking.ranked):
            below = ranking.ranked[place + 1 : place + 2]
            chance = "".join(
                f"{ranking.probabilities[each.position, next_.position]:.3f}" for next_ in below
            )
            lines.append(
                f"  {each.rank:3}  {each.reward:+9.4f}  {chance:>5}  {excerpt(each.row.response)}"
            )
        lines.append("")
    if len(rankings) > SHOWN_PROMPTS:
        lines.append(f"... and {len(rankings) - SHOWN_PROMPTS} prompts more; --out writes all")
    if lines:
        head = "rank, reward, probability of being preferred to the one below, response"
        lines.insert(0, head)
    return lines
