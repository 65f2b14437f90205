"""The table and the pictures of benchmarks/methods.py, from the results of the cells."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from methods_pictures import draw_margins, draw_quality
from reporting import account, figure, interval, markdown, origin, save
from sentiment_report import distinct

from coala_jax._intervals import cluster_interval, share_interval

if TYPE_CHECKING:
    from methods_cells import Cell

# How pairs are ordered, by the names that results have.
ORDERS = {
    "head": "by the head or reward",
    "implicit": "by implicit reward",
    "mean": "by mean log probability",
}
# What a method of a kind orders pairs by: its own objective's reward.
OWN = {"untrained": "mean", "sft": "mean", "dpo": "implicit", "orpo": "mean"}


def write_report(cells: Sequence[Cell], arguments: argparse.Namespace) -> None:
    """Write what the cells that are made have found; nothing where there is none."""
    made = [(cell, cell.result) for cell in cells]
    whole = [(cell, result) for cell, result in made if result is not None]
    if not whole:
        return
    rows = [*_rows(whole)]
    result = account(
        command=arguments.command,
        cells=len(whole),
        of=len(cells),
        machines=sorted({result["device"] for _, result in whole}),
        trl=_trl(whole),
        rows=rows,
    )
    places = argparse.Namespace(out=arguments.results, name=arguments.name)
    save(places, result, table(result))
    draw_quality(arguments.results / f"{arguments.name}.png", rows)
    draw_margins(arguments.results / f"{arguments.name}-margins.png", _curves(whole))


def _trl(whole: Iterable[tuple[Cell, Mapping[str, Any]]]) -> dict[str, str]:
    """Versions of TRL and what it stands on, as the first run said."""
    return next((result["trl"]["versions"] for _, result in whole if "trl" in result), {})


def _rows(whole: Sequence[tuple[Cell, dict[str, Any]]]) -> Iterable[dict[str, Any]]:
    """A row a model, set and method, all seeds together."""
    places: dict[tuple[str, str, str], list[tuple[Cell, dict[str, Any]]]] = {}
    for cell, result in whole:
        places.setdefault((cell.model, cell.data, cell.method), []).append((cell, result))
    for (model, data, method), found in places.items():
        yield {
            "model": model,
            "set": data,
            "method": method,
            "kind": found[0][0].plan.methods[method].kind,
            "seeds": [cell.seed for cell, _ in found],
            "accuracy": _accuracy([result for _, result in found]),
            "minus_dpo": _minus_dpo(found, places),
            "answers": _answers(found),
            "cost": _cost(found),
        }


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
    found: Sequence[tuple[Cell, Mapping[str, Any]]],
    places: Mapping[tuple[str, str, str], Sequence[tuple[Cell, Mapping[str, Any]]]],
) -> dict[str, float] | None:
    """Accuracy less that of DPO on the same pairs, each by its own order; of the seeds of both."""
    cell = found[0][0]
    kind = cell.plan.methods[cell.method].kind
    names = [name for name, method in cell.plan.methods.items() if method.kind == "dpo"]
    if kind == "dpo" or not names:
        return None
    others = {
        each.seed: result for each, result in places.get((cell.model, cell.data, names[0]), ())
    }
    both = [(result, others[each.seed]) for each, result in found if each.seed in others]
    if not both:
        return None
    differences = [_own(one, kind) - _own(other, "dpo") for one, other in both]
    keys = [*itertools.chain(*(one["keys"] for one, _ in both))]
    return cluster_interval(np.concatenate(differences), keys)._asdict()


def _answers(found: Sequence[tuple[Cell, Mapping[str, Any]]]) -> dict[str, Any]:
    """What is known of the answers, by way."""
    ways: dict[str, list[list[dict[str, Any]]]] = {}
    for cell, result in found:
        for way, made in result["answers"].items():
            lines = (cell.folder / made["file"]).read_text("utf-8").splitlines()
            ways.setdefault(way, []).append([json.loads(line) for line in lines])
    return {way: _way(records) for way, records in ways.items()}


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


def _cost(found: Sequence[tuple[Cell, Mapping[str, Any]]]) -> dict[str, Any]:
    """Means over seeds: by stage, of this method alone, and with what it starts from."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for _, result in found:
        for stage in result["stages"]:
            stages.setdefault(stage["stage"], []).append(stage)

    def mean(name: str, each: Sequence[Mapping[str, Any]]) -> float:
        return float(np.mean([stage[name] for stage in each]))

    own = {
        stage: {
            "flops": mean("flops", each),
            "seconds": mean("seconds", each),
            "peak_bytes": max(max(one["peak_bytes"].values()) for one in each),
        }
        for stage, each in stages.items()
    }
    checks = [
        stage["counted_micro_batch"] / stage["formula_micro_batch"]
        for stage in stages.get("training", [])
        if stage["counted_micro_batch"]
    ]
    start = [cell.start for cell, _ in found]
    before = [sum(s["flops"] for s in each.result["stages"]) for each in start if each is not None]  # type: ignore[index]
    return {
        "stages": own,
        "flops": sum(stage["flops"] for stage in own.values()),
        "flops_before": float(np.mean(before)) if before else 0.0,
        "counted_over_formula": float(np.mean(checks)) if checks else None,
        "trials_seconds": float(
            np.mean([sum(t["seconds"] for t in result.get("trials", [])) for _, result in found])
        ),
        "settings": [result["setting"] for _, result in found if "setting" in result],
    }


