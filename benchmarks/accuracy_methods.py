"""The methods that accuracy.py judges on held-out pairs: ours, and what it is compared with."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neural_network import MLPClassifier

from coala_jax import Params, select, solve
from coala_jax._accuracy import margin_accuracy, pairwise_accuracy
from coala_jax.study._baselines import fit_length_rule, fit_linear_probe
from coala_jax.study._pair_set import PairSet

# The non-convex network of the paper's Table 7: a learning rate and seeds of AdamW on all pairs.
NEURONS = 32
LEARNING_RATE = 1e-3
ADAMW_SEEDS = (0, 1, 2)
ADAMW_STEPS = 500
WEIGHT_DECAY = 0.01


class Judged(NamedTuple):
    """Held-out pairs under a method: (n,) of 1, 0.5 and 0, and (n,) log-odds where it has some."""

    correct: np.ndarray
    log_odds: np.ndarray | None = None


# Trains on pairs under a seed and judges every held-out pair.
Method = Callable[[PairSet, PairSet, int], Judged]


def _judged(reward: Callable[[np.ndarray], Any], pairs: PairSet, scale: float = 1.0) -> Judged:
    """Of rewards, whose differences times the scale are log-odds."""
    chosen, rejected = (np.asarray(reward(side)) for side in (pairs.chosen, pairs.rejected))
    return Judged(pairwise_accuracy(chosen, rejected), scale * (chosen - rejected))


def _default(train: PairSet, held_out: PairSet, seed: int) -> Judged:
    key = jax.random.key(seed)
    solution, choice = select(Params(), train.as_pairs(), train.keys, key=key)
    return _judged(solution.head, held_out, 1 / choice.candidate.temperature)


def _paper(train: PairSet, held_out: PairSet, seed: int) -> Judged:
    """Pointwise squared loss, Gaussian gates, no linear path, the strength of `Params`."""
    return _judged(solve(Params(), train.as_pairs(), key=jax.random.key(seed)).head, held_out)


def _probe(train: PairSet, held_out: PairSet, seed: int) -> Judged:
    probe = fit_linear_probe(train, seed)
    if probe is None:
        raise ValueError("the training rows hold a single prompt")
    return _judged(lambda x: x @ probe.weights, held_out)


def _length(train: PairSet, held_out: PairSet, seed: int) -> Judged:
    rule = fit_length_rule(train)
    if rule is None:
        raise ValueError("no text, so no lengths")
    return Judged(rule.correct(held_out))


def _mlp(train: PairSet, held_out: PairSet, seed: int) -> Judged:
    """scikit-learn's classifier of single responses, early stopped on a tenth of the rows."""
    rows = np.concatenate([train.chosen, train.rejected])
    centre, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    labels = np.repeat([1, 0], len(train.chosen))
    network = MLPClassifier((NEURONS,), early_stopping=True, random_state=seed)
    network.fit((rows - centre) / scale, labels)
    judged = _judged(lambda x: network.predict_proba((x - centre) / scale)[:, 1], held_out)
    return judged._replace(log_odds=None)  # of single responses, not of pairs


def _tree(train: PairSet, held_out: PairSet, seed: int) -> Judged:
    """scikit-learn's gradient-boosted trees on differences, each pair both ways round."""
    difference = train.chosen - train.rejected
    trees = HistGradientBoostingClassifier(early_stopping=True, random_state=seed)
    trees.fit(np.concatenate([difference, -difference]), np.repeat([1, 0], len(difference)))
    unseen = held_out.chosen - held_out.rejected
    odds = trees.decision_function(unseen) - trees.decision_function(-unseen)
    return Judged(margin_accuracy(odds), odds / 2)


def _adamw(train: PairSet, held_out: PairSet, seed: int) -> Judged:
    """The two-layer ReLU network itself, trained on the Bradley-Terry loss; mean over seeds."""
    rows = np.concatenate([train.chosen, train.rejected])
    centre, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), i) for i in ADAMW_SEEDS])
    train_all = jax.vmap(_train_network, (0, None, None, None, None, None))
    networks = train_all(
        keys, train.chosen, train.rejected, centre, scale, jnp.asarray(LEARNING_RATE)
    )
    each = []
    for index in range(len(ADAMW_SEEDS)):
        network = jax.tree.map(operator.itemgetter(index), networks)
        each.append(_judged(functools.partial(_network, network, centre, scale), held_out).correct)
    return Judged(np.mean(each, axis=0))


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
    "default": _default,
    "paper": _paper,
    "mlp": _mlp,
    "tree": _tree,
    "adamw": _adamw,
}
