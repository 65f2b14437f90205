"""`coala-jax rank`: the responses of each prompt in order, with the probability of each pair."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from coala_jax.cli._output import counts_line, excerpt, output_file, report
from coala_jax.cli._row_options import (
    add_head_and_rows,
    open_head_and_rows,
    rows_lines,
    warnings_at_end,
)

if TYPE_CHECKING:
    from coala_jax.data import ResponseRow
    from coala_jax.decoding import Ranking

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
    from coala_jax.decoding._ranking import group_by_prompt, rank_groups

    out = output_file(arguments.out, lines=True)
    model, usable = open_head_and_rows(arguments, out)
    with usable as rows:
        groups = group_by_prompt(rows.responses())
        rankings = rank_groups(model, groups)
    counts, kept, notes = usable.set_aside
    made = list(map(ranking_line, groups, rankings))
    if out is not None:
        write_json_lines(out, made)
    ties = {name: sum(getattr(each, name) for each in rankings) for name in ("ties", "near_ties")}
    responses = sum(map(len, groups))
    lines = [
        *warnings_at_end(arguments, notes),
        *([] if out is not None else _shown(groups, rankings)),
        f"{responses} responses of {len(groups)} prompts ranked",
        *counts_line("pairs without an order", ties),
        *rows_lines(counts, kept, out),
    ]
    result = {
        "out": out,
        "prompts": len(groups),
        "responses": responses,
        **ties,
        "rows": {"set_aside": counts, "rejected": kept, "notes": notes},
        **({"rankings": made} if out is None else {}),
    }
    return report(arguments, result, lines)


def ranking_line(rows: Sequence[ResponseRow], ranking: Ranking) -> dict[str, Any]:
    """The ranking of some rows as one line of the output."""
    pairs = [
        {
            "first": first.position,
            "second": second.position,
            "probability": float(ranking.probabilities[first.position, second.position]),
        }
        for first, second in itertools.combinations(ranking.ranked, 2)
    ]
    ranked = [
        {
            "rank": each.rank,
            "position": each.position,
            "id": rows[each.position].id,
            "side": rows[each.position].side,
            "reward": each.reward,
        }
        for each in ranking.ranked
    ]
    ties = {"ties": ranking.ties, "near_ties": ranking.near_ties}
    return {"id": rows[0].id, "ranking": ranked, "pairs": pairs, **ties}


def _shown(groups: Sequence[Sequence[ResponseRow]], rankings: Sequence[Ranking]) -> list[str]:
    """The first rankings for people: each response with its chance against the one below it."""
    lines = ["rank, reward, probability of being preferred to the one below, response"]
    for rows, ranking in zip(groups[:SHOWN_PROMPTS], rankings, strict=False):
        lines.append(f"{rows[0].id}: {excerpt(rows[0].prompt)}")
        for place, each in enumerate(ranking.ranked):
            below = ranking.ranked[place + 1 : place + 2]
            chance = "".join(
                f"{ranking.probabilities[each.position, next_.position]:.3f}" for next_ in below
            )
            lines.append(
                f"  {each.rank:3}  {each.reward:+9.4f}  {chance:>5}  "
                f"{excerpt(rows[each.position].response)}"
            )
        lines.append("")
    if len(rankings) > SHOWN_PROMPTS:
        lines.append(f"... and {len(rankings) - SHOWN_PROMPTS} prompts more; --out writes all")
    return lines
