"""Controlled sentiment on a real model: rows of what was made, their table, their picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from reporting import account, interval, markdown, origin, say
from sentiment_runs import (
    BEST_OF,
    DEVELOPMENT,
    HELD_OUT,
    NEW_TOKENS,
    PLAIN,
    POOLING,
    Method,
    Run,
    Sentiment,
    sampled,
)
from sentiment_task import Judges

from coala_jax._intervals import cluster_interval
from coala_jax.decoding import Sampling

# Words of some 32 tokens, to which the judges' test reviews are cut.
CUT_WORDS = 25
MARKERS = "*os^D<>vphX"
JUDGES = {"tfidf": "TF-IDF", "vader": "VADER"}
# Rows, a method and its scale, whose difference is asked for; a method without scales has none.
DEFAULT, VALUED, CONTROL = (
    "N = 1, 2 candidates",
    "value head, N = 1, 2 candidates",
    "plain, top-k 2",
)
COMPARED = (
    ((DEFAULT, 8.0), (CONTROL, None)),
    ((VALUED, 8.0), (CONTROL, None)),
    ((VALUED, 8.0), (DEFAULT, 8.0)),
    ((DEFAULT, 32.0), (DEFAULT, 8.0)),
    ((f"{DEFAULT}, best", None), (DEFAULT, 8.0)),
    ((VALUED, 32.0), (VALUED, 8.0)),
    ((f"{VALUED}, best", None), (VALUED, 8.0)),
)

Records = Sequence[Mapping[str, Any]]


class Judged(NamedTuple):
    """Responses, and by judge their (n,) scores."""

    records: Records
    scores: dict[str, np.ndarray]


def result_of(task: Sentiment) -> dict[str, Any] | None:
    """All runs that are whole; None before plain sampling is."""
    judges = Judges(task.reviews["judge"], CUT_WORDS)

    def judged(records: Records | None) -> Judged | None:
        if records is None:
            return None
        texts = [record["text"] for record in records]
        return Judged(records, {name: getattr(judges, name)(texts) for name in JUDGES})

    plain = judged(task.records(sampled([0])[0])) if task.by_layer else None
    if plain is None:
        return None
    found = [(PLAIN.name, None, True, plain)]
    found += [(f"best of {n}", None, True, judged(task.best_of(n))) for n in BEST_OF]
    for method in task.methods:
        tried = {s: judged(task.records(Run(DEVELOPMENT, method, s))) for s in method.scales}
        chosen = _best_scale(method, tried)
        for scale in method.scales:
            made = judged(task.records(Run(HELD_OUT, method, scale)))
            shown = scale if len(method.scales) > 1 else None
            found.append((method.name, shown, scale == chosen, made))
    return account(
        command=task.arguments.command,
        backbone=task.backbone.identity._asdict(),
        seed=task.arguments.seed,
        prompts=len(task.prompts[HELD_OUT]),
        development_prompts=len(task.prompts[DEVELOPMENT]),
        new_tokens=NEW_TOKENS,
        sampling={name: getattr(Sampling(), name) for name in ("temperature", "top_p", "top_k")},
        pairs=len(task.pairs),
        layer=task.layer,
        by_layer={str(layer): each for layer, each in task.by_layer.items()},
        judges=judges.accuracy,
        rows=[
            {"method": name, "scale": scale, "chosen": chosen, **_figures(made, plain)}
            for name, scale, chosen, made in found
            if made is not None
        ],
        compared=_compared({(name, scale): made for name, scale, _, made in found if made}),
    )


def _compared(known: Mapping[tuple[str, float | None], Judged]) -> list[dict[str, Any]]:
    """Paired differences of the rows of ``COMPARED`` that are there."""
    found = []
    for one, other in COMPARED:
        if one not in known or other not in known:
            continue
        prompts = [record["prompt"] for record in known[one].records]
        gains = {
            judge: cluster_interval(scores - known[other].scores[judge], prompts)._asdict()
            for judge, scores in known[one].scores.items()
        }
        found.append({"method": _named(*one), "minus": _named(*other), **gains})
    return found


def _named(method: str, scale: float | None) -> str:
    return method if scale is None else f"{method}, scale {scale:g}"


def _best_scale(method: Method, tried: Mapping[float, Judged | None]) -> float | None:
    """The scale of most sentiment on development prompts; None before all are known.

    The judges count alike, VADER's score moved from [-1, 1] to [0, 1].
    """
    if len(method.scales) == 1:
        return method.scales[0]
    means = {
        scale: float(np.mean(made.scores["tfidf"] + made.scores["vader"] / 2))
        for scale, made in tried.items()
        if made is not None
    }
    return max(means, key=means.__getitem__) if len(means) == len(method.scales) else None


def _figures(made: Judged, plain: Judged) -> dict[str, Any]:
    """Of a row; intervals are by prompt, gains are paired."""
    prompts = [record["prompt"] for record in made.records]

    def column(name: str, of: Judged = made) -> np.ndarray:
        return np.array([record[name] for record in of.records], float)

    figures: dict[str, Any] = {}
    for judge, scores in made.scores.items():
        figures[judge] = cluster_interval(scores, prompts)._asdict()
        gain = scores - plain.scores[judge]
        figures[f"{judge}_minus_plain"] = cluster_interval(gain, prompts)._asdict()
    tokens = column("tokens")
    log_probs = cluster_interval(column("log_prob") / tokens, prompts, tokens)
    evaluations = float(column("evaluations").mean())
    return {
        **figures,
        "reward": cluster_interval(column("reward"), prompts)._asdict(),
        "log_prob": log_probs._asdict(),
        "distinct": [distinct([r["text"] for r in made.records], n) for n in (1, 2)],
        "tokens": float(tokens.mean()),
        "guided_steps": float(column("guided_steps").mean()),
        "near_ties": int(column("near_ties").sum()),
        "evaluations": evaluations,
        "cost": evaluations / float(column("evaluations", plain).mean()),
    }


def distinct(texts: Sequence[str], n: int) -> float:
    """Share of different n-grams of words among those of all texts (Li et al. 2016)."""
    words = [text.lower().split() for text in texts]
    grams = [tuple(w[at : at + n]) for w in words for at in range(len(w) - n + 1)]
    return len(set(grams)) / max(len(grams), 1)


def table(result: Mapping[str, Any]) -> str:
    """The rows as Markdown."""
    columns = (
        *("method", "scale", "TF-IDF", "minus plain", "VADER", "minus plain", "reward"),
        *("log-likelihood a token", "distinct-1, 2", "tokens", "cost"),
    )
    rows = markdown(_head(result), columns, map(_cells, result["rows"]))
    if not result["compared"]:
        return rows
    compared = markdown(
        "Differences, paired by prompt:",
        ("method", "minus", *JUDGES.values()),
        (
            [c["method"], c["minus"], *(interval(c[judge]) for judge in JUDGES)]
            for c in result["compared"]
        ),
    )
    return f"{rows}\n{compared}"


def _head(result: Mapping[str, Any]) -> str:
    judges, sampling = result["judges"], result["sampling"]
    model = f"{result['backbone']['name']} ({result['backbone']['model_type']})"
    accuracy = result["by_layer"][str(result["layer"])]["accuracy"]
    tested = "; ".join(
        f"{shown} {judges['whole'][name]:.3f} and {judges['cut'][name]:.3f}"
        for name, shown in JUDGES.items()
    )
    return (
        f"{result['prompts']} beginnings of held-out film reviews, {result['new_tokens']} new "
        f"tokens of {model}, temperature {sampling['temperature']:g}, top-p "
        f"{sampling['top_p']:g}, top-k {sampling['top_k']}, the same draws for all, seed "
        f"{result['seed']}. Head: {result['pairs']} pairs of other reviews, layer "
        f"{result['layer']}, {POOLING} pooling, {accuracy:.3f} of left-out pairs in order. Judges' "
        f"accuracy on held-out reviews of a third part, whole and cut to {CUT_WORDS} words: "
        f"{tested}. 95 % intervals by prompt; * the scale of most sentiment on "
        f"{result['development_prompts']} other prompts. Cost: tokens run, as multiples of plain "
        "sampling's. All but the paper's form score prefixes as they stand. "
        f"{origin(dict(result))}; `{result['command']}`."
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    own = row["method"] == PLAIN.name
    cells = [row["method"], "" if row["scale"] is None else f"{row['scale']:g}"]
    if row["scale"] is not None and row["chosen"]:
        cells[1] += " *"
    for judge in JUDGES:
        cells += [interval(row[judge]), "" if own else interval(row[f"{judge}_minus_plain"])]
    return [
        *cells,
        f"{row['reward']['mean']:+.2f}",
        interval(row["log_prob"]),
        ", ".join(f"{share:.3f}" for share in row["distinct"]),
        f"{row['tokens']:.1f}",
        f"{row['cost']:.2f}",
    ]


def draw(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Both judges against log-likelihood and against cost: a line a method, a point a scale."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        say("no picture: pip install '.[plot]'")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, 2, figsize=(13, 9), sharey="row", constrained_layout=True)
    measures = {
        "log-likelihood a token under the frozen model": lambda row: row["log_prob"]["mean"],
        "tokens run, as multiples of plain sampling's": lambda row: row["cost"],
    }
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        name = "best of n" if row["method"].startswith("best of") else row["method"]
        lines.setdefault(name, []).append(row)
    for axes_row, (judge, shown) in zip(grid, JUDGES.items(), strict=True):
        for axes, (label, of) in zip(axes_row, measures.items(), strict=True):
            axes.set_prop_cycle(color=matplotlib.colormaps["tab20"].colors)
            for number, (name, own) in enumerate(lines.items()):
                means = [row[judge]["mean"] for row in own]
                reach = [row[judge]["mean"] - row[judge]["low"] for row in own]
                axes.errorbar(
                    [of(row) for row in own],
                    means,
                    reach,
                    marker=MARKERS[number % len(MARKERS)],
                    label=name,
                    elinewidth=0.5,
                    linestyle="--" if name.startswith("best of") else "-",
                )
                for row in own if len(own) > 1 else ():
                    text = row["method"][8:] if row["scale"] is None else f"{row['scale']:g}"
                    place = of(row), row[judge]["mean"]
                    offset = {"textcoords": "offset points", "xytext": (3, 3), "fontsize": 7}
                    axes.annotate(text, place, **offset)
            axes.set_xlabel(label)
        axes_row[0].set_ylabel(f"{shown}, with 95 % intervals by prompt")
        axes_row[1].set_xscale("log", base=2)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
