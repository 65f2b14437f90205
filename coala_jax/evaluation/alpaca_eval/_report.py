"""A score in words, as a JSON object, and as a row of the leaderboard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coala_jax._files import write_text
from coala_jax._intervals import LEVEL, Interval
from coala_jax._json import json_text
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.alpaca_eval._length_controlled import LengthControlled, is_extreme
from coala_jax.evaluation.alpaca_eval._score import Score

# Whose evaluation a row of the leaderboard is: all but the authors' own are of the community.
MODE = "community"
NO_GAMED = (
    "no length-controlled win rate: it needs df_gamed.csv of the hub set tatsu-lab/alpaca_eval, "
    "whose rows tie the weight of length"
)
NOT_COMPARABLE = "of our own, not comparable with the leaderboard's length-controlled one"


def leaderboard_row(score: Score) -> dict[str, Any]:
    """The columns of the leaderboard, in its order; None where there is no figure."""
    won, controlled = score.won, score.length_controlled
    return {
        "win_rate": won.win_rate,
        "standard_error": won.standard_error,
        "n_wins": won.n_wins,
        "n_wins_base": won.n_wins_base,
        "n_draws": won.n_draws,
        "n_total": won.n_total,
        "discrete_win_rate": won.discrete_win_rate,
        "mode": MODE,
        "avg_length": int(score.lengths[1]),
        "length_controlled_winrate": None if controlled is None else controlled.win_rate,
        "lc_standard_error": None if controlled is None else controlled.standard_error,
    }


def write_leaderboard(path: Path, model: str, row: Mapping[str, Any]) -> None:
    """Write a row as a table of one, whole or not at all.

    Args:
        path: ``.csv``, as the leaderboard's files are, or ``.json``: an object by model.
        model: its name.
        row: of `leaderboard_row`.

    Raises:
        EvaluationError: a path of another kind.
    """
    require_leaderboard_name(path)
    if path.suffix == ".json":
        write_text(path, json_text({model: row}))
        return
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([["", *row], [model, *row.values()]])
    write_text(path, table.getvalue())


def require_leaderboard_name(path: Path) -> None:
    """Raise where a file is called neither ``.csv`` nor ``.json``."""
    if path.suffix not in (".csv", ".json"):
        raise EvaluationError(f"{path}: a leaderboard is a .csv or a .json file")


def score_report(score: Score) -> dict[str, Any]:
    """All figures, where they come from, and what they cannot say, as JSON can say it."""
    annotations = score.annotations
    return {
        "model": annotations.model,
        "baseline": annotations.baseline,
        "annotator": annotations.annotator,
        "annotations": {"file": annotations.name, "sha256": annotations.sha256},
        "instructions": {"judged": len(annotations.rows), "of_set": score.of_set},
        **leaderboard_row(score),
        "avg_length_baseline": int(score.lengths[0]),
        "level": LEVEL,
        "win_rate_interval": _ends(score.won.interval),
        "length_controlled": _regression(score.length_controlled),
        "length_adjusted": _regression(score.length_adjusted),
        "warnings": score_warnings(score),
    }


def score_warnings(score: Score) -> list[str]:
    """What a reader must know before the figures are used."""
    notes = []
    judged = len(score.annotations.rows)
    if unread := judged - score.won.n_total:
        notes.append(f"{unread} of {judged} preferences could not be read and are left out")
    if score.of_set is not None and judged < score.of_set:
        notes.append(
            f"{judged} of {score.of_set} instructions were judged: not comparable with the "
            "leaderboard, whose models answer all"
        )
    if score.length_controlled is None:
        notes.append(NO_GAMED)
    if score.reason is not None:
        notes.append(f"no length-adjusted win rate: {score.reason}")
    shown = score.length_controlled or score.length_adjusted
    if shown is not None and shown.draws and not shown.weights.any():
        notes.append(
            "the penalty that left-out folds chose leaves the regression no weight: its 50 % and "
            "the width of its interval are no finding; judge more instructions"
        )
    if shown is not None and is_extreme(score.won.win_rate, shown.win_rate):
        notes.append(
            f"at equal lengths the win rate is {shown.win_rate:.1f} % and not "
            f"{score.won.win_rate:.1f} %: a move as large as this may be a failure of the "
            "regression"
        )
    return notes


def score_lines(score: Score) -> list[str]:
    """The figures for people; what matters most comes first."""
    annotations, won = score.annotations, score.won
    lines = [
        f"{annotations.model} against {annotations.baseline}, judged by {annotations.annotator}"
    ]
    if (controlled := score.length_controlled) is not None:
        lines.append(
            f"{_rate('length-controlled win rate', controlled.win_rate, controlled.interval)}, "
            f"standard error as published {controlled.standard_error:.2f}"
        )
    lines.append(
        f"{_rate('win rate', won.win_rate, won.interval)}, standard error {won.standard_error:.2f}"
    )
    if (adjusted := score.length_adjusted) is not None:
        rate = _rate("length-adjusted win rate", adjusted.win_rate, adjusted.interval)
        lines.append(f"{rate}: {NOT_COMPARABLE}")
    lines += [
        f"{'discrete win rate':<27} {won.discrete_win_rate:6.2f} %: {won.n_wins} wins, "
        f"{won.n_wins_base} losses, {won.n_draws} draws of {won.n_total}",
        f"{'mean characters':<27} {score.lengths[1]:6.0f}, the baseline's {score.lengths[0]:.0f}",
    ]
    return lines


def _rate(title: str, rate: float, interval: Interval) -> str:
    return f"{title:<27} {rate:6.2f} % [{interval.low:.2f}, {interval.high:.2f}]"


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _regression(rate: LengthControlled | None) -> dict[str, Any] | None:
    if rate is None:
        return None
    length, difficulty, model = map(float, rate.weights)
    return {
        "win_rate": rate.win_rate,
        "published_standard_error": rate.standard_error,
        "interval": _ends(rate.interval),
        "interval_by": "instructions resampled with their gamed rows, fitted again at the same C",
        "weights": {"length": length, "difficulty": difficulty, "model": model},
        "C": rate.strength,
        "draws": rate.draws,
        "seed": rate.seed,
    }
