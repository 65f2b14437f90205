"""Questions of Arena-Hard, and the systems that answers to them are set against."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import BenchmarkRow, benchmark_rows, by_key
from coala_jax.evaluation._errors import EvaluationError

V01 = "arena-hard-v0.1"
BASELINES: Mapping[str, str] = {
    V01: "gpt-4-0314",
    "hard_prompt": "o3-mini-2025-01-31",
    "coding": "o3-mini-2025-01-31",
    "math": "o3-mini-2025-01-31",
    "creative_writing": "gemini-2.0-flash-001",
}
"""Baseline models by category, as `JUDGE_SETTINGS` of utils/judge_utils.py of
lmarena/arena-hard-auto has them."""
# The key of a question, in v2.0 and in files of v0.1 from before it.
UID_NAMES = ("uid", "question_id")


class Question(NamedTuple):
    """One prompt.

    Attributes:
        uid: its key in all files of the benchmark.
        category: which baseline and which prompt of the judge it has, such as ``hard_prompt``.
        prompt: the user's only turn.
        place: file and row, for messages.
    """

    uid: str
    category: str
    prompt: str
    place: str


def read_questions(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> tuple[Question, ...]:
    """The questions of ``question.jsonl`` of v0.1 or v2.0, in its order.

    Args:
        source: the file, a folder or a hub id.
        options: which of its rows.

    Raises:
        DataError: no such file.
        EvaluationError: a row without key or prompt, or a key twice.
    """
    questions = (
        Question(uid_of(row), category_of(row), _prompt(row), row.place)
        for row in benchmark_rows(source, options)
    )
    found = by_key(questions, lambda each: each.uid, lambda each: f"asks question {each.uid}")
    return tuple(found.values())


def uid_of(row: BenchmarkRow) -> str:
    """The key of a row's question."""
    return str(row.field((str, int), *UID_NAMES))


def category_of(row: BenchmarkRow) -> str:
    """The category of a row; rows from before v2.0 have none, or that of v0.1."""
    return V01 if row.fields.get("category") is None else row.text("category")


def _prompt(row: BenchmarkRow) -> str:
    if row.fields.get("prompt") is not None:
        return row.text("prompt")
    turns = row.field(list, "prompt", "turns")
    if len(turns) != 1 or not isinstance(turns[0], Mapping):
        raise EvaluationError(f"{row.place}: has {len(turns)} turns, one with a content expected")
    return BenchmarkRow(f"{row.place}, turn 1", turns[0]).text("content")
