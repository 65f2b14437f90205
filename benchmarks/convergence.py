"""Steps that Phase I takes, on programs of many shapes: does it end solved, and how soon?

    python benchmarks/convergence.py                           # made programs, shared features
    python benchmarks/convergence.py --sets gemma webgpt --losses squared --strengths 0.05

Made pairs are Gaussian, with the chosen side half a deviation ahead in the first column: many rows
and few features, whose cones are narrow. Shared features are those of ``../shared/features``; the
pairs of Gemma are its hidden states of layer 14. Every program runs twice, and the second run is
timed. A row whose status is short of solved stays in the table. Writes Markdown and JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from reporting import SHARED_FOLDER, account, markdown, origin, parser_of, save, say

from coala_jax import Config, Params, Phase1Solution, PreferenceFeatures, Status, cronos

PAIRS, WIDTHS, GATES = (1000, 4000, 16_000), (64, 256), (8, 16, 32)
SHARED = ("alpaca_eval_v2", "qa_feedback", "expert_small", "autoj_pairwise", "webgpt")
GEMMA = "gemma"
SHARED_GATES = 16
BUDGET = 500
COLUMNS = (
    "pairs",
    "loss",
    "strength",
    "status",
    "steps",
    "CG steps",
    "explained",
    "gap",
    "lambda_max",
    "seconds",
)


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    rows: list[dict[str, Any]] = []
    for name, features, gates in programs(arguments.sets, arguments.features):
        for loss in arguments.losses:
            for strength in arguments.strengths:
                rows.append(_measure(name, features, gates, loss, strength))
                say(rows[-1])
                _write(arguments, rows)  # after every program, so that none is lost
    if rows:
        sys.stdout.write(_write(arguments, rows))


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "convergence")
    made = [f"{n}x{d}x{p}" for n in PAIRS for d in WIDTHS for p in GATES]
    parser.add_argument("--sets", nargs="+", default=[*made, *SHARED, GEMMA])
    parser.add_argument("--losses", nargs="+", default=["squared", "bradley_terry"])
    parser.add_argument("--strengths", nargs="+", type=float, default=[0.05])
    parser.add_argument("--features", type=Path, default=SHARED_FOLDER / "features")
    return parser.parse_args()


def programs(names: Iterable[str], folder: Path) -> Iterator[tuple[str, PreferenceFeatures, int]]:
    """Names, features and numbers of gates; a set whose file is missing is skipped with a line."""
    for name in names:
        if name[0].isdigit():
            pairs, width, gates = map(int, name.split("x"))
            yield name, gaussian_pairs(pairs, width), gates
            continue
        path = folder / ("gemma3_270m_hh.npz" if name == GEMMA else f"{name}.npz")
        if not path.exists():
            say(f"{name}: skipped, no {path}")
            continue
        suffix = "_14_mean" if name == GEMMA else ""
        with np.load(path) as arrays:
            sides = (arrays[f"{side}{suffix}"] for side in ("chosen", "rejected"))
            yield name, PreferenceFeatures(*sides), SHARED_GATES


def gaussian_pairs(pairs: int, width: int) -> PreferenceFeatures:
    """Made pairs: (pairs, width) float32 a side."""
    rng = np.random.default_rng(0)
    chosen, rejected = rng.standard_normal((2, pairs, width)).astype(np.float32)
    chosen[:, 0] += 0.5
    return PreferenceFeatures(chosen, rejected)


def _measure(
    name: str, features: PreferenceFeatures, gates: int, loss: str, strength: float
) -> dict[str, Any]:
    """One row of the table."""
    config = Config(n_gates=gates, phase1_loss=loss, max_iterations=BUDGET)
    params = Params(group_lasso=strength)

    def run() -> Phase1Solution:
        return jax.block_until_ready(cronos(params, features, config=config))

    run()
    start = time.perf_counter()
    solution = run()
    seconds = time.perf_counter() - start
    stats = jax.tree.map(np.asarray, solution.stats)
    return {
        "pairs": name,
        "loss": loss,
        "strength": strength,
        "status": Status(int(stats.status)).name.lower(),
        "steps": int(stats.iterations),
        "CG steps": int(stats.cg_iterations),
        "explained": float(stats.explained),
        "gap": float(stats.relative_gap),
        "lambda_max": [float(stats.lambda_max_lower), float(stats.lambda_max)],
        "seconds": seconds,
    }


def _write(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> str:
    """Write table and JSON of the rows so far; gives the table."""
    result = account(budget=BUDGET, rows=rows)
    table = markdown(origin(result), COLUMNS, ([shown(row[c]) for c in COLUMNS] for row in rows))
    save(arguments, result, table)
    return table


def shown(value: Any) -> str:
    """A cell of the table: figures to three digits, intervals by their ends."""
    if isinstance(value, list):
        return " to ".join(f"{end:.4g}" for end in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
