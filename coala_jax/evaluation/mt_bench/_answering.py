"""Answers to all questions as FastChat's file, which a run that died goes on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.decoding import TextRewardModel
from coala_jax.decoding._resumed_lines import open_lines
from coala_jax.decoding._reward_model import backbone_of
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.mt_bench._answers import answer_line
from coala_jax.evaluation.mt_bench._conversing import (
    Conversation,
    Sampler,
    answer_room,
    chat_layout,
    converse,
)
from coala_jax.evaluation.mt_bench._questions import Question
from coala_jax.evaluation.mt_bench._ways import PLAINLY

FORMAT = "coala-jax-mt-bench-answers/1"


class AnswerTally(NamedTuple):
    """Sums over what was answered.

    Attributes:
        questions: with all their turns.
        turns: answers.
        tokens: of them.
        characters: of them.
        cut: answers that their tokens ran out for.
        shortened: questions whose answers the model's context gave fewer tokens than the settings.
        empty: answers without a word.
        reward: sum of the head's rewards; 0 without a head.
    """

    questions: int = 0
    turns: int = 0
    tokens: int = 0
    characters: int = 0
    cut: int = 0
    shortened: int = 0
    empty: int = 0
    reward: float = 0.0

    def plus(self, conversations: Sequence[Conversation]) -> AnswerTally:
        """The sums with those of more conversations."""
        answers = [answer for each in conversations for answer in each.answers]
        return AnswerTally(
            self.questions + len(conversations),
            self.turns + len(answers),
            self.tokens + sum(len(each.tokens) for each in answers),
            self.characters + sum(len(each.text) for each in answers),
            self.cut + sum(each.finish_reason == "length" for each in answers),
            self.shortened + sum(each.shortened for each in conversations),
            self.empty + sum(not each.text for each in answers),
            sum((each.reward or 0.0 for each in answers), self.reward),
        )


def answer_questions(
    sampler: Sampler,
    questions: Sequence[Question],
    name: str,
    out: Path,
    *,
    report: Callable[[str], object] = lambda _: None,
) -> AnswerTally:
    """Answer all turns of all questions, as gen_model_answer.py of FastChat does.

    Args:
        sampler: makes the answers; ``batch_size`` of its questions are on the disk together.
        questions: of the set.
        name: of the model, which the file should have too.
        out: the ``.jsonl`` to write. A run that was killed goes on and ends with the same bytes, on
            the same devices.
        report: is told what an earlier run had finished.

    Raises:
        EvaluationError: a question without room for answers, before any is made; a way that needs a
            head, without one.
        FeatureError: another run writes the file, began it otherwise, or the disk is full; a reward
            that is not finite.
        GenerationError: as `coala_jax.decoding.guided_generate` does.
    """
    if sampler.way != PLAINLY and not isinstance(sampler.model, TextRewardModel):
        raise EvaluationError(f"way={sampler.way!r} needs a head; give one, or answer plainly")
    for question in questions:
        answer_room(sampler, question)
    size = sampler.batch_size
    with open_lines(out, _request(sampler, questions, name), report) as lines:
        tally = AnswerTally(**lines.progress)
        if tally.questions:
            report(f"{tally.questions} questions are answered by an earlier run; going on there")
        for first in range(tally.questions, len(questions), size):
            made = converse(sampler, questions[first : first + size])
            tally = tally.plus(made)
            lines.append([_line(each, name) for each in made], tally._asdict())
        lines.finish()
    return tally


def _line(made: Conversation, name: str) -> dict[str, Any]:
    return answer_line(made.question, [answer.text for answer in made.answers], name)


def _request(sampler: Sampler, questions: Sequence[Question], name: str) -> Mapping[str, Any]:
    """What decides the answers."""
    model = sampler.model
    asked = [(question.id, question.category, question.turns) for question in questions]
    identity = backbone_of(model).identity._asdict()
    del identity["name"]
    return {
        "format": FORMAT,
        "name": name,
        "questions": hashlib.sha256(json.dumps(asked).encode()).hexdigest(),
        "head": model.head_sha256 if isinstance(model, TextRewardModel) else "",
        **identity,
        "chat": chat_layout(model).name,
        "way": sampler.way,
        "samples": sampler.samples,
        "temperature": sampler.temperature,
        "seed": sampler.seed,
        **asdict(sampler.config),
    }
