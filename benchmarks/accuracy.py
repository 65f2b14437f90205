"""Held-out accuracy of heads and baselines over many splits by prompt, with one declared setting.

    python benchmarks/accuracy.py                         # benchmarks/results/accuracy.md and .json
    python benchmarks/accuracy.py --sets webgpt --splits 5 --methods pairwise probe

Every split holds out a fifth of the prompts and trains on three quarters of the pairs. A pair's
score is the share of the splits that held it out in which it was ordered right (a tie is half);
intervals are over pairs, clustered by prompt, so that splits of the same pairs do not pass for new
data. No setting is chosen on held-out rows: the heads run at `STRENGTHS` on every set, the probe
chooses its ridge by cross-validation on the training rows. Results are written after every set.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import operator
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from reporting import SHARED_FOLDER, account, interval, markdown, origin, parser_of, save, say
from sklearn.neural_network import MLPClassifier

from coala_jax import Config, Params, refine_gates, solve
from coala_jax._accuracy import pairwise_accuracy
from coala_jax._intervals import cluster_interval
from coala_jax.study._baselines import fit_length_rule, fit_linear_probe
from coala_jax.study._pairs import PairSet, hold_out, read_pairs

SETS = ("alpaca_eval_v2", "qa_feedback", "expert_small", "autoj_pairwise", "webgpt")
HELD_OUT = 0.2
TRAINED_ON = 0.75
# Real labels are noisy and want strong penalties: one strength a model, for every loss and set,
# as a share of its lambda_max.
STRENGTHS = {"relu": 0.5, "gated_relu": 0.8}
POINTWISE = Config(phase1_loss="squared")
PAIRWISE = Config(phase1_loss="bradley_terry")
GATED = Config(phase1_loss="bradley_terry", model="gated_relu", n_gates=64)
# The non-convex network of the paper's Table 7: learning rates and seeds of AdamW on all pairs.
NEURONS = 32
LEARNING_RATES = (1e-4, 1e-3, 1e-2)
ADAMW_SEEDS = (0, 1, 2)
ADAMW_STEPS = 500
WEIGHT_DECAY = 0.01

# Trains on pairs under a seed and gives the score of every held-out pair.
Method = Callable[[PairSet, PairSet, int], np.ndarray]


def _scores(reward: Callable[[np.ndarray], Any], pairs: PairSet) -> np.ndarray:
    return pairwise_accuracy(np.asarray(reward(pairs.chosen)), np.asarray(reward(pairs.rejected)))


def _solved(config: Config) -> Method:
    def method(train: PairSet, held_out: PairSet, seed: int) -> np.ndarray:
        params = Params(group_lasso=STRENGTHS[config.model])
        solution = solve(params, train.features(), config=config, key=jax.random.key(seed))
        return _scores(solution.raise_for_status().head, held_out)

    return method


def _refined(train: PairSet, held_out: PairSet, seed: int) -> np.ndarray:
    features = train.features()
    params = Params(group_lasso=STRENGTHS["relu"])
    key = jax.random.key(seed)
    solution = refine_gates(params, features, config=PAIRWISE, key=key, max_rounds=3)
    return _scores(solution.head, held_out)


def _probe(train: PairSet, held_out: PairSet, seed: int) -> np.ndarray:
    probe = fit_linear_probe(train, seed)
    if probe is None:
        raise ValueError("the training rows hold a single prompt")
    return probe.correct(held_out)


def _length(train: PairSet, held_out: PairSet, seed: int) -> np.ndarray:
    rule = fit_length_rule(train)
    if rule is None:
        raise ValueError("no text, so no lengths")
    return rule.correct(held_out)


def _mlp(train: PairSet, held_out: PairSet, seed: int) -> np.ndarray:
    """scikit-learn's classifier of single responses, early stopped on a tenth of the rows."""
    rows = np.concatenate([train.chosen, train.rejected])
    centre, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    labels = np.repeat([1, 0], len(train.chosen))
    network = MLPClassifier((NEURONS,), early_stopping=True, random_state=seed)
    network.fit((rows - centre) / scale, labels)
    return _scores(lambda x: network.predict_proba((x - centre) / scale)[:, 1], held_out)


def _adamw(learning_rate: float) -> Method:
    """The two-layer ReLU network itself, trained on the Bradley-Terry loss; mean over seeds."""

    def method(train: PairSet, held_out: PairSet, seed: int) -> np.ndarray:
        rows = np.concatenate([train.chosen, train.rejected])
        centre, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
        keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), i) for i in ADAMW_SEEDS])
        train_all = jax.vmap(_train_network, (0, None, None, None, None, None))
        networks = train_all(
            keys, train.chosen, train.rejected, centre, scale, jnp.asarray(learning_rate)
        )
        scores = []
        for index in range(len(ADAMW_SEEDS)):
            reward = functools.partial(
                _network, jax.tree.map(operator.itemgetter(index), networks), centre, scale
            )
            scores.append(_scores(reward, held_out))
        return np.mean(scores, axis=0)

    return method


def _network(
    weights: tuple[jax.Array, ...], centre: np.ndarray, scale: np.ndarray, x: jax.Array
) -> jax.Array:
    first, bias, second = weights
    return jax.nn.relu((x - centre) / scale @ first + bias) @ second