def _curves(whole: Sequence[tuple[Cell, dict[str, Any]]]) -> list[dict[str, Any]]:
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
    trl = ", ".join(f"{name} {version}" for name, version in result["trl"].items())
    head = (
        f"{result['cells']} of {result['of']} cells; {origin(dict(result))}; {trl}; "
        f"`{result['command']}`. 95 % intervals clustered by prompt, or by group where rows have "
        "groups, over all seeds."
    )
    parts = [head, ""]
    for model, data in dict.fromkeys((row["model"], row["set"]) for row in result["rows"]):
        rows = [row for row in result["rows"] if (row["model"], row["set"]) == (model, data)]
        dpo = next((row["cost"]["flops"] for row in rows if row["kind"] == "dpo"), None)
        seeds = ", ".join(map(str, rows[0]["seeds"]))
        parts.append(
            markdown(
                f"**{model}, {data}**, seeds {seeds}: held-out pairs and cost",
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
    *ORDERS.values(),
    "minus DPO, each by its own",
    "TFLOP",
    "of DPO's",
    "TFLOP of its start",
    "seconds",
    "seconds of trials",
    "peak GB",
    "counted / formula",
    "chosen settings",
)
ANSWER_COLUMNS = (
    "method",
    "way",
    "direct",
    "perplexity",
    "distinct-2",
    "tokens",
    "evaluations a token",
    "MFLOP a token",
    "tokens until DPO's training is spent",
)


def _pair_cells(row: Mapping[str, Any], dpo: float | None) -> list[str]:
    cost, accuracy = row["cost"], row["accuracy"]
    stages = cost["stages"].values()
    settings = dict.fromkeys(
        f"{each['learning_rate']:g}" + (f", {each['beta']:g}" if each["beta"] else "")
        for each in cost["settings"]
    )
    minus = row["minus_dpo"]
    return [
        row["method"],
        *(interval(accuracy[order]) if order in accuracy else "-" for order in ORDERS),
        "-" if minus is None else interval(minus),
        figure(cost["flops"] or None, ".4g", 1e12),
        figure(cost["flops"] / dpo if dpo and cost["flops"] else None, ".3f"),
        figure(cost["flops_before"] or None, ".4g", 1e12),
        figure(sum(stage["seconds"] for stage in stages) or None, ".0f"),
        figure(cost["trials_seconds"] or None, ".0f"),
        figure(max((stage["peak_bytes"] for stage in stages), default=None), ".2f", 1e9),
        figure(cost["counted_over_formula"], ".3f"),
        "; ".join(settings) or "-",
    ]


def _answer_cells(row: Mapping[str, Any], way: str, dpo: float | None) -> list[str]:
    made, plain = row["answers"][way], row["answers"].get("plain")
    more = made["flops_per_token"] - plain["flops_per_token"] if plain else 0.0
    left = None if dpo is None else dpo - row["cost"]["flops"]
    spent = left / more if left and left > 0 and way != "plain" and more > 0 else None
    return [
        row["method"],
        way,
        interval(made["direct"]),
        figure(made["perplexity"], ".2f"),
        figure(made["distinct_2"], ".3f"),
        figure(made["tokens"], ".1f"),
        figure(made["evaluations_per_token"], ".2f"),
        figure(made["flops_per_token"], ".3g", 1e6),
        figure(spent, ".3g"),
    ]
