"""Answers to all questions of a benchmark in its own rows, which a run that died goes on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax._files import write_text
from coala_jax._json import json_text
from coala_jax.decoding import TextRewardModel
from coala_jax.decoding._resumed_lines import open_lines
from coala_jax.decoding._reward_model import backbone_of
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.answering._asked import AnswerFile
from coala_jax.evaluation.answering._conversing import (
    Conversation,
    Sampler,
    answer_room,
    chat_layout,
    converse,
)
from coala_jax.evaluation.answering._ways import PLAINLY

FORMAT = "coala-jax-answers/1"


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
    file: AnswerFile,
    name: str,
    out: Path,
    *,
    report: Callable[[str], object] = lambda _: None,
) -> AnswerTally:
    """Answer all turns of all questions of a benchmark, and write its own rows.

    Args:
        sampler: makes the answers; ``batch_size`` of its questions are on the disk together.
        file: the questions, and how answers to them are written.
        name: of the model, which the output should have too.
        out: the file to write, of its suffix. A run that was killed goes on and ends with the same
            bytes, on the same devices.
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
    for question in file.questions:
        answer_room(sampler, question)
    size = sampler.batch_size
    lined = out.with_name(f"{out.name}.lines") if file.is_array else out
    with open_lines(lined, _request(sampler, file, name), report) as lines:
        tally = AnswerTally(**lines.progress)
        if tally.questions:
            report(f"{tally.questions} questions are answered by an earlier run; going on there")
        for first in range(tally.questions, len(file.questions), size):
            made = converse(sampler, file.questions[first : first + size])
            tally = tally.plus(made)
            rows = [
                file.line(each.question.key, [answer.text for answer in each.answers], name)
                for each in made
            ]
            lines.append(rows, tally._asdict())
        lines.finish()
    if file.is_array:
        whole = list(map(json.loads, lined.read_text("utf-8").splitlines()))
        write_text(out, json_text(whole))
        lined.unlink()
    return tally


def _request(sampler: Sampler, file: AnswerFile, name: str) -> Mapping[str, Any]:
    """What decides the answers."""
    model = sampler.model
    asked = [(each.key, each.temperature, each.turns) for each in file.questions]
    identity = backbone_of(model).identity._asdict()
    del identity["name"]
    return {
        "format": FORMAT,
        "benchmark": file.benchmark,
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
