"""Instructions, and answers to them, as `model_outputs.json` holds them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._files import write_text
from coala_jax._json import json_text
from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import (
    Answer,
    Answers,
    benchmark_rows,
    collect_answers,
    require_answered,
)
from coala_jax.evaluation._errors import EvaluationError

# Of a row whose part of the set is not said.
NO_DATASET = "unknown"


class Question(NamedTuple):
    """One instruction of the set.

    Attributes:
        instruction: its text, by which answers and judgments belong to it.
        dataset: the part of the set that it is from, such as ``helpful_base``.
    """

    instruction: str
    dataset: str = NO_DATASET


class Pair(NamedTuple):
    """The two answers to one instruction: the baseline's is the first."""

    question: Question
    output_1: str
    output_2: str


def read_questions(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> list[Question]:
    """Instructions in the order of a file: `alpaca_eval.json`, or the outputs of any model.

    Args:
        source: rows with ``instruction`` and, where it is there, ``dataset``.
        options: which rows of it.

    Raises:
        EvaluationError: a row without an instruction, or an instruction twice.
        DataError: no such file, or it cannot be read.
    """
    questions: dict[str, Question] = {}
    for row in benchmark_rows(source, options):
        instruction = row.text("instruction")
        if instruction in questions:
            raise EvaluationError(
                f"{row.place}: its instruction stands in an earlier row too; keep one of them"
            )
        dataset = row.fields.get("dataset")
        questions[instruction] = Question(instruction, str(dataset) if dataset else NO_DATASET)
    return list(questions.values())


def read_outputs(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> Answers:
    """The answers of one model, by instruction.

    Args:
        source: rows ``{instruction, output, generator}``; their order means nothing.
        options: which rows of it.

    Raises:
        EvaluationError: a row that lacks a field, an instruction twice, or several models.
        DataError: no such file, or it cannot be read.
    """
    answers = [
        Answer(
            row.text("instruction"),
            (row.text("output"),),
            row.text("generator"),
            row.place,
        )
        for row in benchmark_rows(source, options)
    ]
    return collect_answers(source, answers)


def output_rows(
    questions: Sequence[Question], outputs: Sequence[str], generator: str
) -> list[dict[str, Any]]:
    """Rows of `model_outputs.json`.

    Args:
        questions: (n,) as `read_questions` gives them.
        outputs: (n,) the answer to each.
        generator: name of the model, under which leaderboards list it.

    Raises:
        EvaluationError: another number of outputs than of questions.
    """
    if len(questions) != len(outputs):
        raise EvaluationError(
            f"{len(outputs)} outputs to {len(questions)} questions, one each is expected"
        )
    return [
        {
            "dataset": question.dataset,
            "instruction": question.instruction,
            "output": output,
            "generator": generator,
        }
        for question, output in zip(questions, outputs, strict=True)
    ]


def write_outputs(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of `output_rows` to a file, whole or not at all."""
    write_text(path, json_text(rows))


def pair_outputs(
    questions: Sequence[Question], baseline: Answers, model: Answers, *, partial: bool = False
) -> list[Pair]:
    """Both answers to each question, in the order of the questions.

    Args:
        questions: of the set.
        baseline: answers to all of them.
        model: answers to all of them, or to some where ``partial``.
        partial: whether questions that the model did not answer are left out.

    Raises:
        EvaluationError: an answer to no question of the set, a question without one, or two
            models of one name.
    """
    instructions = [question.instruction for question in questions]
    require_answered(instructions, baseline)
    mend = "answer them too, or judge a part of the set (--partial)"
    require_answered(instructions, model, partial=partial, mend=mend)
    pairs = [
        Pair(
            question,
            baseline.by_question[question.instruction].text,
            model.by_question[question.instruction].text,
        )
        for question in questions
        if question.instruction in model.by_question
    ]
    require_own_name(baseline.system, model.system, pairs)
    return pairs


def require_own_name(baseline: str, model: str, pairs: Sequence[Pair]) -> None:
    """Raise where a model is called like the baseline, whose answers are others.

    Args:
        baseline: name of who gave ``output_1``.
        model: name of who gave ``output_2``.
        pairs: of their answers.

    Raises:
        EvaluationError: the names are one, and some answers differ.
    """
    differ = sum(pair.output_1 != pair.output_2 for pair in pairs)
    if baseline == model and differ:
        raise EvaluationError(
            f"generator_1 and generator_2 are both {model!r}, and {differ} of {len(pairs)} answers "
            "differ; give the model a name of its own"
        )
