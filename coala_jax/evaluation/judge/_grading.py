"""Answers graded by a judge one at a time, from 1 to 10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from coala_jax._intervals import Interval, cluster_interval
from coala_jax.evaluation._benchmark_rows import Answers
from coala_jax.evaluation._chat import Ask, ChatRequest, Reply, require_one_reply_each
from coala_jax.evaluation.judge._pairwise import MAX_TOKENS
from coala_jax.evaluation.judge._prompts import GRADE, JudgePrompt
from coala_jax.evaluation.judge._readable import require_readable
from coala_jax.evaluation.judge._verdicts import (
    HIGHEST_GRADE,
    LOWEST_GRADE,
    Unread,
    Verdict,
    grade_verdict,
    unread,
    without_echo,
)


class Grade(NamedTuple):
    """What came of a question.

    Attributes:
        question: its id.
        reply: of the judge.
        verdict: the grade that was read of it.
        characters: of the answer.
    """

    question: str
    reply: Reply
    verdict: Verdict
    characters: int

    def account(self) -> dict[str, Any]:
        """The question's line in a file of grades, as JSON."""
        return {
            "question": self.question,
            "grade": self.verdict.score,
            "problem": self.verdict.problem,
            "characters": self.characters,
            "reply": self.reply.text,
            "error": self.reply.error,
        }


class Grades(NamedTuple):
    """All questions with what came of each, and the grade of the system.

    Attributes:
        grades: in the order of the questions.
        mean: of the grades, with its interval of 95 % over questions.
        counted: questions with a grade.
        characters: mean length of the answers that have one.
        length_correlation: Spearman's, of grades with lengths; NaN where one of them never varies.
        unread: what could not be read.
    """

    grades: tuple[Grade, ...]
    mean: Interval
    counted: int
    characters: float
    length_correlation: float
    unread: Unread

    def account(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "mean": self.mean._asdict(),
            "counted": self.counted,
            "left_out": len(self.grades) - self.counted,
            "characters": self.characters,
            "length_correlation": self.length_correlation,
        }


def grade_requests(
    questions: Mapping[str, str],
    answers: Answers,
    prompt: JudgePrompt = GRADE,
) -> list[ChatRequest]:
    """What a judge is asked, a question after the other.

    Args:
        questions: texts by id.
        answers: to them.
        prompt: with places for {question} and {answer}.
    """
    return [
        ChatRequest(
            prompt.messages({"question": text, "answer": answers.by_question[question].text}),
            MAX_TOKENS,
        )
        for question, text in questions.items()
    ]


def grade_answers(
    ask: Ask,
    questions: Mapping[str, str],
    answers: Answers,
    prompt: JudgePrompt = GRADE,
) -> Grades:
    """Have a judge grade a system's answers.

    Args:
        ask: the judge.
        questions: texts by id; the system has answered each.
        answers: of the system.
        prompt: as `grade_requests` takes it.

    Raises:
        EvaluationError: under half of the replies could be read; shows one.
    """
    requests = grade_requests(questions, answers, prompt)
    replies = ask(requests)
    require_one_reply_each(requests, replies)
    verdicts = [
        without_echo(request, reply, grade_verdict(reply, last=prompt == GRADE))
        for request, reply in zip(requests, replies, strict=True)
    ]
    not_read = unread(replies, verdicts)
    require_readable(not_read, len(replies))
    grades = tuple(
        Grade(question, reply, verdict, len(answers.by_question[question].text))
        for question, reply, verdict in zip(questions, replies, verdicts, strict=True)
    )
    read = [each for each in grades if each.verdict.score is not None]
    scores = np.array([each.verdict.score for each in read], np.float64)
    lengths = np.array([each.characters for each in read], np.float64)
    return Grades(
        grades,
        cluster_interval(scores, [each.question for each in read]).within(
            LOWEST_GRADE, HIGHEST_GRADE
        ),
        len(read),
        float(lengths.mean()),
        _rank_correlation(scores, lengths),
        not_read,
    )


def grade_warnings(grades: Grades) -> list[str]:
    """What a reader of the mean must know.

    Args:
        grades: of a system.
    """
    scores = {each.verdict.score for each in grades.grades} - {None}
    if grades.counted > 1 and len(scores) == 1:
        return ["all grades are alike: the interval says nothing"]
    return []


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    if len(one) < 2 or not (np.ptp(one) and np.ptp(other)):
        return float("nan")
    return float(spearmanr(one, other).statistic)
