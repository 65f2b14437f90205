"""COALA in benchmarks/methods.py: this package with its defaults, and what it took."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from head_flops import counted_select
from methods_rows import HELD_OUT, TRAIN, read_part
from reporting import peak_memory

from coala_jax import CoalaError, PreferenceFeatures, RewardModel, solve
from coala_jax._accuracy import pairwise_accuracy
from coala_jax._fit_text import FittedText, fit_text
from coala_jax.backbones import Backbone
from coala_jax.data import read_rows
from coala_jax.features import extract_store
from coala_jax.study._read_pairs import pairs_of_table

STORE, HELD_OUT_STORE, HEAD = "features", "features-held-out", "head"
# ADMM steps after which the margin is looked at, while there are more.
TRACED = (25, 50, 75, 100, 150, 200, 300, 400)


class FittedHead(NamedTuple):
    """A head, and an account of it.

    Attributes:
        fitted: head and backbone.
        stages: of extraction and of the solves: operations, seconds, peak memory.
        correct: (n,) of the held-out pairs, 1 where ordered right, .5 for a tie.
        margins: mean log-odds of the training pairs against ADMM steps.
        report: what the package says of it, from left-out training pairs alone.
    """

    fitted: FittedText
    stages: list[dict[str, Any]]
    correct: np.ndarray
    margins: dict[str, list[float]]
    report: str


def fit_head(backbone: Backbone, rows: Path, seed: int, out: Path) -> FittedHead:
    """Fit a head to the training pairs of a cell, and judge it on the held-out ones.

    Args:
        backbone: frozen.
        rows: folder of the cell's rows.
        seed: of gates and folds.
        out: folder for the features and the head.
    """
    records = read_part(rows, TRAIN).records
    start = time.perf_counter()
    store = extract_store(read_rows(records), backbone, out / STORE)
    extracted = time.perf_counter()
    extraction = {
        "stage": "extraction",
        "flops": store.manifest["flops"],
        "seconds": extracted - start,
        "peak_bytes": peak_memory(),
    }
    # The store that is there is taken.
    model = RewardModel(random_state=seed)
    fitted = fit_text(records, backbone, estimator=model, store=out / STORE)
    solves = {
        "stage": "head",
        "seconds": time.perf_counter() - extracted,
        "peak_bytes": peak_memory(),
    }
    train = pairs_of_table("training pairs", store.table, read_rows(records).rows)
    features = PreferenceFeatures(train.chosen, train.rejected)
    counted = counted_select(
        model.params, features, train.keys, config=model.config, key=jax.random.key(seed)
    )
    if str(counted.selection.choice) != str(model.choice_):
        raise AssertionError("what was counted chose otherwise")
    solves |= {"flops": sum(counted.stages.values()), "parts": counted.stages}
    fitted.save(out / HEAD, overwrite=True)
    held_out = read_rows(read_part(rows, HELD_OUT).records)
    judged = extract_store(held_out, backbone, out / HELD_OUT_STORE)
    unseen = pairs_of_table("held-out pairs", judged.table, held_out.rows)
    correct = pairwise_accuracy(model.rewards(unseen.chosen), model.rewards(unseen.rejected))
    return FittedHead(
        fitted, [extraction, solves], correct, _margins(model, features), _report(fitted)
    )


def _report(fitted: FittedText) -> str:
    """What left-out pairs say; or why there were none."""
    try:
        return fitted.report()
    except CoalaError as error:
        return str(error)


def _margins(model: RewardModel, features: PreferenceFeatures) -> dict[str, list[float]]:
    """Margins of the training pairs by heads of solves that end after so many ADMM steps."""
    assert model.choice_ is not None  # RewardModel selects by default
    params, config = model.choice_.params, model.choice_.config
    taken = int(model.solution_.stats.phase1.iterations)
    steps = [count for count in TRACED if count < taken]
    heads = [
        solve(
            params,
            features,
            config=dataclasses.replace(config, max_iterations=count),
            key=jax.random.key(model.random_state),
        ).head
        for count in steps
    ]
    differences = [
        np.asarray(head(features.chosen) - head(features.rejected))
        for head in (*heads, model.head_)
    ]
    margins = [float(each.mean() / model.temperature_) for each in differences]
    return {"steps": [0.0, *map(float, steps), float(taken)], "values": [0.0, *margins]}
