"""The table and the pictures of benchmarks/methods.py, from the results of the cells."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from methods_pictures import draw_margins, draw_quality
from reporting import figure, interval, markdown, save
from sentiment_report import distinct

from coala_jax._intervals import cluster_interval, share_interval

if TYPE_CHECKING:
    from methods_cells import Cell
    from methods_plan import Plan

# How pairs are ordered, by the names that results have.
ORDERS = {
    "head": "by the head or reward",
    "implicit": "by implicit reward",
    "mean": "by mean log probability",
}
# A cell that is made, with its result.
Made = tuple["Cell", dict[str, Any]]
# What a method of a kind orders pairs by: its own objective's reward; of the others by the head.
OWN = {"untrained": "mean", "sft": "mean", "dpo": "implicit", "orpo": "mean"}
# DPO's orders that the others are held against.
AGAINST = ("implicit", "mean")


def write_report(cells: Sequence[Cell], arguments: argparse.Namespace) -> None:
    """Write what the cells that are made have found; nothing where there is none."""
    made = [(cell, cell.result) for cell in cells]
    whole: list[Made] = [(cell, result) for cell, result in made if result is not None]
    if not whole:
        return
    rows = [*_rows(whole)]
    # When, on what and with what the cells were made, not this table.
    result = {
        "command": arguments.command,
        "cells": len(whole),
        "of": len(cells),
        "dates": sorted({result["date"] for _, result in whole}),
        "devices": sorted({result["device"] for _, result in whole}),
        "versions": _versions(result["versions"] for _, result in whole),
        "trl": _versions(result["trl"]["versions"] for _, result in whole if "trl" in result),
        "rows": rows,
    }
    places = argparse.Namespace(out=arguments.results, name=arguments.name)
    save(places, result, table(result))
    draw_quality(arguments.results / f"{arguments.name}.png", rows)
    draw_margins(arguments.results / f"{arguments.name}-margins.png", _curves(whole))


def _versions(results: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Versions by package; of several, all."""
    found: dict[str, set[str]] = {}
    for versions in results:
        for name, version in versions.items():
            found.setdefault(name, set()).add(version)
    return {name: " and ".join(sorted(each)) for name, each in found.items()}


def _rows(whole: Sequence[Made]) -> Iterable[dict[str, Any]]:
    """A row a model, set and method, all seeds together."""
    places: dict[tuple[str, str, str], list[Made]] = {}
    for cell, result in whole:
        places.setdefault((cell.model, cell.data, cell.method), []).append((cell, result))
    for (model, data, method), found in places.items():
        dpo = {}
        if (reference := reference_of(found[0][0].plan)) != method:
            dpo = {cell.seed: (cell, r) for cell, r in places.get((model, data, reference), [])}
        kind = found[0][0].plan.methods[method].kind
        yield {
            "model": model,
            "set": data,
            "method": method,
            "kind": kind,
            "is_reference": reference == method,
            "own": OWN.get(kind, "head"),
            "seeds": [cell.seed for cell, _ in found],
            "accuracy": _accuracy([result for _, result in found]),
            "accuracy_by_seed": [float(_own(result, kind).mean()) for _, result in found],
            "minus_dpo": {order: _minus_dpo(found, dpo, order) for order in AGAINST},
            "answers": _answers(found, dpo),
            "cost": _cost(found),
        }


def reference_of(plan: Plan) -> str:
    """The method that the others are held against: the first of kind dpo, or none."""
    return next((name for name, method in plan.methods.items() if method.kind == "dpo"), "")


