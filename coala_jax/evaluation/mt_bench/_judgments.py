"""Judgments of MT-Bench, ours or others', read from FastChat's files."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import Answers, BenchmarkRow, benchmark_rows, by_key
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation._own_wording import own_words_note, several_words_notes
from coala_jax.evaluation._shown_answers import Shown, edited_notes
from coala_jax.evaluation.mt_bench._judge_prompts import OWN
from coala_jax.evaluation.mt_bench._judging import MODEL_1, MODEL_2
from coala_jax.evaluation.mt_bench._questions import Question, question_id
from coala_jax.evaluation.mt_bench._verdicts import ERROR, FAILED, TIE

# In the name of a prompt.
_VERSION = re.compile(r"-v\d+")
WINNERS = (MODEL_1, MODEL_2, TIE, ERROR)


class SingleJudgment(NamedTuple):
    """A grade of one answer.

    Attributes:
        question: its id, as a text.
        turn: 1 or 2.
        model: who answered.
        score: the grade; -1 where the judgment gives none.
        failed: the judge could not be reached.
        judge: the judge's model.
        prompt: the name of its prompt; empty where the row does not say.
        place: file and row, for messages.
        shown: what the judge was shown; empty where the row does not say.
    """

    question: str
    turn: int
    model: str
    score: float
    failed: bool
    judge: str
    prompt: str
    place: str
    shown: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Whom it is about."""
        return (self.model,)


class PairJudgment(NamedTuple):
    """A comparison of two answers, in both orders.

    Attributes:
        question: its id, as a text.
        turn: 1 or 2.
        models: the first and the second one.
        first: winner of the game that shows model 1 first: ``model_1``, ``model_2``, ``tie`` or
            ``error``.
        second: of the game that shows model 2 first.
        judge: the judge's model.
        prompt: the name of its prompt; empty where the row does not say.
        place: file and row, for messages.
        shown: what the judge was shown in each game; empty where the row does not say.
    """

    question: str
    turn: int
    models: tuple[str, str]
    first: str
    second: str
    judge: str
    prompt: str
    place: str
    shown: tuple[str, ...] = ()


Judgment = TypeVar("Judgment", SingleJudgment, PairJudgment)


class Judgments(NamedTuple):
    """The judgments of a file; one of the two lists is empty."""

    single: list[SingleJudgment]
    pairs: list[PairJudgment]

    @property
    def judge(self) -> str:
        """The model of the judge."""
        return (self.single or self.pairs)[0].judge

    def own_words_notes(self) -> list[str]:
        """Notes where some were asked for in words of this package, or in several versions."""
        names = [each.prompt for each in self.single] + [each.prompt for each in self.pairs]
        own = [name for name in names if name.startswith(OWN)]
        versions = ((_VERSION.sub("", name), name) for name in own)
        return own_words_note(len(own)) + several_words_notes(versions)


def read_judgments(
    source: str | os.PathLike[str],
    questions: Sequence[Question] | None = None,
    options: SourceOptions = SourceOptions(),
) -> Judgments:
    """Grades of ``JUDGE_single.jsonl``, or comparisons of ``JUDGE_pair.jsonl``.

    Args:
        source: the file.
        questions: that must be judged, each turn of them for all models, and no others; None asks
            nothing.
        options: which of its rows.

    Raises:
        DataError: it cannot be read.
        EvaluationError: a row that is no judgment, both kinds in one file, several judges, an
            answer judged twice, judgments of other questions, or answers without one.
    """
    rows = benchmark_rows(source, options)
    compared = [row for row in rows if "g1_winner" in row.fields]
    if compared and len(compared) < len(rows):
        raise EvaluationError(
            f"{source}: {len(compared)} of {len(rows)} judgments compare two answers and the "
            "others grade one; give a file of one kind"
        )
    if compared:
        return Judgments([], _checked(source, rows, _pair, questions))
    return Judgments(_checked(source, rows, _single, questions), [])


def answer_notes(
    judgments: Sequence[SingleJudgment] | Sequence[PairJudgment], answers: Sequence[Answers]
) -> list[str]:
    """Notes of answers that were not judged, or are not those that the judge was shown.

    Args:
        judgments: of any models; those that do not say what was shown say nothing of an edit.
        answers: of a model each.
    """
    judged = {model for each in judgments for model in each.models}
    notes = [
        f"{each.name}: answers of {each.system}, of which there is no judgment; give those of the "
        "models that were judged"
        for each in answers
        if each.system not in judged
    ]
    return notes + edited_notes(_shown_answers(judgments, answers))


