"""Held-out accuracy on preference pairs with a real model's features, over layers and poolings.

The protocol is that of accuracy.py: splits by prompt, a fifth held out, a pair's score the share of
the splits that held it out in which it was ordered right, intervals clustered by prompt. The
features are hidden states of several layers, pooled over the response by its mean, by its last
token, and by both. Which of these a head gets is chosen inside the training pairs, by the linear
probe's accuracy on left-out ones; the default head and the probe then train on the same columns.
Beside them stand the length rule and, for every layer and pooling, the probe.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from accuracy import HELD_OUT, Totals, rows_of, training_rows
from accuracy_methods import METHODS, Judged
from reporting import account, interval, markdown, origin
from resumed_parts import Parts

from coala_jax._calibration import log_losses
from coala_jax.backbones import Backbone, load_backbone
from coala_jax.data import PreferenceRow, RowSet, read_rows
from coala_jax.features import ExtractSettings, extract_store
from coala_jax.features._distinct import set_same_aside
from coala_jax.study._baselines import fit_linear_probe
from coala_jax.study._hold_out import hold_out
from coala_jax.study._pair_set import PairSet
from coala_jax.study._read_pairs import pairs_of_table

SETS = ("webgpt", "hh_helpful", "alpaca_eval_v2")
POOLINGS = ("mean", "last")
BOTH = "+".join(POOLINGS)
# Pairs of a part of the extraction, and of a shard of its store: some minutes.
PAIRS_A_PART = 250
LAST_LAYER = "default, last layer"


def result_of(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """The sets that are whole, made as far as the time goes; None where there is none."""
    backbone = load_backbone(arguments.model, engine=arguments.engine)
    parts = Parts(
        arguments.out,
        {
            "task": "preference pairs",
            "backbone": backbone.identity._asdict(),
            "dtype": backbone.module.dtype.name,
            "layers": arguments.layers,
            "rows": arguments.rows,
            "seed": arguments.seed,
        },
        arguments.end,
    )
    found, rows = {}, []
    for name in SETS:
        pairs = _pairs(name, backbone, arguments, parts)
        splits = None if pairs is None else _splits(name, pairs, arguments, parts)
        if pairs is None or splits is None:
            continue
        chosen = [split["columns"] for split in splits]
        found[name] = {"pairs": len(pairs.keys), "chosen": chosen, "cut": pairs.cut}
        rows += rows_of(name, None, [_totals(name, pairs, splits)])
    if not found:
        return None
    return account(
        command=arguments.command,
        backbone=backbone.identity._asdict(),
        splits=arguments.splits,
        seed=arguments.seed,
        sets=found,
        rows=rows,
    )


def _pairs(
    name: str, backbone: Backbone, arguments: argparse.Namespace, parts: Parts
) -> PairSet | None:
    """The pairs of a set with all layers and poolings; None where the time is up before."""
    rows = _first(read_rows(arguments.data / f"{name}.jsonl.gz").rows, arguments)
    settings = ExtractSettings(
        pooling=BOTH, layers=tuple(arguments.layers), shard_rows=PAIRS_A_PART
    )
    row_set = set_same_aside(RowSet(tuple(rows)), backbone, settings.template)
    made: list[PairSet] = []
    for start in range(0, len(row_set.rows), PAIRS_A_PART):
        folder = parts.folder / f"{name}-from-{start}"
        if parts.is_over and not folder.exists():
            return None
        own = RowSet(row_set.rows[start : start + PAIRS_A_PART])
        store = extract_store(own, backbone, folder, settings=settings)
        pairs = pairs_of_table(name, store.table, own.rows)
        made.append(pairs._replace(cut=store.manifest["cut"]))
    return joined(made)


def joined(made: Sequence[PairSet]) -> PairSet:
    """The pairs of all parts of a set; where a part says no weights or margins, they are plain."""

    def together(name: str, plain: float | None = None) -> np.ndarray | None:
        arrays = [getattr(each, name) for each in made]
        if all(array is None for array in arrays):
            return None
        return np.concatenate(
            [
                np.full(len(each.keys), plain, np.float32) if array is None else array
                for each, array in zip(made, arrays, strict=True)
            ]
        )

    return made[0]._replace(
        chosen=np.concatenate([each.chosen for each in made]),
        rejected=np.concatenate([each.rejected for each in made]),
        keys=tuple(itertools.chain(*(each.keys for each in made))),
        lengths=together("lengths"),
        weight=together("weight", 1.0),
        margin=together("margin", 0.0),
        cut={part: sum((each.cut or {})[part] for each in made) for part in made[0].cut or {}},
        prompt_hashes=None,
    )


def _first(rows: Sequence[PreferenceRow], arguments: argparse.Namespace) -> list[PreferenceRow]:
    """So many rows of an order by hash: of many prompts, where a prompt has several."""

    def place(row: PreferenceRow) -> bytes:
        return hashlib.sha256(f"{arguments.seed}:{row.id}".encode()).digest()

    return sorted(rows, key=place)[: arguments.rows]


def _columns(layers: Sequence[int], width: int) -> dict[str, slice]:
    """Columns of a store by layer and pooling: those of a layer stand together."""
    found = {}
    for place, layer in enumerate(layers):
        start = place * len(POOLINGS) * width
        for number, pooling in enumerate(POOLINGS):
            own = start + number * width
            found[f"layer {layer}, {pooling}"] = slice(own, own + width)
        found[f"layer {layer}, {BOTH}"] = slice(start, start + len(POOLINGS) * width)
    return found


def _splits(
    name: str, pairs: PairSet, arguments: argparse.Namespace, parts: Parts
) -> list[dict[str, Any]] | None:
    found = [
        parts.made(f"{name}-split-{seed}", lambda seed=seed: _split(pairs, arguments.layers, seed))
        for seed in range(arguments.splits)
    ]
    return None if None in found else found


def _split(pairs: PairSet, layers: Sequence[int], seed: int) -> dict[str, Any]:
    """Which pairs were held out, the columns that were chosen, and who ordered what right."""
    out = hold_out(pairs, HELD_OUT, seed)
    train, held_out = pairs.take(training_rows(out, seed, None)), pairs.take(out)
    columns = _columns(layers, pairs.chosen.shape[1] // (len(layers) * len(POOLINGS)))
    judged, validation = {}, {}
    for name, own in columns.items():
        probe = fit_linear_probe(_take(train, own), seed)
        if probe is None:
            raise ValueError(f"{pairs.source}: the training rows hold a single prompt")
        judged[f"probe, {name}"] = Judged(probe.correct(_take(held_out, own)))
        validation[name] = max(probe.validation)
    chosen = max(validation, key=validation.__getitem__)
    some = [_take(part, columns[chosen]) for part in (train, held_out)]
    judged = {
        "probe": METHODS["probe"](*some, seed),
        "default": METHODS["default"](*some, seed),
        "length": METHODS["length"](*some, seed),
        **judged,
    }
    if layers[-1] == -1:  # what `extract` does without options
        own = columns[f"layer -1, {BOTH}"]
        judged[LAST_LAYER] = METHODS["default"](_take(train, own), _take(held_out, own), seed)
    return {
        "columns": chosen,
        "held_out": np.flatnonzero(out).tolist(),
        "validation": validation,
        "correct": {name: one.correct.tolist() for name, one in judged.items()},
        "log_odds": {
            name: one.log_odds.tolist() for name, one in judged.items() if one.log_odds is not None
        },
    }


def _take(pairs: PairSet, columns: slice) -> PairSet:
    return pairs._replace(chosen=pairs.chosen[:, columns], rejected=pairs.rejected[:, columns])


def _totals(name: str, pairs: PairSet, splits: Sequence[Mapping[str, Any]]) -> Totals:
    """What accuracy.py counts, of the splits of a set."""
    zeros = np.zeros(len(pairs.keys))
    keys = [f"{name}/{key}" for key in pairs.keys]
    correct = {method: zeros.copy() for method in splits[0]["correct"]}
    loss = {method: zeros.copy() for method in splits[0]["log_odds"]}
    odds: dict[str, list[np.ndarray]] = {method: [] for method in loss}
    totals = Totals(keys, zeros.copy(), correct, loss, odds)
    for split in splits:
        out = split["held_out"]
        totals.count[out] += 1
        for method, right in split["correct"].items():
            correct[method][out] += right
        for method, each in split["log_odds"].items():
            loss[method][out] += log_losses(np.array(each))
            odds[method].append(np.array(each))
    return totals


def table(result: Mapping[str, Any]) -> str:
    """The rows as Markdown."""
    model = f"{result['backbone']['name']} ({result['backbone']['model_type']})"
    head = (
        f"Held-out pairs over {result['splits']} splits by prompt, features of {model}. Layer and "
        "pooling of `probe` and `default` are chosen inside the training pairs; `probe, layer …` "
        "has those that it names. 95 % intervals clustered by prompt. "
        f"{origin(dict(result))}; `{result['command']}`."
    )
    columns = ("set", "method", "pairs in prompts", "accuracy", "minus probe", "log loss")
    rows = [
        [
            row["set"],
            row["method"],
            f"{row['pairs']} in {row['prompts']}",
            *(
                "-" if row[name] is None else interval(row[name])
                for name in ("accuracy", "minus_probe", "log_loss")
            ),
        ]
        for row in result["rows"]
    ]
    return markdown(head, columns, rows)
