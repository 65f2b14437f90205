"""Preferences of a judge, as `annotations.json` holds them: those of others and ours."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coala_jax._files import write_text
from coala_jax._json import json_text
from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import (
    Answer,
    Answers,
    BenchmarkRow,
    benchmark_rows,
    collect_answers,
    require_answered,
)
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._own_wording import Wording, read_wording
from coala_jax.evaluation.alpaca_eval._outputs import NO_DATASET, Pair, Question

BASELINE_BETTER, TIE, MODEL_BETTER = 1.0, 1.5, 2.0
# How old files write a tie, and caches of alpaca_eval a judgment that could not be read.
OLD_TIE, CACHED_MISSING = 0, -1


class Annotation(NamedTuple):
    """A judge's preference between two answers.

    Attributes:
        pair: the question and both answers.
        preference: from 1, the baseline's is better, to 2, the model's is; NaN where the judge
            said nothing that could be read.
        replies: what the judge said, one a call; empty where that is not known.
        wording: what the judge was told; None where that is not known, or none was asked.
    """

    pair: Pair
    preference: float
    replies: tuple[dict[str, Any], ...] = ()
    wording: Wording | None = None


class Annotations(NamedTuple):
    """The annotations of one judge of one model against one baseline.

    Attributes:
        baseline: name of the model whose answers are ``output_1``.
        model: name of the model whose answers are ``output_2``.
        annotator: name of the judge.
        rows: each instruction once.
        name: of the file.
        sha256: of its bytes; None of what is no single file.
    """

    baseline: str
    model: str
    annotator: str
    rows: Sequence[Annotation]
    name: str
    sha256: str | None = None

    def preferences(self) -> np.ndarray:
        """(n,) float64 in [1, 2], NaN where there is none."""
        return np.array([row.preference for row in self.rows])

    def lengths(self) -> np.ndarray:
        """(n, 2) characters of the baseline's answer and of the model's."""
        return np.array([(len(row.pair.output_1), len(row.pair.output_2)) for row in self.rows])


def read_annotations(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> Annotations:
    """The annotations of a file, whoever made it.

    Args:
        source: rows ``{instruction, output_1, generator_1, output_2, generator_2, annotator,
            preference}``, of which the preference is from 1 to 2, 0 or 1.5 a tie, and null or -1
            what could not be read. ``judge_wording`` is taken where it is there.
        options: which rows of it.

    Raises:
        EvaluationError: a row that lacks a field, a preference of another kind, an instruction
            twice, or several models, baselines or judges.
        DataError: no such file, or it cannot be read.
    """
    rows = benchmark_rows(source, options)
    answers = [
        Answer(row.text("instruction"), (row.text("output_2"),), row.text("generator_2"), row.place)
        for row in rows
    ]
    model = collect_answers(source, answers)
    annotations = [
        Annotation(
            Pair(
                Question(row.text("instruction"), str(row.fields.get("dataset") or NO_DATASET)),
                row.text("output_1"),
                row.text("output_2"),
            ),
            _preference(row),
            wording=read_wording(row),
        )
        for row in rows
    ]
    baseline, annotator = (_only(source, rows, name) for name in ("generator_1", "annotator"))
    return Annotations(baseline, model.system, annotator, annotations, model.name, model.sha256)


def write_annotations(path: Path, annotations: Annotations) -> None:
    """Write annotations in the format that `read_annotations` reads, whole or not at all.

    Args:
        path: ``annotations.json``; what stands there is replaced.
        annotations: a NaN preference is written as null, replies as ``raw_completion``, and what
            the judge was told, where it is known, as ``judge_wording``.
    """
    rows = [
        {
            "dataset": row.pair.question.dataset,
            "instruction": row.pair.question.instruction,
            "output_1": row.pair.output_1,
            "generator_1": annotations.baseline,
            "output_2": row.pair.output_2,
            "generator_2": annotations.model,
            "annotator": annotations.annotator,
            "preference": row.preference,
            "raw_completion": row.replies,
        }
        | (row.wording.fields() if row.wording else {})
        for row in annotations.rows
    ]
    write_text(path, json_text(rows))


def in_order_of(
    questions: Iterable[Question], annotations: Annotations, *, partial: bool = False
) -> Annotations:
    """The same annotations in the order of the set.

    Args:
        questions: the set, in its order.
        annotations: in any order.
        partial: whether some of the set may be without one.

    Raises:
        EvaluationError: one of an instruction that is not in the set, or none of one that is,
            unless ``partial``.
    """
    order = [question.instruction for question in questions]
    mend = "judge answers to them too, or score a part of the set (--partial)"
    require_answered(order, _answers(annotations), partial=partial, mend=mend)
    found = {row.pair.question.instruction: row for row in annotations.rows}
    return annotations._replace(rows=[found[each] for each in order if each in found])


def require_judged(annotations: Annotations, answers: Answers, *, partial: bool = False) -> None:
    """Raise where answers are not those that were judged.

    Args:
        annotations: of some answers.
        answers: of the model, that they should be of.
        partial: whether some of them may not have been judged.

    Raises:
        EvaluationError: an answer was edited since, or answers and annotations are of different
            instructions.
    """
    judged = _answers(annotations).by_question
    if partial:
        kept = {each: answer for each, answer in answers.by_question.items() if each in judged}
        answers = answers._replace(by_question=kept)
    require_answered(judged, answers)
    edited = [
        answer.place
        for instruction, answer in answers.by_question.items()
        if answer.text != judged[instruction].text
    ]
    if edited:
        raise EvaluationError(
            f"{answers.name}: {len(edited)} of {len(judged)} answers are not those that "
            f"{annotations.name} judged, first {edited[0]}; judge them again, or give the answers "
            "that were judged"
        )


def _answers(annotations: Annotations) -> Answers:
    """The model's answers that the annotations are of."""
    found = {
        row.pair.question.instruction: Answer(
            row.pair.question.instruction,
            (row.pair.output_2,),
            annotations.model,
            f"{annotations.name}: annotation {number}",
        )
        for number, row in enumerate(annotations.rows, 1)
    }
    return Answers(annotations.model, found, annotations.name, annotations.sha256)


def _preference(row: BenchmarkRow) -> float:
    if "preference" not in row.fields:
        row.field(float, "preference")  # says what the row has instead
    value = row.fields["preference"]
    if value is None:
        return math.nan
    number = row.number("preference")
    if number == CACHED_MISSING or math.isnan(number):
        return math.nan
    if number == OLD_TIE:
        return TIE
    if not BASELINE_BETTER <= number <= MODEL_BETTER:
        raise EvaluationError(
            f"{row.place}: preference is {value!r}; from 1 to 2, 0 for a tie or null is expected"
        )
    return number


def _only(source: str | os.PathLike[str], rows: Sequence[BenchmarkRow], name: str) -> str:
    """The value that a field has in all rows."""
    values = list(dict.fromkeys(row.text(name) for row in rows))
    if len(values) > 1:
        raise EvaluationError(
            f"{source}: {name} is not one but {len(values)} ({', '.join(values[:3])}); give a "
            "file of one"
        )
    return values[0]
