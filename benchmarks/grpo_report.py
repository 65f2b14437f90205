"""The tables of benchmarks/grpo.py: what rounds and GRPO have learnt, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from reporting import interval, markdown, origin
from rounds import BEFORE
from rounds_bill import PARTS

from coala_jax._intervals import cluster_interval, share_interval
from coala_jax.improvement._settings import PLAIN

TERA = 1e12
ANSWERS = (
    *("model", "way", "direct", "minus before", "minus GRPO"),
    *("evaluations a token", "tokens sampled", "TFLOP"),
)
BILL = ("", "answers", "features", "head", "training", "reference")
TRIED = (
    *(
        "seed",
        "learning rate",
        "questions",
        "reward",
        "reward in the first tenth of training",
        "in the last",
    ),
    *("steps", "tokens", "TFLOP"),
)


def table(result: Mapping[str, Any]) -> str:
    """What was learnt over all seeds, what it cost, and which learning rates were tried."""
    places: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        places.setdefault((row["head"], row["way"]), []).append(row)
    before = {row["seed"]: row["direct"] for row in places[BEFORE, PLAIN]}
    grpo = {row["seed"]: row["direct"] for row in places["GRPO", PLAIN]}
    answers = markdown(
        f"Held-out questions; tokens and operations until then, of all seeds. {origin(result)}.",
        ANSWERS,
        (
            [
                *(head, way),
                interval(share_interval(*joined(some))._asdict()),
                minus(some, before),
                minus(some, grpo),
                f"{np.mean([row['evaluations a token'] for row in some]):.2f}",
                sum(row.get("tokens", 0) for row in some) or "-",
                f"{sum(row['flops'] for row in some) / TERA:.2f}" if "flops" in some[0] else "-",
            ]
            for (head, way), some in places.items()
        ),
    )
    bill = markdown(
        "TFLOP by part, of all seeds.",
        BILL,
        parts(result),
    )
    tried = markdown(
        "Learning rates: mean reward of answers to held-back training questions.",
        TRIED,
        (
            [
                *(
                    one["seed"],
                    f"{one['learning_rate']:g}",
                    one["held_back"],
                    f"{one['reward']:.3f}",
                ),
                *(f"{np.mean(part):.3f}" for part in ends(one["rewards"])),
                *(one["steps"], one["tokens"]),
                f"{sum(one['flops'].values()) / TERA:.2f}",
            ]
            for one in result["tried"]
        ),
    )
    return "\n".join([answers, bill, tried])


def joined(rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, list[str]]:
    """Directness of all seeds, and clusters: concepts are split alike for all."""
    clusters = [group for row in rows for group in row["groups"]]
    return np.concatenate([row["direct"] for row in rows]), clusters


def minus(rows: Sequence[dict[str, Any]], other: Mapping[int, Sequence[float]]) -> str:
    """Difference to other answers to the same questions; a dash for the same answers."""
    values, clusters = joined(rows)
    differences = values - np.concatenate([other[row["seed"]] for row in rows])
    if all(row["direct"] is other[row["seed"]] for row in rows):
        return "-"
    return interval(cluster_interval(differences, clusters)._asdict())


def parts(result: Mapping[str, Any]) -> Iterator[list[str]]:
    """Rows of the bill: the rounds, every run of GRPO, and all of its trials."""

    def shown(*flops: int | None) -> list[str]:
        return ["-" if each is None else f"{each / TERA:.3f}" for each in flops]

    number = max(len(bill) for bill in result["bills"])
    for place in range(number):
        some = [bill[place] for bill in result["bills"] if place < len(bill)]
        sums = [sum(each[part] for each in some) for part in PARTS]
        yield [f"improve, round {place}", *shown(*sums, None, None)]
    runs: dict[str, list[dict[str, Any]]] = {}
    for one in [*result["runs"], *({**one, "name": "GRPO's trials"} for one in result["tried"])]:
        runs.setdefault(one["name"], []).append(one["flops"])
    for name, some in runs.items():
        generation, training, reference = (
            sum(each[part] for each in some) for part in ("generation", "training", "reference")
        )
        yield [name, *shown(generation, None, None, training, reference)]


def ends(values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """The first tenth and the last, one at least."""
    tenth = max(len(values) // 10, 1)
    return values[:tenth], values[-tenth:]
