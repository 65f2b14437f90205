"""Gates compared by left-out log loss: their distribution, their number, and averages of draws.

    python benchmarks/gates.py                 # benchmarks/results/gates.md and .json
    python benchmarks/gates.py --sets webgpt --draws 2

For choosing among gates, so on a development half of each real set: the prompts whose hash is even.
Every draw has gates and folds of its own; strengths are those of least left-out loss, not the
simplest within a standard error, so that a network shows what it can do. `gain` is the mean loss of
the linear path alone less that of the choice, `average` that of the mean log-odds of all draws.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from accuracy import MADE, SETS, pairs_of
from reporting import SHARED_FOLDER, account, markdown, origin, parser_of, save, say

from coala_jax import Params, PreferenceFeatures
from coala_jax._accuracy import margin_accuracy
from coala_jax._calibration import fit_temperature, log_losses
from coala_jax.selection import SELECTED, choose_strengths
from coala_jax.study._pair_set import PairSet

GATES = ("isotropic:32", "isotropic:128", "covariance:32", "mixed:32", "mixed:64")
# Interactions |x| of two of 64 principal directions whose deviations fall as 1 / rank.
DIRECTIONS = {"made, large directions": (0, 1), "made, middling directions": (8, 9)}
COLUMNS = ("pairs", "gates", "log loss", "gain", "accuracy", "average of draws: gain", "accuracy")


def main() -> None:
    """Compare on every set; results are written after each."""
    parser = parser_of(__doc__, "gates")
    parser.add_argument("--sets", nargs="+", default=["alpaca_eval_v2", "quickstart", *DIRECTIONS])
    parser.add_argument("--gates", nargs="+", default=list(GATES), help="distribution:number")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=SHARED_FOLDER)
    parser.add_argument("--features", type=Path, help="what real_features.py has made")
    arguments = parser.parse_args()
    if unknown := set(arguments.sets) - {*SETS, *DIRECTIONS}:
        parser.error(f"--sets: {sorted(unknown)} are not among {[*SETS, *DIRECTIONS]}")
    rows: list[dict[str, Any]] = []
    for name, gates in itertools.product(arguments.sets, arguments.gates):
        pairs = _development(name, arguments)
        if pairs is None:
            say(f"{name}: no features, left out")
            continue
        rows.append({"set": name, "gates": gates, **_compared(pairs, gates, arguments.draws)})
        say(str(rows[-1]))
        result = account(draws=arguments.draws, rows=rows)
        save(arguments, result, _table(result))
    sys.stdout.write(_table(result))


def _development(name: str, arguments: argparse.Namespace) -> PairSet | None:
    if name in DIRECTIONS:
        return _made(name)
    pairs = pairs_of(name, arguments.shared, arguments.features)
    if pairs is None or name in MADE:
        return pairs
    hashes = (hashlib.sha256(key.encode()).digest() for key in pairs.keys)
    return pairs.take(np.array([digest[0] % 2 == 0 for digest in hashes]))


def _made(name: str, number: int = 1500, width: int = 64) -> PairSet:
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0]
    one, other = rng.standard_normal((2, number, width))
    first, second = DIRECTIONS[name]
    rewards = [np.abs(x[:, first]) - np.abs(x[:, second]) for x in (one, other)]
    swap = (rewards[0] < rewards[1])[:, None]
    deviations = 1 / np.arange(1, width + 1)
    chosen, rejected = (
        np.float32((np.where(swap, *sides) * deviations) @ rotation.T)
        for sides in ((other, one), (one, other))
    )
    return PairSet(name, chosen, rejected, tuple(map(str, range(number))), "row")


def _compared(pairs: PairSet, gates: str, draws: int) -> dict[str, Any]:
    distribution, number = gates.split(":")
    config = dataclasses.replace(SELECTED, gate_distribution=distribution, n_gates=int(number))
    choices = [
        choose_strengths(
            Params(),
            PreferenceFeatures(pairs.chosen, pairs.rejected),
            pairs.keys,
            config=config,
            key=jax.random.key(draw),
            rule="minimum",
        )
        for draw in range(draws)
    ]
    linear = [_loss(choice.linear_margins) for choice in choices]
    found = [choice.candidate for choice in choices]
    together = np.mean(
        [choice.margins / choice.candidate.temperature for choice in choices], axis=0
    )
    return {
        "pairs": len(pairs.chosen),
        "log_loss": float(np.mean([each.log_loss for each in found])),
        "gains": [one - each.log_loss for one, each in zip(linear, found, strict=True)],
        "accuracy": float(np.mean([each.accuracy for each in found])),
        "average_gain": float(np.mean(linear)) - _loss(together),
        "average_accuracy": float(margin_accuracy(together).mean()),
    }


def _loss(margins: np.ndarray | None) -> float:
    assert margins is not None  # all sets have more groups than folds need
    return float(log_losses(margins, fit_temperature(margins)).mean())


def _table(result: dict[str, Any]) -> str:
    head = (
        f"Left-out log loss and accuracy of development halves, mean of {result['draws']} draws of "
        f"gates; gains over the linear path alone, least to largest. {origin(result)}."
    )
    rows = [
        [
            f"{row['set']}, {row['pairs']}",
            row["gates"].replace(":", " "),
            f"{row['log_loss']:.4f}",
            f"{np.mean(row['gains']):.4f} ({min(row['gains']):.4f} to {max(row['gains']):.4f})",
            f"{row['accuracy']:.3f}",
            f"{row['average_gain']:.4f}",
            f"{row['average_accuracy']:.3f}",
        ]
        for row in result["rows"]
    ]
    return markdown(head, COLUMNS, rows)


if __name__ == "__main__":
    main()
