"""A score in words, as a JSON object, and as a row of the leaderboard."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from coala_jax._files import write_text
from coala_jax._intervals import LEVEL, Interval
from coala_jax._json import json_text
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._interval_text import has_no_spread, same_for_every
from coala_jax.evaluation._own_wording import Wording, own_wording_warnings
from coala_jax.evaluation.alpaca_eval._annotations import Annotations
from coala_jax.evaluation.alpaca_eval._length_controlled import LengthControlled, is_extreme
from coala_jax.evaluation.alpaca_eval._score import Score
from coala_jax.evaluation.alpaca_eval._win_rate import PERCENT

# Annotator and baseline of the leaderboard, whose preferences `df_gamed.csv` holds.
LEADERBOARD = ("weighted_alpaca_eval_gpt4_turbo", "gpt4_1106_preview")
# What a row is that others hand in; `minimal` and `verified` are the maintainers' to give.
MODE = "community"
NO_GAMED = (
    "no length-controlled win rate: it needs df_gamed.csv of the hub set tatsu-lab/alpaca_eval, "
    "whose rows tie the weight of length"
)
NOT_COMPARABLE = "of our own, not comparable with the leaderboard's length-controlled one"
WIN_RATE_BY = "Wilson's, with Student's t over instructions"
CONTROLLED_BY = "instructions resampled with their gamed rows, fitted again at the same C"
ADJUSTED_BY = "instructions resampled, fitted again at the same C"


def leaderboard_row(score: Score) -> dict[str, Any]:
    """The columns of the leaderboard, in its order; None where there is no figure.

    Rates and their standard errors are in percent, ``avg_length`` is in characters, the rest are
    counts of instructions.

    Args:
        score: of a model.
    """
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


def write_leaderboard(path: Path, score: Score) -> None:
    """Write a model's row as a table of one, whole or not at all.

    Args:
        path: ``.csv``, as the leaderboard's files are, or ``.json``: an object by model.
        score: of the model.

    Raises:
        EvaluationError: a path of another kind, or a part of the set alone was judged.
    """
    require_leaderboard_name(path)
    require_whole(score.annotations, score.of_set)
    model, row = score.annotations.model, leaderboard_row(score)
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


def require_whole(annotations: Annotations, of_set: int | None) -> None:
    """Raise where a part of the set was judged, of which no leaderboard has a row.

    Args:
        annotations: of a model.
        of_set: instructions in the set; None where the set is not known.
    """
    judged = len(annotations.rows)
    if of_set is not None and judged < of_set:
        raise EvaluationError(
            f"{annotations.name}: {judged} of {of_set} instructions were judged, and a row of a "
            "leaderboard is of all; judge the others too, or write no row"
        )


def score_report(score: Score) -> dict[str, Any]:
    """All figures, where they come from, and what they cannot say, as JSON can say it.

    Rates, standard errors and intervals are in percent, lengths in characters; None where there is
    no figure.

    Args:
        score: of a model.
    """
    annotations = score.annotations
    return {
        "model": annotations.model,
        "baseline": annotations.baseline,
        "annotator": annotations.annotator,
        "annotations": {"file": annotations.name, "sha256": annotations.sha256},
        "judge_wording": [wording._asdict() for wording in _wordings(annotations)],
        "instructions": {"judged": len(annotations.rows), "of_set": score.of_set},
        **leaderboard_row(score),
        "avg_length_baseline": int(score.lengths[0]),
        "level": LEVEL,
        "win_rate_interval": _ends(score.won.interval),
        "win_rate_interval_by": WIN_RATE_BY,
        "length_controlled": _regression(score.length_controlled, CONTROLLED_BY),
        "length_adjusted": _regression(score.length_adjusted, ADJUSTED_BY),
        "warnings": score_warnings(score),
    }


def score_warnings(score: Score) -> list[str]:
    """What a reader must know before the figures are used, one text each.

    Args:
        score: of a model.
    """
    return [*_judgment_notes(score), *_regression_notes(score)]


def _judgment_notes(score: Score) -> list[str]:
    """What there is to know of the judgments."""
    annotations = score.annotations
    preferences = annotations.preferences()
    notes = own_wording_warnings(row.wording for row in annotations.rows)
    if (annotations.annotator, annotations.baseline) != LEADERBOARD:
        judge, baseline = LEADERBOARD
        notes.append(
            f"no rate here is the leaderboard's, which {judge} judged against {baseline}; this is "
            f"{annotations.annotator} against {annotations.baseline}"
        )
    judged = len(preferences)
    if unread := judged - score.won.n_total:
        notes.append(f"{unread} of {judged} preferences could not be read and are left out")
    if score.of_set is not None and judged < score.of_set:
        notes.append(
            f"{judged} of {score.of_set} instructions were judged: not comparable with the "
            "leaderboard, whose models answer all"
        )
    alike = score.won.n_total > 1 and not np.ptp(preferences[~np.isnan(preferences)])
    if alike and annotations.baseline != annotations.model:
        at_an_end = score.won.win_rate in (0.0, PERCENT)  # where that of the win rate is exact
        which = "interval at equal lengths says" if at_an_end else "intervals say"
        notes.append(f"all {score.won.n_total} preferences are alike: the {which} nothing")
    return notes


def _regression_notes(score: Score) -> list[str]:
    """What there is to know of the rate at equal lengths."""
    notes = []
    annotations, controlled = score.annotations, score.length_controlled
    if controlled is None:
        notes.append(NO_GAMED)
    elif controlled.interval and (annotations.annotator, annotations.baseline) != LEADERBOARD:
        judge, baseline = LEADERBOARD
        notes.append(
            "the weight of length is borrowed: df_gamed.csv holds what "
            f"{judge} prefers to {baseline}, not what {annotations.annotator} prefers to "
            f"{annotations.baseline}"
        )
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
    """The figures for people; what matters most comes first.

    Args:
        score: of a model.
    """
    annotations, won = score.annotations, score.won
    controlled, adjusted = score.length_controlled, score.length_adjusted
    lines = [
        f"{annotations.model} against {annotations.baseline}, judged by {annotations.annotator}"
    ]
    if controlled is not None:
        shown = _rate("length-controlled win rate", controlled.win_rate, controlled.interval)
        lines.append(
            f"{shown}: set, not fitted: the baseline's own answers"
            if controlled.interval is None
            else f"{shown}, standard error as published {controlled.standard_error:.2f}"
        )
    same = won.n_total > 1 and has_no_spread(won.interval)
    shown = _rate("win rate", won.win_rate, None if same else _known(won.interval))
    if same:
        shown += f" ({same_for_every()})"
    lines.append(
        f"{shown}, standard error {won.standard_error:.2f}"
        if won.n_total > 1
        else f"{shown}: one instruction alone, no interval"
    )
    if adjusted is not None:
        shown = _rate("length-adjusted win rate", adjusted.win_rate, adjusted.interval)
        lines.append(f"{shown}: {NOT_COMPARABLE}")
    return [
        *lines,
        f"{'discrete win rate':<27} {won.discrete_win_rate:6.2f} %: {won.n_wins} wins, "
        f"{won.n_wins_base} losses, {won.n_draws} draws of {won.n_total}",
        f"{'mean characters':<27} {score.lengths[1]:6.0f}, the baseline's {score.lengths[0]:.0f}",
        *([_intervals_line(controlled or adjusted)] if won.n_total > 1 else []),
    ]


def _intervals_line(at_equal_lengths: LengthControlled | None) -> str:
    line = f"intervals: {LEVEL * 100:.0f} %; win rate: {WIN_RATE_BY}"
    if at_equal_lengths is None or at_equal_lengths.interval is None:
        return line
    return f"{line}; at equal lengths: {at_equal_lengths.draws} resampled sets, refitted"


def _rate(title: str, rate: float, interval: Interval | None) -> str:
    ends = "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"
    if interval is not None and np.isnan(interval.low):
        ends = " (no interval: regressions of resampled sets did not settle)"
    return f"{title:<27} {rate:6.2f} %{ends}"


def _known(interval: Interval) -> Interval | None:
    """None of an interval that one instruction alone allows no ends."""
    return None if np.isnan(interval.low) else interval


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _wordings(annotations: Annotations) -> list[Wording]:
    """What the judge was told, where it is known, each once."""
    return list(dict.fromkeys(row.wording for row in annotations.rows if row.wording))


def _regression(rate: LengthControlled | None, interval_by: str) -> dict[str, Any] | None:
    if rate is None:
        return None
    shown = {"win_rate": rate.win_rate, "published_standard_error": rate.standard_error}
    if rate.interval is None:
        fitted = ("interval", "interval_by", "weights", "C", "draws", "seed")
        return {**shown, **dict.fromkeys(fitted)}
    length, difficulty, model = map(float, rate.weights)
    return {
        **shown,
        "interval": _ends(rate.interval),
        "interval_by": interval_by,
        "weights": {"length": length, "difficulty": difficulty, "model": model},
        "C": rate.strength,
        "draws": rate.draws,
        "seed": rate.seed,
    }
