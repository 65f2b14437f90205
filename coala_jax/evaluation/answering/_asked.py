"""What is asked of a model by a benchmark, and the rows in which its answers are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from coala_jax.data._options import SourceOptions


class Asked(NamedTuple):
    """A question of one or more turns.

    Attributes:
        key: by which its answer is found, and by which its draws are made.
        turns: what the user says, one text a turn.
        temperature: of the answers; None leaves it to the settings.
        place: file and row, for messages.
    """

    key: str
    turns: tuple[str, ...]
    temperature: float | None
    place: str


class AnswerFile(NamedTuple):
    """The questions of a benchmark, and how answers to them are written.

    Attributes:
        benchmark: its name.
        questions: in the order of its file.
        line: from the key of a question, the answers to its turns and the name of who answered, to
            a row of the benchmark's own format.
        is_array: whether its file is one JSON array of rows, not lines of them.
    """

    benchmark: str
    questions: tuple[Asked, ...]
    line: Callable[[str, Sequence[str], str], Mapping[str, Any]]
    is_array: bool = False

    @property
    def suffix(self) -> str:
        """Of the name of its file."""
        return ".json" if self.is_array else ".jsonl"


def read_mt_bench(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> AnswerFile:
    """Of MT-Bench: two turns, temperatures by category, FastChat's ``model_answer/MODEL.jsonl``."""
    from coala_jax.evaluation import mt_bench

    questions = {each.key: each for each in mt_bench.read_questions(source, options)}
    asked = (
        Asked(key, each.turns, each.temperature, each.place) for key, each in questions.items()
    )

    def line(key: str, answers: Sequence[str], name: str) -> Mapping[str, Any]:
        return mt_bench.answer_line(questions[key], answers, name)

    return AnswerFile("mt-bench", tuple(asked), line)


def read_arena_hard(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> AnswerFile:
    """Of Arena-Hard: one turn, ``model_answer/MODEL.jsonl``."""
    from coala_jax.evaluation import arena_hard

    questions = {each.uid: each for each in arena_hard.read_questions(source, options)}
    asked = (Asked(key, (each.prompt,), None, each.place) for key, each in questions.items())

    def line(key: str, answers: Sequence[str], name: str) -> Mapping[str, Any]:
        (row,) = arena_hard.answer_rows([questions[key]], answers, name)
        return row

    return AnswerFile("arena-hard", tuple(asked), line)


def read_alpaca_eval(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> AnswerFile:
    """Of AlpacaEval: one turn, ``model_outputs.json``."""
    from coala_jax.evaluation import alpaca_eval

    questions = {each.instruction: each for each in alpaca_eval.read_questions(source, options)}
    asked = (
        Asked(key, (key,), None, f"{source}: instruction {number}")
        for number, key in enumerate(questions, 1)
    )

    def line(key: str, answers: Sequence[str], name: str) -> Mapping[str, Any]:
        (row,) = alpaca_eval.output_rows([questions[key]], answers, name)
        return row

    return AnswerFile("alpaca-eval", tuple(asked), line, is_array=True)


BENCHMARKS = {
    "alpaca-eval": read_alpaca_eval,
    "arena-hard": read_arena_hard,
    "mt-bench": read_mt_bench,
}
"""What reads the questions of a benchmark, by its name in `coala-jax evaluate answer`."""
