"""What `coala-jax evaluate arena-hard` reports, as JSON says it and as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from coala_jax._intervals import Interval
from coala_jax.evaluation._benchmark_rows import Answers
from coala_jax.evaluation._interval_text import has_no_spread, same_for_every
from coala_jax.evaluation.arena_hard._games import Match
from coala_jax.evaluation.arena_hard._judgments import Judgments, Scoring
from coala_jax.evaluation.arena_hard._prompts import JudgePrompts
from coala_jax.evaluation.arena_hard._scores import PUBLISHED_LEVEL, ModelScore
from coala_jax.evaluation.arena_hard._style_control import StyleControl, StyleScore

NAME_WIDTH = 28
# In the place of an interval; the line under the tables has it in words.
SAME = "same"


def score_report(
    judgments: Judgments,
    scoring: Scoring,
    scores: Mapping[str, Sequence[ModelScore]],
    controls: Mapping[str, StyleControl],
    counter: str | None,
    notes: Sequence[str],
    sha256: Mapping[str, str | None],
) -> dict[str, Any]:
    """The result of `evaluate arena-hard score`, win rates in percent.

    Args:
        judgments: that were scored.
        scoring: how.
        scores: of the models, by category.
        controls: style control, by category; empty without it.
        counter: how tokens were counted; None without answers.
        notes: what must be known.
        sha256: of the files that were read.
    """
    baselines = {row.category: row.baseline for row in judgments.rows}
    return {
        "benchmark": "Arena-Hard",
        "scoring": scoring,
        "judges": sorted({row.judge for row in judgments.rows}),
        "tokens_counted_by": counter,
        "categories": {
            category: {
                "baseline": baselines[category],
                "models": [_score_fields(score) for score in found],
                "style_control": _control_fields(controls.get(category)),
            }
            for category, found in scores.items()
        },
        "published_interval": f"quantiles over resampled games, {_quantiles(scoring)}",
        "notes": list(notes),
        "sha256": dict(sha256),
    }


def score_lines(result: Mapping[str, Any]) -> list[str]:
    """A `score_report` for people."""
    lines = [f"judged by {', '.join(result['judges'])}; scored as {result['scoring']} does"]
    for category, found in result["categories"].items():
        lines += ["", f"{category}, against {found['baseline']} (= 50)"]
        lines += [*_score_table(found["models"]), "", *_order_table(found["models"])]
        if found["style_control"] is not None:
            lines += ["", f"{category}, style held fixed; all models of the files fitted together"]
            lines += _control_table(found["style_control"])
    lines += [
        "",
        f"95 %: clustered by question; {SAME}: {same_for_every()}. published: as the "
        f"benchmark's script has it, {result['published_interval']}; it takes games of a question "
        "for independent",
    ]
    counter = result["tokens_counted_by"]
    lengths = "give --answers to see lengths, which may explain a win rate"
    return [*lines, lengths if counter is None else f"tokens counted by: {counter}"]


def judge_report(
    matches: Sequence[Match],
    rows: Sequence[Mapping[str, Any]],
    prompts: JudgePrompts,
    answers: Answers,
    baselines: Sequence[Answers],
) -> dict[str, Any]:
    """What `evaluate arena-hard judge` did.

    Args:
        matches: that were judged.
        rows: what came of them.
        prompts: that the judge was given.
        answers: that were judged.
        baselines: that they were set against.
    """
    games = [game for row in rows for game in row["games"]]
    return {
        "benchmark": "Arena-Hard",
        "model": answers.system,
        "questions": len(matches),
        "games": len(games),
        "without_reply": sum(game is None for game in games),
        "without_label": sum(game is not None and game["score"] is None for game in games),
        "baselines": {match.question.category: match.baseline for match in matches},
        "system_prompt": prompts.system_from,
        "template": prompts.template_from,
        "judge_wording": {each.question.category: each.wording._asdict() for each in matches},
        "sha256": {each.name: each.sha256 for each in (answers, *baselines)},
    }


def judge_lines(result: Mapping[str, Any]) -> list[str]:
    """A `judge_report` for people."""
    against = ", ".join(f"{name} ({category})" for category, name in result["baselines"].items())
    return [
        f"{result['model']} on {result['questions']} questions, two games each, against {against}",
        f"{result['games']} games; {result['without_reply']} without a reply, "
        f"{result['without_label']} whose reply has no label",
        f"system prompt: {result['system_prompt']}",
        f"template: {result['template']}",
    ]


def _score_fields(score: ModelScore) -> dict[str, Any]:
    return {
        "model": score.model,
        "win_rate": 100 * score.win_rate.mean,
        "interval_95": _ends(score.win_rate),
        "published_interval": _ends(score.published),
        "elo": score.elo,
        "questions": score.questions,
        "games": score.games,
        "games_without_label": score.null,
        "consistent": 100 * score.order.consistent.mean,
        "consistent_interval_95": _ends(score.order.consistent),
        "won_by_first": 100 * score.order.first.mean,
        "won_by_first_interval_95": _ends(score.order.first),
        "tokens": None if score.lengths is None else score.lengths.model,
        "baseline_tokens": None if score.lengths is None else score.lengths.baseline,
        "longer": None if score.lengths is None else 100 * score.lengths.longer,
    }


def _control_fields(control: StyleControl | None) -> dict[str, Any] | None:
    if control is None:
        return None
    return {
        "models": [_style_fields(score) for score in control.scores],
        "coefficients": {
            name: {"value": found.mean, "interval_95": [found.low, found.high]}
            for name, found in control.coefficients.items()
        },
        "questions": control.questions,
        "games": control.games,
    }


def _style_fields(score: StyleScore) -> dict[str, Any]:
    return {
        "model": score.model,
        "score": 100 * score.score.mean,
        "interval_95": _ends(score.score),
        "published_score": 100 * score.published.mean,
        "published_interval": _ends(score.published),
        "equal_style": 100 * score.equal_style.mean,
        "equal_style_interval_95": _ends(score.equal_style),
    }


def _score_table(models: Iterable[Mapping[str, Any]]) -> list[str]:
    head = (
        f"{'model':<{NAME_WIDTH}} {'win %':>6} {'95 %':>14} {'published':>14} {'tokens':>7} "
        f"{'baseline':>8} {'longer %':>8} {'questions':>9} {'no label':>8}"
    )
    return [head] + [
        f"{model['model']:<{NAME_WIDTH}} {_figure(model['win_rate'])} "
        f"{_by_question(model['interval_95'])} {_range(model['published_interval'])} "
        f"{_figure(model['tokens'], 7, 0)} {_figure(model['baseline_tokens'], 8, 0)} "
        f"{_figure(model['longer'], 8)} {model['questions']:>9} "
        f"{model['games_without_label']:>8}"
        for model in models
    ]


def _order_table(models: Iterable[Mapping[str, Any]]) -> list[str]:
    head = f"{'the order of the answers':<{NAME_WIDTH}} {'same %':>6} {'95 %':>14} {'first %':>7}"
    return [f"{head} {'95 %':>14}"] + [
        f"{model['model']:<{NAME_WIDTH}} {_figure(model['consistent'])} "
        f"{_by_question(model['consistent_interval_95'])} {_figure(model['won_by_first'], 7)} "
        f"{_by_question(model['won_by_first_interval_95'])}"
        for model in models
    ]


def _control_table(control: Mapping[str, Any]) -> list[str]:
    head = (
        f"{'model':<{NAME_WIDTH}} {'score':>6} {'95 %':>14} {'published':>14} "
        f"{'alike in style':>14} {'95 %':>14}"
    )
    rows = [
        f"{model['model']:<{NAME_WIDTH}} {_figure(model['score'])} {_range(model['interval_95'])} "
        f"{_range(model['published_interval'])} {_figure(model['equal_style'], 14)} "
        f"{_range(model['equal_style_interval_95'])}"
        for model in control["models"]
    ]
    coefficients = ", ".join(
        f"{name} {_figure(found['value'], 0, 2)} {_range(found['interval_95'], 0, 2)}"
        for name, found in control["coefficients"].items()
    )
    return [head, *rows, f"logit by a standard deviation: {coefficients}"]


def _ends(interval: Interval) -> list[float]:
    return [100 * interval.low, 100 * interval.high]


def _figure(value: float | None, width: int = 6, digits: int = 1) -> str:
    text = "-" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"
    return f"{text:>{width}}"


def _range(ends: Sequence[float], width: int = 14, digits: int = 1) -> str:
    return f"{f'[{_figure(ends[0], 0, digits)}, {_figure(ends[1], 0, digits)}]':>{width}}"


def _by_question(ends: Sequence[float]) -> str:
    low, high = ends
    return f"{SAME:>14}" if has_no_spread(Interval(low, low, high)) else _range(ends)


def _quantiles(scoring: Scoring) -> str:
    level = PUBLISHED_LEVEL[scoring]
    return f"{50 * (1 - level):g} to {50 * (1 + level):g} %"