def _shown_answers(
    judgments: Sequence[SingleJudgment] | Sequence[PairJudgment], answers: Sequence[Answers]
) -> Iterator[Shown]:
    """Both turns in prompts of the second one."""
    for each in answers:
        for judgment in judgments:
            if each.system in judgment.models and judgment.question in each.by_question:
                answer = each.by_question[judgment.question]
                for said in answer.turns[: judgment.turn]:
                    for prompt in judgment.shown:
                        yield Shown(judgment.prompt, prompt, said, each.system, answer.place)


def require_categories(
    judgments: Sequence[SingleJudgment] | Sequence[PairJudgment],
    categories: Mapping[str, str] | None,
) -> None:
    """Raise where a judged question has no category.

    Args:
        judgments: of any questions.
        categories: by question; None wants none.

    Raises:
        EvaluationError: names the first such judgment.
    """
    for each in judgments if categories is not None else ():
        if categories is not None and each.question not in categories:
            raise EvaluationError(
                f"categories: have no question {each.question}, which {each.place} judges; give "
                "those of the questions that were judged"
            )


def _checked(
    source: str | os.PathLike[str],
    rows: Sequence[BenchmarkRow],
    read: Callable[[BenchmarkRow], Judgment],
    questions: Sequence[Question] | None,
) -> list[Judgment]:
    judgments = [read(row) for row in rows]
    judges = list(dict.fromkeys(each.judge for each in judgments))
    if len(judges) > 1:
        raise EvaluationError(
            f"{source}: judgments of {len(judges)} judges ({', '.join(judges[:3])}); no two judges "
            "grade alike: give a file of one"
        )
    by_key(
        judgments,
        lambda each: (each.question, each.turn, frozenset(each.models)),
        lambda each: (
            f"judges question {each.question}, turn {each.turn}, of {' and '.join(each.models)}"
        ),
    )
    if questions is not None:
        _require_all(source, judgments, questions)
    return judgments


def _require_all(
    source: str | os.PathLike[str],
    judgments: Sequence[SingleJudgment] | Sequence[PairJudgment],
    questions: Sequence[Question],
) -> None:
    asked = {
        (question.key, turn) for question in questions for turn in range(1, len(question.turns) + 1)
    }
    judged: dict[frozenset[str], set[tuple[str, int]]] = {}
    for each in judgments:
        if (each.question, each.turn) not in asked:
            raise EvaluationError(
                f"{each.place}: judges question {each.question}, turn {each.turn}, which this set "
                "does not have; give the questions that were judged"
            )
        judged.setdefault(frozenset(each.models), set()).add((each.question, each.turn))
    for models, there in judged.items():
        if missing := sorted(asked - there):
            question, turn = missing[0]
            raise EvaluationError(
                f"{source}: of {' and '.join(sorted(models))} {len(missing)} of {len(asked)} "
                f"answers are not judged, first question {question}, turn {turn}; judge them too"
            )


def _single(row: BenchmarkRow) -> SingleJudgment:
    score = row.number("score")
    if not math.isfinite(score):
        raise EvaluationError(f"{row.place}: score is {score}, a number is expected")
    return SingleJudgment(
        str(question_id(row)),
        _turn(row),
        row.text("model"),
        score,
        row.fields.get("judgment") == FAILED,
        *_judge(row),
        row.place,
        _shown(row, "user_prompt"),
    )


def _pair(row: BenchmarkRow) -> PairJudgment:
    first, second = (row.text(f"g{game}_winner") for game in (1, 2))
    for winner in (first, second):
        if winner not in WINNERS:
            raise EvaluationError(
                f"{row.place}: a winner is {winner!r}, one of {', '.join(WINNERS)} is expected"
            )
    models = row.text(MODEL_1), row.text(MODEL_2)
    if models[0] == models[1]:
        raise EvaluationError(f"{row.place}: compares {models[0]} with itself")
    return PairJudgment(
        str(question_id(row)),
        _turn(row),
        models,
        first,
        second,
        *_judge(row),
        row.place,
        _shown(row, "g1_user_prompt", "g2_user_prompt"),
    )


def _shown(row: BenchmarkRow, *names: str) -> tuple[str, ...]:
    found = (row.fields.get(name) for name in names)
    return tuple(text for text in found if isinstance(text, str) and text)


def _turn(row: BenchmarkRow) -> int:
    turn: int = row.field(int, "turn") if "turn" in row.fields else 1
    return turn


def _judge(row: BenchmarkRow) -> tuple[str, str]:
    """The judge's model, and the name of its prompt."""
    judge = row.field(list, "judge")
    if not judge or not all(isinstance(each, str) for each in judge):
        raise EvaluationError(f"{row.place}: judge is {judge!r}, [model, prompt] is expected")
    return judge[0], judge[1] if len(judge) > 1 else ""
