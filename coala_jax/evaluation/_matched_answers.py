"""Questions, and the answers of one or two systems to them, whatever the rows are known by."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from coala_jax.data._prompts import TEXT_SUFFIX, read_prompts
from coala_jax.data._rows import row_name
from coala_jax.evaluation._answer_formats import AnswerFile, text_of
from coala_jax.evaluation._benchmark_rows import (
    Answer,
    Answers,
    BenchmarkRow,
    benchmark_rows,
    require_answered,
)
from coala_jax.evaluation._errors import EvaluationError

_IDS = ("id", "question_id", "uid")
_TEXTS = ("prompt", "instruction", "question", "turns", "messages")


class Matched(NamedTuple):
    """Questions with the text of each, and the answers of each system, all by the same ids."""

    questions: Mapping[str, str]
    answers: tuple[Answers, ...]


def read_questions(source: str | os.PathLike[str]) -> dict[str, str]:
    """Texts of questions by id; where rows have none, by the name that `generate` gives them.

    Args:
        source: rows of ``prompt``, ``instruction``, ``question``, ``turns`` (one) or ``messages``,
            with an ``id``, ``question_id`` or ``uid``, or none; or the lines of a ``.txt`` file.

    Raises:
        DataError: no such file, or it cannot be read.
        EvaluationError: a row without a question, or an id twice.
    """
    if Path(source).suffix == TEXT_SUFFIX:
        return {row.id: str(row.prompt) for row in read_prompts(source)}
    found: dict[str, str] = {}
    for number, row in enumerate(benchmark_rows(source), 1):
        text = _question(row)
        names = (row.fields[each] for each in _IDS if row.fields.get(each) is not None)
        key = row_name({"id": next(names, None)}, number)
        if found.setdefault(key, text) != text:
            raise EvaluationError(f"{row.place}: has the id {key!r} of another question")
    return found


def match_answers(
    files: Sequence[AnswerFile], questions: Mapping[str, str] | None = None
) -> Matched:
    """Answers by the ids of the questions that they answer.

    A row that is known by the text of its question, as AlpacaEval's are, finds it by that text.

    Args:
        files: of one system each.
        questions: texts by id; None takes them from the first file whose rows say them.

    Raises:
        EvaluationError: no questions are known, a file answers other questions or leaves some out,
            rows of one id were asked something else, or an answer has several turns.
    """
    if questions is None:
        questions = next((file.prompts for file in files if file.prompts), None)
    if not questions:
        raise EvaluationError(
            f"{files[0].answers.name}: its rows ({files[0].format}) do not say what was asked; "
            "give the questions too (--questions FILE)"
        )
    by_text = {text.strip(): key for key, text in questions.items()}
    answers = tuple(_by_question(file, questions, by_text) for file in files)
    for each in answers:
        require_answered(questions, each)
    return Matched(questions, answers)


def _by_question(
    file: AnswerFile, questions: Mapping[str, str], by_text: Mapping[str, str]
) -> Answers:
    found: dict[str, Answer] = {}
    for key, answer in file.answers.by_question.items():
        if len(answer.turns) > 1:
            raise EvaluationError(
                f"{answer.place}: has {len(answer.turns)} turns; this command judges one"
            )
        prompt = file.prompts.get(key)
        question = key if key in questions else by_text.get((prompt or key).strip(), key)
        asked = questions.get(question)
        if prompt is not None and asked is not None and prompt.strip() != asked.strip():
            raise EvaluationError(
                f"{answer.place}: answers another question under the id {key!r}: {prompt[:60]!r}, "
                f"not {asked[:60]!r}"
            )
        if question in found:
            raise EvaluationError(
                f"{answer.place}: answers what {found[question].place} answers too"
            )
        found[question] = answer._replace(question=question)
    return file.answers._replace(by_question=found)


def _question(row: BenchmarkRow) -> str:
    name = next((name for name in _TEXTS if row.fields.get(name) is not None), None)
    value = None if name is None else row.fields[name]
    if name == "turns" and isinstance(value, list) and len(value) > 1:
        raise EvaluationError(f"{row.place}: has {len(value)} turns; this command judges one")
    text = text_of(value)
    if text is None:
        raise EvaluationError(
            f"{row.place}: has no question as text in {', '.join(_TEXTS[:-1])} or {_TEXTS[-1]}"
        )
    return text
