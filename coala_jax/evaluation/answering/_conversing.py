"""Conversations of one or more turns: how a model is prompted, and how it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from coala_jax.backbones import Backbone
from coala_jax.data import ChatFormat, Message
from coala_jax.data._chat import LABELS, PLAIN
from coala_jax.data._message import ASSISTANT, USER
from coala_jax.decoding import (
    Generation,
    GenerationConfig,
    TextRewardModel,
    guided_generate,
)
from coala_jax.decoding._plan import make_plan
from coala_jax.decoding._prompts import chat_of, prompt_text, template_of
from coala_jax.decoding._reward_model import backbone_of
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.answering._asked import Asked
from coala_jax.evaluation.answering._ways import BEST_OF_N, GUIDED, Way
from coala_jax.features._tokens import encode_prompts

# A model without a chat template goes on with the user's next words unless it is stopped there.
NEXT_USER = f"\n{LABELS[USER]}:"

# An answer that no chat template refuses, as it may an empty one.
SHORTEST = "."


class Sampler(NamedTuple):
    """Makes answers.

    Attributes:
        model: a head on a causal backbone that jax runs, or such a backbone alone, which answers
            plainly.
        way: ``plain``, ``guided`` by the head, or ``best-of-n``, of which the head keeps one.
        samples: n of best-of-n.
        config: of all answers; a question may decide the temperature.
        temperature: of all answers in place of both; None leaves it to them.
        seed: of the draws: each turn of each question has its own, whatever runs beside it.
        batch_size: conversations that run together.
    """

    model: Backbone | TextRewardModel
    way: Way
    samples: int
    config: GenerationConfig
    temperature: float | None
    seed: int
    batch_size: int

    def temperature_of(self, question: Asked) -> float:
        """Of the answers to a question."""
        if self.temperature is not None:
            return self.temperature
        of_all = self.config.sampling.temperature
        return of_all if question.temperature is None else question.temperature


class Conversation(NamedTuple):
    """A question with the answers to it.

    Attributes:
        question: that was asked.
        answers: one a turn; of best-of-n the ones that were taken.
        shortened: whether the model's context gave an answer fewer tokens than the settings do.
    """

    question: Asked
    answers: tuple[Generation, ...]
    shortened: bool


class _Turn(NamedTuple):
    """A turn of a question, the text that asks it, and the most tokens of the answer."""

    question: Asked
    prompt: str
    most: int


def chat_layout(model: Backbone | TextRewardModel) -> ChatFormat:
    """How conversations are written for a model.

    By the chat template of its tokenizer; by lines of ``User: ...`` and ``Assistant: ...`` where it
    has none, or where the head was trained on plain texts and would know no others.
    """
    if isinstance(model, TextRewardModel) and not model.settings.written:
        return PLAIN
    return chat_of(model)


def converse(sampler: Sampler, questions: Sequence[Asked]) -> list[Conversation]:
    """Answer all turns of some questions: the prompt of the second one holds the first answer.

    Raises:
        EvaluationError: a question that leaves no room for answers in the model's context.
        GenerationError, FeatureError: as `coala_jax.decoding.guided_generate` does.
    """
    rooms = {question.key: answer_room(sampler, question) for question in questions}
    made: dict[str, list[Generation]] = {question.key: [] for question in questions}
    for turn in range(max((len(question.turns) for question in questions), default=0)):
        asked = [
            _Turn(
                question,
                _prompt(sampler.model, question, [each.text for each in made[question.key]]),
                rooms[question.key],
            )
            for question in questions
            if turn < len(question.turns)
        ]
        for each, answer in zip(asked, _answers(sampler, asked, turn), strict=True):
            made[each.question.key].append(answer._replace(text=answer.text.strip()))
    whole = sampler.config.sampling.max_new_tokens
    return [
        Conversation(question, tuple(made[question.key]), rooms[question.key] < whole)
        for question in questions
    ]


def answer_room(sampler: Sampler, question: Asked) -> int:
    """The most tokens of each answer to a question: what the settings say, if it fits.

    In a context that is too small for that, the answers share what the question leaves of it.

    Raises:
        EvaluationError: it leaves nothing.
    """
    model, sampling = sampler.model, sampler.config.sampling
    backbone = backbone_of(model)
    silent = [SHORTEST] * (len(question.turns) - 1)
    prompt = _prompt(model, question, silent)
    (ids,) = encode_prompts(backbone.tokenizer, [prompt], template_of(model))
    reach = make_plan(model, [_config(sampler, question, sampling.max_new_tokens)]).reach
    left = (backbone.config.max_length - len(ids) - reach) // len(question.turns)
    if left < 1:
        raise EvaluationError(
            f"{question.place}: question {question.key} has {len(ids)} tokens, which leave no room "
            f"for answers in the model's context of {backbone.config.max_length}; leave the "
            "question out, or take a model with a longer context"
        )
    return min(left, sampling.max_new_tokens)


def _answers(sampler: Sampler, asked: Sequence[_Turn], turn: int) -> list[Generation]:
    """An answer to each; of best-of-n the sample of highest reward, the first of equals."""
    counts = [_samples(sampler, each.question) for each in asked]
    rows = [
        (
            each.prompt,
            _config(sampler, each.question, each.most),
            draw_key(sampler.seed, each.question, turn, sample),
        )
        for each, count in zip(asked, counts, strict=True)
        for sample in range(count)
    ]
    prompts, configs, keys = map(list, zip(*rows, strict=True))
    size = sampler.batch_size
    made = iter(guided_generate(sampler.model, prompts, configs, keys, batch_size=size))
    several = [[next(made) for _ in range(count)] for count in counts]
    return [max(samples, key=lambda one: one.reward or 0.0) for samples in several]


def _samples(sampler: Sampler, question: Asked) -> int:
    """How many answers are drawn: without a temperature all would be the same."""
    drawn = sampler.way == BEST_OF_N and sampler.temperature_of(question) > 0
    return sampler.samples if drawn else 1


def _config(sampler: Sampler, question: Asked, most: int) -> GenerationConfig:
    options: dict[str, Any] = {
        "temperature": sampler.temperature_of(question),
        "max_new_tokens": most,
    }
    stop = sampler.config.sampling.stop
    if chat_layout(sampler.model) == PLAIN and NEXT_USER not in stop:
        options["stop"] = (*stop, NEXT_USER)
    if sampler.way != GUIDED:
        options["scale"] = 0.0
    return sampler.config.with_options(**options)


def draw_key(seed: int, question: Asked, turn: int, sample: int) -> jax.Array:
    """Of a draw: by question and turn, so that neither order nor batches decide what is drawn."""
    digest = hashlib.sha256(f"{question.key}\0{turn}".encode()).digest()
    key = jax.random.fold_in(jax.random.key(seed), int.from_bytes(digest[:4], "big"))
    return jax.random.fold_in(key, sample)


def _prompt(model: Backbone | TextRewardModel, question: Asked, answers: Sequence[str]) -> str:
    """The conversation up to the next answer, as its layout writes it."""
    turns = [Message(USER, question.turns[0])]
    for answer, said in zip(answers, question.turns[1:], strict=False):
        turns += [Message(ASSISTANT, answer), Message(USER, said)]
    name = f"question {question.key}"
    if chat_layout(model) != PLAIN:
        return prompt_text(model, turns, name)
    return prompt_text(model, PLAIN.prompt(turns), name)
