"""What choosing the strengths costs, in single solves of the same pairs.

    python benchmarks/selection_cost.py     # benchmarks/results/selection-cost.md and .json

Everything is compiled before it is timed. The single solve has the strengths of `Params` and both
phases. Five folds; how many of the eight strengths are tried depends on the pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from reporting import SHARED_FOLDER, account, best_seconds, finish, markdown, origin, parser_of, say

from coala_jax import Params, PreferenceFeatures, solve
from coala_jax.selection import SELECTED, choose_strengths
from coala_jax.study._read_pairs import read_pairs

SETS = ("webgpt", "qa_feedback", "alpaca_eval_v2")
# Pairs, features: a preference beyond a linear reward, so that lower strengths are tried.
MADE = ((500, 32), (2000, 64), (2000, 384))
COLUMNS = ("pairs", "strengths", "choice, s", "single solve, s", "choice / single")


class Case(NamedTuple):
    """Pairs and their groups, None for one each."""

    name: str
    features: PreferenceFeatures
    groups: tuple[str, ...] | None


def main() -> None:
    """Time every case; results are written after each."""
    parser = parser_of(__doc__, "selection-cost")
    parser.add_argument("--shared", type=Path, default=SHARED_FOLDER)
    parser.add_argument("--made", nargs="+", default=[f"{n}x{d}" for n, d in MADE])
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for case in _cases(arguments):
        rows.append(_row(case))
        say(str(rows[-1]))
        _write(arguments, rows)


def _cases(arguments: argparse.Namespace) -> list[Case]:
    cases = []
    for shape in arguments.made:
        pairs, width = map(int, shape.split("x"))
        rng = np.random.default_rng(0)
        a, b = rng.standard_normal((2, pairs, width)).astype(np.float32)
        rewards = [np.abs(x[:, 0]) - np.abs(x[:, 1]) for x in (a, b)]
        swap = (rewards[0] < rewards[1])[:, None]
        features = PreferenceFeatures(np.where(swap, b, a), np.where(swap, a, b))
        cases.append(Case(f"made, {pairs} x {width}", features, None))
    for name in arguments.sets:
        path = arguments.shared / "features" / f"{name}.npz"
        if path.exists():
            data = arguments.shared / "data" / f"{name}.jsonl.gz"
            pairs = read_pairs(str(path), None, str(data))
            shape = " x ".join(map(str, pairs.chosen.shape))
            cases.append(Case(f"{name}, {shape}", pairs.as_pairs(), pairs.keys))
    return cases


def _row(case: Case) -> dict[str, Any]:
    key = jax.random.key(0)

    def choose() -> Any:
        return choose_strengths(Params(), case.features, case.groups, config=SELECTED, key=key)

    def single() -> Any:
        return jax.block_until_ready(solve(Params(), case.features, config=SELECTED, key=key))

    strengths = {c.group_lasso for c in choose().table if c.group_lasso < 1}
    seconds, of_one = best_seconds(choose), best_seconds(single)
    return {
        "pairs": case.name,
        "strengths": len(strengths),
        "choice": seconds,
        "single": of_one,
        "ratio": seconds / of_one,
    }


def _write(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    result = account(rows=rows)
    shown = (
        (
            row["pairs"],
            row["strengths"],
            f"{row['choice']:.2f}",
            f"{row['single']:.2f}",
            f"{row['ratio']:.1f}",
        )
        for row in rows
    )
    table = markdown(f"{origin(result)}.", COLUMNS, shown)
    finish(arguments, result, table)


if __name__ == "__main__":
    main()
