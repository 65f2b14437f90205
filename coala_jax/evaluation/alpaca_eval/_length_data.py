"""The user's files of the length-controlled win rate: difficulties and gamed rows."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coala_jax.evaluation._benchmark_rows import BenchmarkRow, benchmark_rows
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.alpaca_eval._outputs import Question

# What pandas calls a column without a name, in which `instruction_difficulty.csv` has the places.
NO_NAME = "Unnamed: 0"
# Difficulties that two files give to one instruction; they are written to all digits.
SAME_DIFFICULTY = 1e-6


class GamedRows(NamedTuple):
    """Preferences for the baseline made verbose or concise, over the baseline itself.

    They tie the weight of length to what a change of length alone does.

    Attributes:
        length_difference: (g,) float64: characters of the baseline's answer less the other's, over
            their standard deviation.
        preference: (g,) float64 in [0, 1]; NaN where none could be read.
        question: (g,) int64: place of the instruction in the set.
    """

    length_difference: np.ndarray
    preference: np.ndarray
    question: np.ndarray


class LengthData(NamedTuple):
    """What the regression needs besides annotations.

    Attributes:
        difficulty: (n,) float64 of the instructions, in the order of the set.
        gamed: rows of the gamed baselines.
    """

    difficulty: np.ndarray
    gamed: GamedRows


def read_length_data(source: str | os.PathLike[str], count: int) -> LengthData:
    r"""Difficulties and gamed rows of `df_gamed.csv` of the hub set tatsu-lab/alpaca_eval.

    The file knows instructions by their place in the set alone, so the set must be the one that it
    was made of, in its order.

    Args:
        source: rows ``index, preference, std_delta_len, instruction_difficulty,
            not_gamed_baseline``.
        count: instructions in the set.

    Raises:
        EvaluationError: it has another number of instructions, two difficulties of one, or a
            number that is none.
        DataError: no such file, or it cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from coala_jax.evaluation.alpaca_eval import read_length_data
        >>> header = "index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline"
        >>> rows = ["0,0.2,0.5,0.1,False", "1,0.6,-0.5,0.2,False"]
        >>> _ = Path("df_gamed.csv").write_text("\n".join([header, *rows]))
        >>> read_length_data("df_gamed.csv", 2).difficulty.tolist()
        [0.1, 0.2]
    """
    rows = benchmark_rows(source)
    places = np.array([_place(row, "index", count) for row in rows])
    _require_all(source, places, count)
    for row in rows:
        if row.text("not_gamed_baseline").lower() not in ("false", "0", "0.0"):
            raise EvaluationError(
                f"{row.place}: not_gamed_baseline is {row.text('not_gamed_baseline')}, False is "
                "expected: the file should hold the gamed baselines alone"
            )
    difficulty = np.full(count, np.nan)
    for row, place in zip(rows, places, strict=True):
        value = _number(row, "instruction_difficulty")
        if abs(difficulty[place] - value) > SAME_DIFFICULTY:
            raise EvaluationError(
                f"{row.place}: instruction {place} has the difficulty {value}, and "
                f"{difficulty[place]} in an earlier row"
            )
        difficulty[place] = value
    preference = np.array([_preference(row) for row in rows])
    lengths = np.array([_number(row, "std_delta_len") for row in rows])
    return LengthData(difficulty, GamedRows(lengths, preference, places))


def read_difficulty(source: str | os.PathLike[str], count: int) -> np.ndarray:
    """Difficulties of `instruction_difficulty.csv`, (n,) float64 in the order of the set.

    Args:
        source: rows of a place in the set, which may be without a name, and
            ``instruction_difficulty``.
        count: instructions in the set.

    Raises:
        EvaluationError: it has another number of instructions, or a number that is none.
        DataError: no such file, or it cannot be read.
    """
    rows = benchmark_rows(source)
    name = NO_NAME if NO_NAME in rows[0].fields else "index"
    places = np.array([_place(row, name, count) for row in rows])
    if len(places) != count:
        raise EvaluationError(
            f"{source}: {len(places)} rows for {count} instructions, one each is expected; give "
            "the file of this set"
        )
    _require_all(source, places, count)
    difficulty = np.empty(count)
    difficulty[places] = [_number(row, "instruction_difficulty") for row in rows]
    return difficulty


def order_notes(questions: Sequence[Question]) -> list[str]:
    """Whether instructions stand in an order that is not the set's, by which difficulties go.

    Args:
        questions: of the set; in `alpaca_eval.json` those of one data set stand together.
    """
    parts = [part for part, _ in itertools.groupby(question.dataset for question in questions)]
    if len(parts) == len(set(parts)):
        return []
    return [
        "--questions: instructions of one data set do not stand together, as in alpaca_eval.json; "
        "df_gamed.csv goes by their order, so that another one gives wrong difficulties: give that "
        "file itself"
    ]


def require_same_difficulty(source: str, difficulty: np.ndarray, data: LengthData) -> None:
    """Raise where two files disagree on how difficult an instruction is."""
    apart = np.flatnonzero(np.abs(difficulty - data.difficulty) > SAME_DIFFICULTY)
    if len(apart):
        place = int(apart[0])
        raise EvaluationError(
            f"{source}: {len(apart)} of {len(difficulty)} difficulties are not those of the gamed "
            f"rows, first that of instruction {place}: {difficulty[place]}, there "
            f"{data.difficulty[place]}; give files of one set"
        )


def no_gamed_rows() -> GamedRows:
    """Rows of no gamed baseline."""
    return GamedRows(np.zeros(0), np.zeros(0), np.zeros(0, int))


def _require_all(
    source: str | os.PathLike[str], places: np.ndarray | Sequence[int], count: int
) -> None:
    missing = sorted(set(range(count)) - set(map(int, places)))
    if missing:
        raise EvaluationError(
            f"{source}: {len(missing)} of {count} instructions have no row, first that at place "
            f"{missing[0]}; give the file of this set"
        )


def _place(row: BenchmarkRow, name: str, count: int) -> int:
    """Where the instruction of a row stands in the set, from 0."""
    number = _number(row, name)
    if number != int(number) or not 0 <= number < count:
        raise EvaluationError(
            f"{row.place}: {name} is {number:g}, a place from 0 to {count - 1} is expected; give "
            "the file of this set"
        )
    return int(number)


def _preference(row: BenchmarkRow) -> float:
    if row.fields.get("preference") is None:
        return math.nan
    value = _number(row, "preference", finite=False)
    if value < 0 or value > 1:
        raise EvaluationError(f"{row.place}: preference is {value}, from 0 to 1 is expected")
    return value


def _number(row: BenchmarkRow, name: str, *, finite: bool = True) -> float:
    value = row.field((str, int, float), name)
    try:
        number = float(value)
    except ValueError:
        number = math.inf
    if math.isinf(number) or (finite and math.isnan(number)):
        raise EvaluationError(f"{row.place}: {name} is {value!r}, a finite number is expected")
    return number
