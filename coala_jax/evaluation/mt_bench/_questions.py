"""Questions of MT-Bench: their turns, and what their category decides."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import BenchmarkRow, benchmark_rows, by_key
from coala_jax.evaluation._errors import EvaluationError

# Judged against a reference answer (`NEED_REF_CATS` of fastchat/llm_judge/common.py).
WITH_REFERENCE = ("math", "reasoning", "coding")
# `temperature_config` there; the other one is what gen_model_answer.py gives other categories.
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
OTHER_TEMPERATURE = 0.7
# Judges are asked about the first answer, and about the second one in its conversation.
MOST_TURNS = 2

Id = int | str


class Question(NamedTuple):
    """A question of one or two turns.

    Attributes:
        id: as its file has it.
        category: of MT-Bench: writing, roleplay, reasoning, math, coding, extraction, stem or
            humanities; of other sets in its format, any.
        turns: what the user says, one text a turn.
        place: file and row, for messages.
    """

    id: Id
    category: str
    turns: tuple[str, ...]
    place: str

    @property
    def key(self) -> str:
        """The id as a text, by which answers and judgments are found."""
        return str(self.id)

    @property
    def temperature(self) -> float:
        """Of answers to it, by its category."""
        return TEMPERATURES.get(self.category, OTHER_TEMPERATURE)

    @property
    def needs_reference(self) -> bool:
        """Whether judges compare answers to it with a reference answer."""
        return self.category in WITH_REFERENCE


def read_questions(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> list[Question]:
    """The questions of a file such as ``data/mt_bench/question.jsonl`` of FastChat.

    Args:
        source: rows of ``question_id``, ``category`` and ``turns``.
        options: which of its rows; ``download`` lets a hub id be fetched.

    Raises:
        DataError: it cannot be read.
        EvaluationError: a row that is no question of one or two turns, or a question twice.
    """
    questions = map(_question, benchmark_rows(source, options))
    found = by_key(questions, lambda each: each.key, lambda each: f"asks question {each.key}")
    return list(found.values())


def _question(row: BenchmarkRow) -> Question:
    turns = texts(row, row.field(list, "turns"), "turns")
    if not 1 <= len(turns) <= MOST_TURNS or not all(map(str.strip, turns)):
        raise EvaluationError(
            f"{row.place}: turns are {len(turns)} texts, 1 or 2 that are not empty are expected"
        )
    return Question(question_id(row), row.text("category"), turns, row.place)


def question_id(row: BenchmarkRow) -> Id:
    """Which question a row is, or is about."""
    found: Id = row.field((int, str), "question_id")
    return found


def texts(row: BenchmarkRow, values: Iterable[object], name: str) -> tuple[str, ...]:
    """The texts of a list in a row.

    Raises:
        EvaluationError: one of them is no text.
    """
    found = tuple(values)
    for number, value in enumerate(found, 1):
        if not isinstance(value, str):
            raise EvaluationError(
                f"{row.place}: {name}: turn {number} is {value!r:.60}, a text is expected"
            )
    return tuple(str(value) for value in found)
