"""Win rate against the baseline, as the leaderboard counts it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coala_jax._intervals import Interval, share_interval
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.alpaca_eval._annotations import TIE

PERCENT = 100.0


class WinRate(NamedTuple):
    """How often a judge prefers the model.

    Attributes:
        win_rate: percent; the mean preference.
        standard_error: of it, in points: of the mean over instructions.
        interval: of 95 % in percent, with Student's t.
        n_wins: preferences for the model.
        n_wins_base: preferences for the baseline.
        n_draws: neither.
        n_total: preferences that could be read.
        discrete_win_rate: percent; each preference rounded to a win or a loss, a draw half.
    """

    win_rate: float
    standard_error: float
    interval: Interval
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    discrete_win_rate: float


def win_rate(preferences: np.ndarray) -> WinRate:
    """Win rate and counts of preferences.

    Source: `src/alpaca_eval/metrics/helpers.py` of tatsu-lab/alpaca_eval. The interval is ours.

    Args:
        preferences: (n,) float64 in [1, 2]; NaN ones are left out.

    Raises:
        EvaluationError: no preference that could be read.
    """
    wins = preferences[~np.isnan(preferences)] - 1
    if not len(wins):
        raise EvaluationError("preferences: none could be read, so there is no win rate")
    draws = wins == TIE - 1
    discrete = np.where(draws, 0.5, np.round(wins))
    spread = wins.std(ddof=1) if len(wins) > 1 else np.nan
    names = [str(number) for number in range(len(wins))]  # instructions are independent
    interval = share_interval(wins, names)
    return WinRate(
        win_rate=PERCENT * float(wins.mean()),
        standard_error=PERCENT * float(spread / np.sqrt(len(wins))),
        interval=Interval(*(PERCENT * end for end in interval)),
        n_wins=int((wins > 0.5).sum()),
        n_wins_base=int((wins < 0.5).sum()),
        n_draws=int(draws.sum()),
        n_total=len(wins),
        discrete_win_rate=PERCENT * float(discrete.mean()),
    )