@jax.jit
def _train_network(
    key: jax.Array,
    chosen: jax.Array,
    rejected: jax.Array,
    centre: jax.Array,
    scale: jax.Array,
    learning_rate: jax.Array,
) -> tuple[jax.Array, ...]:
    width = chosen.shape[1]
    first_key, second_key = jax.random.split(key)
    weights = (
        jax.random.normal(first_key, (width, NEURONS)) / np.sqrt(width),
        jnp.zeros(NEURONS),
        jax.random.normal(second_key, (NEURONS,)) / np.sqrt(NEURONS),
    )
    optimizer = optax.adamw(learning_rate, weight_decay=WEIGHT_DECAY)

    def loss(weights: tuple[jax.Array, ...]) -> jax.Array:
        worse, better = (_network(weights, centre, scale, x) for x in (rejected, chosen))
        return jnp.mean(jax.nn.softplus(worse - better))

    def step(_: int, carry: Any) -> Any:
        weights, moments = carry
        updates, moments = optimizer.update(jax.grad(loss)(weights), moments, weights)
        return optax.apply_updates(weights, updates), moments

    return jax.lax.fori_loop(0, ADAMW_STEPS, step, (weights, optimizer.init(weights)))[0]


METHODS: dict[str, Method] = {
    "probe": _probe,
    "length": _length,
    "pointwise": _solved(POINTWISE),
    "pairwise": _solved(PAIRWISE),
    "gated": _solved(GATED),
    "refined": _refined,
    "mlp": _mlp,
    **{f"adamw {rate:g}": _adamw(rate) for rate in LEARNING_RATES},
}


def main() -> None:
    """Run the study."""
    arguments = _arguments()
    rows: list[dict[str, Any]] = []
    scores: dict[str, tuple[list[str], dict[str, np.ndarray]]] = {}
    for name in arguments.sets:
        path = arguments.shared / "features" / f"{name}.npz"
        data = arguments.shared / "data" / f"{name}.jsonl.gz"
        if not path.exists():
            say(f"{name}: no {path}, left out")
            continue
        pairs = read_pairs(str(path), None, str(data))
        scores[name] = _study(name, pairs, arguments.methods, arguments.splits)
        rows += _rows(name, *scores[name])
        others = [name for name in scores if name != SETS[0]]
        pooled = _rows("all but alpaca_eval_v2", *_pool(scores, others)) if others else []
        _write(arguments, rows + pooled)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, "accuracy")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--shared", type=Path, default=SHARED_FOLDER)
    return parser.parse_args()


def _study(
    name: str, pairs: PairSet, methods: list[str], splits: int
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Keys of the pairs that were held out at least once, and their mean scores by method."""
    total = {method: np.zeros(len(pairs.chosen)) for method in methods}
    count = np.zeros(len(pairs.chosen))
    for seed in range(splits):
        out = hold_out(pairs, HELD_OUT, seed)
        train, held_out = pairs.take(_training_rows(out, seed)), pairs.take(out)
        count += out
        start = time.perf_counter()
        for method in methods:
            total[method][out] += METHODS[method](train, held_out, seed)
        means = {m: f"{total[m].sum() / count.sum():.3f}" for m in methods}
        say(f"{name} split {seed}, {time.perf_counter() - start:.0f} s: {means}")
    seen = count > 0
    keys = [f"{name}/{key}" for key, used in zip(pairs.keys, seen, strict=True) if used]
    return keys, {method: total[method][seen] / count[seen] for method in methods}


def _training_rows(out: np.ndarray, seed: int) -> np.ndarray:
    """A mask of TRAINED_ON of all pairs, none of them held out.

    As many in every split, so that the splits share compilations; the few left over rest.
    """
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(~out))
    mask = np.zeros_like(out)
    mask[rows[: int(TRAINED_ON * len(out))]] = True
    return mask


def _pool(
    scores: dict[str, tuple[list[str], dict[str, np.ndarray]]], names: list[str]
) -> tuple[list[str], dict[str, np.ndarray]]:
    keys = [key for name in names for key in scores[name][0]]
    methods = scores[names[0]][1]
    return keys, {m: np.concatenate([scores[name][1][m] for name in names]) for m in methods}


def _rows(name: str, keys: list[str], scores: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    probe = scores.get("probe")
    return [
        {
            "set": name,
            "method": method,
            "pairs": len(keys),
            "prompts": len(set(keys)),
            "accuracy": cluster_interval(values, keys)._asdict(),
            "minus_probe": None
            if probe is None
            else cluster_interval(values - probe, keys)._asdict(),
        }
        for method, values in scores.items()
    ]


def _write(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    configs = {"pointwise": POINTWISE, "pairwise and refined": PAIRWISE, "gated": GATED}
    result = account(
        splits=arguments.splits,
        group_lasso=STRENGTHS,
        configs={name: dataclasses.asdict(config) for name, config in configs.items()},
        rows=rows,
    )
    save(arguments, result, _table(result))
    sys.stdout.write(_table(result))


def _table(result: dict[str, Any]) -> str:
    head = (
        f"Accuracy on held-out pairs over {result['splits']} splits by prompt, strengths "
        f"{result['group_lasso']} of lambda_max; 95 % intervals clustered by prompt. "
        f"{origin(result)}."
    )
    rows = [
        [
            row["set"],
            row["method"],
            f"{row['pairs']} in {row['prompts']}",
            interval(row["accuracy"]),
            "-" if row["minus_probe"] is None else interval(row["minus_probe"]),
        ]
        for row in result["rows"]
    ]
    return markdown(head, ("set", "method", "pairs in prompts", "accuracy", "minus probe"), rows)


if __name__ == "__main__":
    main()