def _accuracy(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Share of held-out pairs ordered right, clustered by prompt or group over all seeds."""
    keys = [*itertools.chain(*(result["keys"] for result in results))]
    found = {}
    for order in ORDERS:
        values = [result["correct"][order] for result in results if order in result["correct"]]
        if values:
            joined = np.concatenate(values)
            found[order] = share_interval(joined, keys)._asdict()
    return found


def _own(result: Mapping[str, Any], kind: str) -> np.ndarray:
    """(n,) of the held-out pairs, by what a method of this kind orders them by."""
    return np.array(result["correct"][OWN.get(kind, "head")])


def _minus_dpo(
    found: Sequence[Made], dpo: Mapping[int, Made], order: str
) -> dict[str, float] | None:
    """Accuracy by a method's own order less that of DPO by one of its, on the same pairs."""
    both = [(each, dpo[each[0].seed]) for each in found if each[0].seed in dpo]
    if not both:
        return None
    kind = found[0][0].plan.methods[found[0][0].method].kind
    differences = [
        _own(result, kind) - np.array(other["correct"][order]) for (_, result), (_, other) in both
    ]
    keys = [*itertools.chain(*(result["keys"] for (_, result), _ in both))]
    return cluster_interval(np.concatenate(differences), keys)._asdict()


def _answers(found: Sequence[Made], dpo: Mapping[int, Made]) -> dict[str, Any]:
    """What is known of the answers, by way; and of those of DPO to the same prompts."""
    ways: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for cell, result in found:
        for way, made in result["answers"].items():
            ways.setdefault(way, {})[cell.seed] = _records(cell, made)
    others = {
        seed: _records(cell, result["answers"]["plain"])
        for seed, (cell, result) in dpo.items()
        if result["answers"]
    }
    return {
        way: {**_way([*by_seed.values()]), "direct_minus_dpo": _more_direct(by_seed, others)}
        for way, by_seed in ways.items()
    }


def _records(cell: Cell, made: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = (cell.folder / made["file"]).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _more_direct(
    by_seed: Mapping[int, Sequence[dict[str, Any]]],
    others: Mapping[int, Sequence[dict[str, Any]]],
) -> dict[str, float] | None:
    """Directness less that of DPO, paired by prompt."""
    both = [
        (own["key"], float(own["direct"]) - other["direct"])
        for seed in by_seed.keys() & others.keys()
        for own, other in zip(by_seed[seed], others[seed], strict=True)
    ]
    if not both:
        return None
    return cluster_interval(
        np.array([each for _, each in both]), [key for key, _ in both]
    )._asdict()


def _way(by_seed: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    records = [*itertools.chain(*by_seed)]
    tokens = sum(record["tokens"] for record in records)
    direct = np.array([record["direct"] for record in records], float)
    return {
        "direct": share_interval(direct, [record["key"] for record in records])._asdict(),
        "perplexity": float(np.exp(-sum(record["log_prob"] for record in records) / tokens)),
        # Of one seed at a time: more answers repeat more.
        "distinct_2": float(np.mean([distinct([r["text"] for r in each], 2) for each in by_seed])),
        "tokens": tokens / len(records),
        "evaluations_per_token": sum(record["evaluations"] for record in records) / tokens,
        "flops_per_token": sum(record["flops"] for record in records) / tokens,
    }


def _cost(found: Sequence[Made]) -> dict[str, Any]:
    """Means over seeds: by stage, of this method alone, of what it starts from, of its trials."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for _, result in found:
        for stage in result["stages"]:
            stages.setdefault(stage["stage"], []).append(stage)
    own = {
        stage: {
            "flops": _mean(each, "flops"),
            "seconds": _mean(each, "seconds"),
            "peak_bytes": max(max(one["peak_bytes"].values()) for one in each),
        }
        for stage, each in stages.items()
    }
    checks = [
        stage["counted_micro_batch"] / stage["formula_micro_batch"]
        for stage in stages.get("training", [])
        if stage["counted_micro_batch"]
    ]
    trials = [result.get("trials", []) for _, result in found]
    return {
        "stages": own,
        "flops": sum(stage["flops"] for stage in own.values()),
        "flops_before": float(np.mean([_flops_before(cell) for cell, _ in found])),
        "counted_over_formula": float(np.mean(checks)) if checks else None,
        "trials_flops": float(np.mean([sum(t["flops"] for t in each) for each in trials])),
        "settings": [_setting(cell, result) for cell, result in found if "setting" in result],
    }


def _mean(each: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([stage[name] for stage in each]))


def _flops_before(cell: Cell) -> int:
    """Of all that a cell starts from."""
    if (start := cell.start) is None:
        return 0
    result = start.result or {"stages": []}
    return sum(stage["flops"] for stage in result["stages"]) + _flops_before(start)


def _setting(cell: Cell, result: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen, and whether it lies at an end of what was tried."""
    method, chosen = cell.plan.methods[cell.method], result["setting"]
    ends = {
        name: len(tried) > 1 and chosen[name] in (min(tried), max(tried))
        for name, tried in (("learning_rate", method.learning_rate), ("beta", method.beta))
    }
    return {**chosen, "at_an_end": ends}


def _curves(whole: Sequence[Made]) -> list[dict[str, Any]]:
    """Margins against steps, of every cell that has them."""
    return [
        {
            "model": cell.model,
            "set": cell.data,
            "method": cell.method,
            "kind": cell.plan.methods[cell.method].kind,
            "seed": cell.seed,
            **result["margins"],
        }
        for cell, result in whole
        if result.get("margins")
    ]


def table(result: Mapping[str, Any]) -> str:
    """The rows as Markdown: pairs and cost, answers, and what guidance costs against training."""
    used = {"jax": result["versions"]["jax"], **result["trl"]}
    origin = [*result["dates"], *result["devices"], *(f"{name} {used[name]}" for name in used)]
    head = (
        f"{result['cells']} of {result['of']} cells; {', '.join(origin)}; "
        f"`{result['command']}`. 95 % intervals clustered by prompt, or by group where rows have "
        "groups, over all seeds, whose runs they take as one. * by its own reward. ! at an end of "
        "what was tried. Cells may have shared the cores: seconds are rough."
    )
    parts = [head, ""]
    for model, data in dict.fromkeys((row["model"], row["set"]) for row in result["rows"]):
        rows = [row for row in result["rows"] if (row["model"], row["set"]) == (model, data)]
        dpo = next((row["cost"]["flops"] for row in rows if row["is_reference"]), None)
        parts.append(
            markdown(
                f"**{model}, {data}**: held-out pairs and cost",
                PAIR_COLUMNS,
                [_pair_cells(row, dpo) for row in rows],
            )
        )
        answers = [(row, way) for row in rows for way in row["answers"]]
        if answers:
            parts.append(
                markdown(
                    f"**{model}, {data}**: answers to questions about held-out concepts",
                    ANSWER_COLUMNS,
                    [_answer_cells(row, way, dpo) for row, way in answers],
                )
            )
    return "\n".join(parts)


PAIR_COLUMNS = (
    "method",
    "seeds",
    *ORDERS.values(),
    "own order minus DPO's implicit",
    "minus DPO's mean log probability",
    "TFLOP",
    "of DPO's",
    "TFLOP of its start",
    "TFLOP of trials",
    "seconds",
    "peak GB",
    "counted / formula",
    "chosen settings",
)
ANSWER_COLUMNS = (
    "method",
    "way",
    "direct",
    "minus DPO",
    "perplexity",
    "distinct-2",
    "tokens",
    "evaluations a token",
    "MFLOP a token",
    "tokens until DPO's training is spent",
)


def _maybe(found: dict[str, float] | None) -> str:
    return "-" if found is None else interval(found)


def _pair_cells(row: Mapping[str, Any], dpo: float | None) -> list[str]:
    cost, accuracy = row["cost"], row["accuracy"]
    stages = cost["stages"].values()
    return [
        row["method"],
        ", ".join(map(str, row["seeds"])),
        *(
            (interval(accuracy[order]) + (" *" if order == row["own"] else ""))
            if order in accuracy
            else "-"
            for order in ORDERS
        ),
        *(_maybe(row["minus_dpo"][order]) for order in AGAINST),
        figure(cost["flops"] or None, ".4g", 1e12),
        figure(cost["flops"] / dpo if dpo and cost["flops"] else None, ".3f"),
        figure(cost["flops_before"] or None, ".4g", 1e12),
        figure(cost["trials_flops"] or None, ".4g", 1e12),
        figure(sum(stage["seconds"] for stage in stages) or None, ".0f"),
        figure(max((stage["peak_bytes"] for stage in stages), default=None), ".2f", 1e9),
        figure(cost["counted_over_formula"], ".3f"),
        "; ".join(dict.fromkeys(map(_setting_cell, cost["settings"]))) or "-",
    ]


def _setting_cell(setting: Mapping[str, Any]) -> str:
    """A learning rate and a beta; what lies at an end of what was tried has a mark."""
    words = [
        f"{setting[name]:g}" + ("!" if setting["at_an_end"][name] else "")
        for name in ("learning_rate", "beta")
        if setting[name]
    ]
    return ", ".join(words)


def _answer_cells(row: Mapping[str, Any], way: str, dpo: float | None) -> list[str]:
    made, plain = row["answers"][way], row["answers"].get("plain")
    more = made["flops_per_token"] - plain["flops_per_token"] if plain else 0.0
    left = None if dpo is None else dpo - row["cost"]["flops"]
    spent = left / more if left and left > 0 and way != "plain" and more > 0 else None
    return [
        row["method"],
        way,
        interval(made["direct"]),
        _maybe(made["direct_minus_dpo"]),
        figure(made["perplexity"], ".2f"),
        figure(made["distinct_2"], ".3f"),
        figure(made["tokens"], ".1f"),
        figure(made["evaluations_per_token"], ".2f"),
        figure(made["flops_per_token"], ".3g", 1e6),
        figure(spent, ".3g"),
    ]
