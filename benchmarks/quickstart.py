"""Three seeds of the quickstart: the head against the linear probe and the length rule.

    python benchmarks/quickstart.py                                  # the measured table
    python benchmarks/quickstart.py --part train --n-gates 8 16 32   # choose a setting

With ``--part train`` a part of the training groups stands in for the held-out ones, which are
never looked at: settings are chosen on training rows. Writes a Markdown table and its JSON.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from reporting import account, cells, finish, interval, markdown, origin, parser_of, say

from coala_jax._intervals import cluster_interval
from coala_jax._types import Config, Params
from coala_jax.data import split_by_group
from coala_jax.quickstart._demo import DemoPairs, demo_pairs, embedded_backbone
from coala_jax.quickstart._tutoring import EVAL_PAIRS, TRAIN_PAIRS, TutoringSplit, tutoring_rows
from coala_jax.study._experiment import Experiment, Settings, run_experiment

# Of the training groups, to choose settings with.
VALIDATION_FRACTION = 0.3
METHODS = ("head", "probe", "length", "head_minus_probe", "head_minus_length")
TITLES = ("head", "linear probe", "length rule", "head - probe", "head - length")


class Setting(NamedTuple):
    """What is compared."""

    pooling: str
    n_gates: int
    group_lasso: float
    loss: str


def main() -> None:
    """Run the benchmark."""
    arguments = _arguments()
    rows = []
    for pooling in arguments.pooling:
        demos = {seed: _demo(seed, pooling, arguments) for seed in arguments.seeds}
        grid = itertools.product(arguments.n_gates, arguments.group_lasso, arguments.loss)
        for n_gates, group_lasso, loss in grid:
            setting = Setting(pooling, n_gates, group_lasso, loss)
            rows += _measure(setting, demos)
            say(cells(_cells(rows[-1])))
    result = account(
        part=arguments.part,
        model=str(arguments.model),
        train_pairs=arguments.train_pairs,
        eval_pairs=arguments.eval_pairs,
        rows=rows,
    )
    finish(arguments, result, _table(result))


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "quickstart")
    params, config = Params(), Config()
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--n-gates", type=int, nargs="+", default=[config.n_gates])
    parser.add_argument("--group-lasso", type=float, nargs="+", default=[params.group_lasso])
    parser.add_argument("--loss", nargs="+", default=[config.phase1_loss])
    parser.add_argument("--pooling", nargs="+", default=["last"])
    parser.add_argument("--part", choices=("eval", "train"), default="eval")
    parser.add_argument("--train-pairs", type=int, default=TRAIN_PAIRS)
    parser.add_argument("--eval-pairs", type=int, default=EVAL_PAIRS)
    parser.add_argument("--model", type=Path, default=embedded_backbone())
    return parser.parse_args()


def _demo(seed: int, pooling: str, arguments: argparse.Namespace) -> DemoPairs:
    rows = tutoring_rows(seed, arguments.train_pairs, arguments.eval_pairs)
    if arguments.part == "train":
        groups = {row.id: str(row.group) for row in rows.train}
        part = split_by_group(rows.train, groups, VALIDATION_FRACTION, seed)
        rows = TutoringSplit(part.train, part.eval)
    say(f"seed {seed}: features of {len(rows.train)} + {len(rows.eval)} pairs, {pooling}")
    return demo_pairs(rows, arguments.model, pooling)


def _measure(setting: Setting, demos: dict[int, DemoPairs]) -> list[dict[str, Any]]:
    """One row a seed, then the pooled one, clusters shared between the seeds."""
    settings = Settings(
        Params(group_lasso=setting.group_lasso),
        Config(n_gates=setting.n_gates, phase1_loss=setting.loss),
    )
    runs = {
        seed: run_experiment(demo.pairs, demo.held_out, settings._replace(seed=seed), say)
        for seed, demo in demos.items()
    }
    rows = [_row(setting, str(seed), [run]) for seed, run in runs.items()]
    return [*rows, _row(setting, "all", list(runs.values()))]


def _row(setting: Setting, seed: str, runs: list[Experiment]) -> dict[str, Any]:
    clusters = [key for run in runs for key in run.eval.keys]
    values = {
        name: np.concatenate([_correct(run, name) for run in runs])
        for name in ("head", "probe", "length")
    }
    for other in ("probe", "length"):
        values[f"head_minus_{other}"] = values["head"] - values[other]
    return {
        **setting._asdict(),
        "seed": seed,
        "status": sorted({run.phases.status.name.lower() for run in runs}),
        "pairs": len(clusters),
        "groups": len(set(clusters)),
        **{name: cluster_interval(values[name], clusters)._asdict() for name in METHODS},
        "train_accuracy": float(np.mean([run.metrics.train.accuracy for run in runs])),
        "seconds": float(sum(run.phases.seconds1.run for run in runs)),
    }


def _correct(run: Experiment, method: str) -> np.ndarray:
    correct = getattr(run.correct, method)
    if correct is None:
        raise ValueError(f"no {method} baseline: the training rows hold a single group")
    return np.asarray(correct)


def _table(result: dict[str, Any]) -> str:
    part = "held-out pairs" if result["part"] == "eval" else "validation part of the training rows"
    columns = ("pooling", "gates", "lasso", "loss", "seed", "pairs", *TITLES, "status")
    head = f"Accuracy on {part}, 95 % intervals clustered by concept group; {origin(result)}."
    return markdown(head, columns, map(_cells, result["rows"]))


def _cells(row: dict[str, Any]) -> list[Any]:
    intervals = [interval(row[name]) for name in METHODS]
    setting = (row["pooling"], row["n_gates"], row["group_lasso"], row["loss"])
    pairs = f"{row['pairs']} in {row['groups']}"
    return [*setting, row["seed"], pairs, *intervals, ", ".join(row["status"])]


if __name__ == "__main__":
    main()
