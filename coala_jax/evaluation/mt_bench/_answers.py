"""Answers of models to MT-Bench and reference answers, in FastChat's files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import (
    NO_TIME,
    Answer,
    Answers,
    BenchmarkRow,
    benchmark_rows,
    collect_answers,
    require_answered,
)
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.mt_bench._questions import Question, question_id, texts

# Hexadecimal digits of the id of an answer.
ID_DIGITS = 22


def answer_line(question: Question, turns: Sequence[str], model: str) -> dict[str, Any]:
    """A row of ``model_answer/MODEL.jsonl`` of FastChat.

    Args:
        question: that is answered.
        turns: the answers, one a turn.
        model: the name of who answered, which the file should have too.
    """
    identity = "\0".join((model, question.key, *turns))
    return {
        "question_id": question.id,
        "answer_id": hashlib.sha256(identity.encode()).hexdigest()[:ID_DIGITS],
        "model_id": model,
        "choices": [{"index": 0, "turns": list(turns)}],
        "tstamp": NO_TIME,
    }


def read_answers(
    source: str | os.PathLike[str],
    questions: Sequence[Question] | None = None,
    options: SourceOptions = SourceOptions(),
) -> Answers:
    """The answers of one model; of several choices the first, which alone FastChat judges.

    Args:
        source: a file such as ``model_answer/MODEL.jsonl``.
        questions: that must be answered, each turn of them, and no others; None asks nothing.
        options: which of its rows; ``download`` lets a hub id be fetched.

    Raises:
        DataError: it cannot be read.
        EvaluationError: a row that is no answer, a question twice, several models, answers to
            other questions, questions or turns without an answer.
    """
    rows = benchmark_rows(source, options)
    answers = collect_answers(source, map(_answer, rows))
    if questions is not None:
        require_answered([question.key for question in questions], answers)
        _require_turns(questions, answers)
    return answers


def read_references(
    source: str | os.PathLike[str] | None,
    questions: Sequence[Question],
    options: SourceOptions = SourceOptions(),
) -> Mapping[str, Answer]:
    """Reference answers by question, to all questions that need one.

    Args:
        source: a file such as ``reference_answer/gpt-4.jsonl``; None where no question needs one.
        questions: of the set.
        options: which of its rows.

    Raises:
        DataError, EvaluationError: as `read_answers` does; a reference for another set.
    """
    needing = [question for question in questions if question.needs_reference]
    if source is None:
        if needing:
            raise EvaluationError(
                f"reference: {len(needing)} questions need a reference answer, first question "
                f"{needing[0].key} ({needing[0].category}); give reference_answer/gpt-4.jsonl of "
                "FastChat"
            )
        return {}
    rows = benchmark_rows(source, options)
    references = collect_answers(source, map(_answer, rows))
    require_answered([question.key for question in questions], references, partial=True)
    missing = [question for question in needing if question.key not in references.by_question]
    if missing:
        raise EvaluationError(
            f"{source}: {len(missing)} of {len(needing)} questions of math, reasoning and coding "
            f"have no reference answer, first question {missing[0].key} ({missing[0].category}); "
            "give the reference answers of this set"
        )
    _require_turns(needing, references)
    return references.by_question


def mean_lengths(answers: Answers) -> list[float]:
    """Mean number of characters of the answers, turn by turn."""
    turns = max(len(answer.turns) for answer in answers.by_question.values())
    lengths = [
        [len(each.turns[turn]) for each in answers.by_question.values() if turn < len(each.turns)]
        for turn in range(turns)
    ]
    return [sum(each) / len(each) for each in lengths]


def _answer(row: BenchmarkRow) -> Answer:
    choices = row.field(list, "choices")
    first = choices[0] if choices else None
    turns = first.get("turns") if isinstance(first, Mapping) else None
    if not isinstance(turns, list) or not turns:
        raise EvaluationError(
            f"{row.place}: choices must begin with an object of turns, as FastChat writes them"
        )
    said = texts(row, turns, "choices")
    return Answer(str(question_id(row)), said, row.text("model_id"), row.place)


def _require_turns(questions: Sequence[Question], answers: Answers) -> None:
    for question in questions:
        answer = answers.by_question[question.key]
        if len(answer.turns) < len(question.turns):
            raise EvaluationError(
                f"{answer.place}: {len(answer.turns)} answers to question {question.key} of "
                f"{len(question.turns)} turns; give one a turn"
            )
