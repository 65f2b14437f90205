"""Rewards of a benchmark's answers from a file, ours or others', each matched to its row."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.evaluation._benchmark_rows import BenchmarkRow, benchmark_rows
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.reward_bench._rows import BenchRow, RewardBench

# The rewards of a pair: what rewardbench calls them, and `coala-jax score`.
PAIRS = (("scores_chosen", "scores_rejected"), ("chosen_reward", "rejected_reward"))
KNOWN = "scores, scores_chosen and scores_rejected, or chosen_reward and rejected_reward"


class _Line(NamedTuple):
    """Rewards as a file has them."""

    id: str
    subset: str | None
    scores: tuple[float, ...]
    place: str


def read_scores(source: str | os.PathLike[str], bench: RewardBench) -> list[tuple[float, ...]]:
    """The rewards of all answers of a benchmark.

    Args:
        source: a file of rows with ``id``, ``subset`` and ``scores`` (a list, in the order of the
            answers, those of ``chosen`` first), or with ``scores_chosen`` and ``scores_rejected``,
            or with ``chosen_reward`` and ``rejected_reward``, as ``coala-jax score`` writes them;
            or an ``eval-set-scores/*.json`` of rewardbench, which holds the same as columns.
            ``subset`` may be missing where ids are those of one row each.
        bench: the rows; those with the same subset and id are taken in their order.

    Returns:
        Rewards by row, in the order of the benchmark's rows.

    Raises:
        DataError: no such file, or it cannot be read.
        EvaluationError: a reward that is missing, not finite or of no row; named by its row.
    """
    lines: dict[tuple[str | None, str], list[_Line]] = {}
    for line in map(_line, _rows(source)):
        lines.setdefault((line.subset, line.id), []).append(line)
    if any(subset is None for subset, _ in lines):
        _require_telling(bench, source)
    found = [_of_row(row, lines, source) for row in bench.rows]
    left = [line for several in lines.values() for line in several]
    if left:
        raise EvaluationError(
            f"{source}: {len(left)} of its rows are of no row of {bench.name}, first "
            f"{left[0].place} (subset {left[0].subset!r}, id {left[0].id!r}); give the rewards of "
            "these rows"
        )
    return found


def require_scores(bench: RewardBench, scores: Sequence[Sequence[float]]) -> None:
    """Raise where rewards are not those of a benchmark's answers.

    Raises:
        EvaluationError: another number of rows or answers, or a reward that is not finite.
    """
    if len(scores) != len(bench.rows):
        raise EvaluationError(
            f"scores: {len(scores)} rows, and {bench.name} has {len(bench.rows)}; give the rewards "
            "of each row"
        )
    for row, own in zip(bench.rows, scores, strict=True):
        _require_sound(row, own, f"scores of {row.place}")


def _rows(source: str | os.PathLike[str]) -> Iterator[BenchmarkRow]:
    """The rows of a file; a table by its columns is taken apart."""
    rows = benchmark_rows(source)
    ids = rows[0].fields.get("id")
    if len(rows) > 1 or not isinstance(ids, list):
        yield from rows
        return
    fields = rows[0].fields
    columns = {name: value for name, value in fields.items() if isinstance(value, list)}
    lengths = {name: len(value) for name, value in columns.items()}
    if len(set(lengths.values())) > 1:
        raise EvaluationError(f"{source}: its columns are of different lengths: {lengths}")
    for number in range(len(ids)):
        row = {name: value[number] for name, value in columns.items()}
        yield BenchmarkRow(f"{source}: entry {number + 1}", row)


def _line(row: BenchmarkRow) -> _Line:
    subset = None if row.fields.get("subset") is None else row.text("subset")
    return _Line(str(row.field((int, str), "id")), subset, _scores(row), row.place)


def _scores(row: BenchmarkRow) -> tuple[float, ...]:
    if row.fields.get("scores") is not None:
        return tuple(_number(row, "scores", value) for value in row.field(list, "scores"))
    for names in PAIRS:
        if any(row.fields.get(name) is not None for name in names):
            kinds = (int, float, list)
            return tuple(_number(row, name, row.field(kinds, name)) for name in names)
    raise EvaluationError(
        f"{row.place}: has no rewards; expected {KNOWN}; it has {', '.join(map(str, row.fields))}"
    )


def _number(row: BenchmarkRow, name: str, value: Any) -> float:
    """A reward, which rewardbench may keep in a list of its own."""
    inner = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(inner, bool) or not isinstance(inner, int | float):
        raise EvaluationError(f"{row.place}: {name} holds {value!r}, a number is expected")
    try:
        return float(inner)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _require_telling(bench: RewardBench, source: str | os.PathLike[str]) -> None:
    """Raise where ids alone do not tell rows apart."""
    times = Counter(row.id for row in bench.rows)
    if several := [row for row in bench.rows if times[row.id] > 1]:
        raise EvaluationError(
            f"{source}: rows without subset, and id {several[0].id!r} stands in "
            f"{times[several[0].id]} rows of {bench.name}; give each row its subset"
        )


def _of_row(
    row: BenchRow,
    lines: Mapping[tuple[str | None, str], list[_Line]],
    source: str | os.PathLike[str],
) -> tuple[float, ...]:
    """The rewards of a row, taken out of the lines."""
    several = lines.get((row.subset, row.id)) or lines.get((None, row.id))
    if not several:
        raise EvaluationError(
            f"{source}: has no rewards for {row.place} (subset {row.subset!r}, id {row.id!r}); "
            "score it too"
        )
    line = several.pop(0)
    _require_sound(row, line.scores, line.place)
    return line.scores


def _require_sound(row: BenchRow, scores: Sequence[float], place: str) -> None:
    if len(scores) != len(row.answers):
        raise EvaluationError(
            f"{place}: {len(scores)} rewards, and {row.place} has {len(row.answers)} answers; "
            "score all of them"
        )
    for number, value in enumerate(scores):
        if not math.isfinite(value):
            raise EvaluationError(
                f"{place}: reward {number + 1} is {value}, a finite number is expected; a reward "
                "model that overflows orders nothing"
            )
