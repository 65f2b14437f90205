"""Default heads, the paper's form and baselines on held-out pairs, over many splits by prompt.

    python benchmarks/accuracy.py                    # benchmarks/results/accuracy.md and .json
    python benchmarks/accuracy.py --sets webgpt --splits 5 --methods probe default
    python benchmarks/accuracy.py --sets hh_helpful --sizes 100 300 1000 --methods probe default
    python benchmarks/accuracy.py --features FOLDER  # and what benchmarks/real_features.py made

Every split holds out a fifth of the prompts and trains on three quarters of the pairs, or on what
is left where there are few prompts, or on as many of these as `--sizes` says. A pair's score is the
share of the splits that held it out in which it was ordered right (a tie is half), its loss the
mean of the Bradley-Terry log losses there; intervals are over pairs, clustered by prompt, so that
splits of the same pairs do not pass for new data, nor do other features of a set in the row `all`.
Nothing is chosen on held-out rows: the default head and the probe choose their strengths on
left-out training rows, all else has one setting. Results are written after every set.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from accuracy_methods import METHODS
from reporting import SHARED_FOLDER, account, finish, interval, markdown, origin, parser_of, say

from coala_jax._calibration import calibration_error, log_losses
from coala_jax._intervals import cluster_interval
from coala_jax.study._hold_out import hold_out
from coala_jax.study._pair_set import PairSet
from coala_jax.study._read_pairs import read_pairs

SETS = (
    "alpaca_eval_v2",
    "qa_feedback",
    "expert_small",
    "autoj_pairwise",
    "webgpt",
    "hh_helpful",
    "gemma3_270m_hh:14_mean",
    "gemma3_270m_hh:18_mean",
    "gemma3_270m_hh:18_last",
    "ukp_convarg",
    "imdb_gemma",
    "imdb_minilm",
    "alpaca_eval_v1_wide",
    "quickstart",
)
# Of reviews drawn at random: each pair is a group of its own, whatever prompt they share.
BY_ROW = ("imdb_gemma", "imdb_minilm")
# Other features of pairs, or other pairs of prompts, that another set has.
AGAIN = (
    *(name for name in SETS if name.startswith("gemma3")),
    "imdb_minilm",
    "alpaca_eval_v1_wide",
)
# Its preference is made, not found.
MADE = ("quickstart",)
HELD_OUT = 0.2
TRAINED_ON = 0.75


class Totals(NamedTuple):
    """Of every pair of a set, over the splits that held it out.

    Attributes:
        keys: (n,) what pairs are clustered by.
        count: (n,) splits that held it out.
        correct: by method, (n,) sums of scores.
        loss: by method that has log-odds, (n,) sums of log losses.
        odds: by method that has log-odds, log-odds of all splits one after the other.
    """

    keys: list[str]
    count: np.ndarray
    correct: dict[str, np.ndarray]
    loss: dict[str, np.ndarray]
    odds: dict[str, list[np.ndarray]]


def main() -> None:
    """Judge the methods on every set, set by set."""
    arguments = _arguments()
    rows: list[dict[str, Any]] = []
    pools: dict[int | None, list[Totals]] = {size: [] for size in arguments.sizes}
    for name in arguments.sets:
        pairs = pairs_of(name, arguments.shared, arguments.features)
        if pairs is None:
            say(f"{name}: no features, left out")
            continue
        for size in arguments.sizes:
            if size is not None and size > TRAINED_ON * len(pairs.chosen):
                continue
            totals = _study(name, pairs, arguments, size)
            rows += rows_of(name, size, [totals])
            if name not in (*MADE, *AGAIN):
                pools[size].append(totals)
        pooled = [
            row
            for size, pool in pools.items()
            if len(pool) > 1
            for row in rows_of("all", size, pool)
        ]
        _write(arguments, rows + pooled)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "accuracy")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--sizes", nargs="+", type=int, default=[None], help="training pairs")
    parser.add_argument("--shared", type=Path, default=SHARED_FOLDER)
    parser.add_argument("--features", type=Path, help="what real_features.py has made")
    return parser.parse_args()


def pairs_of(name: str, shared: Path, made: Path | None) -> PairSet | None:
    """The pairs of a set with their keys; None where its features are not there."""
    if name == "quickstart":
        from coala_jax.quickstart import tutoring_rows
        from coala_jax.quickstart._demo import demo_pairs, embedded_backbone

        return demo_pairs(tutoring_rows(0, 2000, 1000), embedded_backbone(), "last").pairs
    if made is not None and (made / name).is_dir():
        pairs = _in_float32(read_pairs(str(made / name)))
        if name in BY_ROW:
            pairs = pairs._replace(keys=tuple(map(str, range(len(pairs.keys)))))
        return pairs
    file, _, columns = name.partition(":")
    path, data = shared / "features" / f"{file}.npz", shared / "data" / f"{file}.jsonl.gz"
    if not path.exists():
        return None
    if not columns:
        return _in_float32(read_pairs(str(path), None, str(data)))
    with np.load(path) as table:
        sides = [np.float32(table[f"{side}_{columns}"]) for side in ("chosen", "rejected")]
        return PairSet(name, *sides, tuple(map(str, table["prompt_sha"])), "prompt")


def _in_float32(pairs: PairSet) -> PairSet:
    """What is read keeps the dtype of its file, or is not read yet."""
    chosen, rejected = (np.asarray(side, np.float32) for side in (pairs.chosen, pairs.rejected))
    return pairs._replace(chosen=chosen, rejected=rejected)


def _study(name: str, pairs: PairSet, arguments: argparse.Namespace, size: int | None) -> Totals:
    """The totals of a set over all splits."""
    zeros = np.zeros(len(pairs.chosen))
    methods = [m for m in arguments.methods if m != "length" or pairs.lengths is not None]
    keys = [f"{name}/{key}" for key in pairs.keys]
    totals = Totals(keys, zeros.copy(), {m: zeros.copy() for m in methods}, {}, {})
    for seed in range(arguments.splits):
        out = hold_out(pairs, HELD_OUT, seed)
        train, held_out = pairs.take(training_rows(out, seed, size)), pairs.take(out)
        totals.count[out] += 1
        start = time.perf_counter()
        for method in methods:
            judged = METHODS[method](train, held_out, seed)
            totals.correct[method][out] += judged.correct
            if judged.log_odds is not None:
                loss = totals.loss.setdefault(method, zeros.copy())
                loss[out] += log_losses(judged.log_odds)
                totals.odds.setdefault(method, []).append(judged.log_odds)
        seconds = time.perf_counter() - start
        means = {m: f"{totals.correct[m].sum() / totals.count.sum():.3f}" for m in methods}
        say(f"{name} {size or ''} split {seed}, {seconds:.0f} s: {means}")
    return totals


def training_rows(out: np.ndarray, seed: int, size: int | None) -> np.ndarray:
    """A mask of TRAINED_ON of all pairs, or of so many of them, none of them held out.

    As many in every split, so that the splits share compilations; the few left over rest.
    """
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(~out))
    mask = np.zeros_like(out)
    mask[rows[: int(TRAINED_ON * len(out))][:size]] = True
    return mask


def rows_of(name: str, size: int | None, pool: list[Totals]) -> list[dict[str, Any]]:
    """Rows of the table, of one set or of several together."""
    seen = [totals.count > 0 for totals in pool]
    keys = [
        key
        for totals, used in zip(pool, seen, strict=True)
        for key, one in zip(totals.keys, used, strict=True)
        if one
    ]

    def joined(of: Callable[[Totals], np.ndarray]) -> np.ndarray:
        return np.concatenate(
            [(of(t)[used] / t.count[used]) for t, used in zip(pool, seen, strict=True)]
        )

    methods = [m for m in pool[0].correct if all(m in totals.correct for totals in pool)]
    rows = []
    for method in methods:
        right = joined(lambda totals, method=method: totals.correct[method])
        row = {
            "set": name,
            "size": size,
            "method": method,
            "pairs": len(keys),
            "prompts": len(set(keys)),
            "accuracy": cluster_interval(right, keys)._asdict(),
        }
        row["minus_probe"] = row["log_loss"] = row["log_loss_minus_probe"] = None
        row["calibration_error"] = None
        if "probe" in methods:
            probe = joined(lambda totals: totals.correct["probe"])
            row["minus_probe"] = cluster_interval(right - probe, keys)._asdict()
        if all(method in totals.loss for totals in pool):
            loss = joined(lambda totals, method=method: totals.loss[method])
            row["log_loss"] = cluster_interval(loss, keys)._asdict()
            odds = np.concatenate([odds for totals in pool for odds in totals.odds[method]])
            row["calibration_error"] = calibration_error(odds)
            if all("probe" in totals.loss for totals in pool):
                probe = joined(lambda totals: totals.loss["probe"])
                row["log_loss_minus_probe"] = cluster_interval(loss - probe, keys)._asdict()
        rows.append(row)
    return rows


def _write(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    result = account(splits=arguments.splits, rows=rows)
    finish(arguments, result, _table(result))


def _table(result: dict[str, Any]) -> str:
    head = (
        f"Held-out pairs over {result['splits']} splits by prompt; 95 % intervals clustered by "
        f"prompt; calibration error of all splits together. {origin(result)}."
    )
    columns = (
        *("set", "method", "pairs in prompts", "accuracy", "minus probe"),
        *("log loss", "minus probe", "calibration error"),
    )

    def shown(figures: dict[str, float] | None) -> str:
        return "-" if figures is None else interval(figures)

    rows = [
        [
            row["set"] + ("" if row["size"] is None else f", {row['size']} trained on"),
            row["method"],
            f"{row['pairs']} in {row['prompts']}",
            shown(row["accuracy"]),
            shown(row["minus_probe"]),
            shown(row["log_loss"]),
            shown(row["log_loss_minus_probe"]),
            "-" if row["calibration_error"] is None else f"{row['calibration_error']:.3f}",
        ]
        for row in result["rows"]
    ]
    return markdown(head, columns, rows)


if __name__ == "__main__":
    main()
