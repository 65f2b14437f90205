"""Answers of a system from a file of any benchmark's format, or of our own commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.data._message import ASSISTANT, USER
from coala_jax.evaluation._benchmark_rows import (
    Answer,
    Answers,
    BenchmarkRow,
    benchmark_rows,
    collect_answers,
)
from coala_jax.evaluation._errors import EvaluationError

# Sides of a line that `coala-jax generate` writes; `FILE:guided` names one.
SIDES = ("plain", "guided")
_TEXTS = ("completion", "response", "output", "answer", "text")
_PROMPTS = ("prompt", "instruction", "question")
_IDS = ("id", "question_id", "uid")
_SYSTEMS = ("generator", "model", "model_id")


class AnswerFile(NamedTuple):
    """The answers of a file, and what else its rows say.

    Attributes:
        answers: by the id of the question, or by its text where rows have no id.
        prompts: texts of the questions by the same keys; empty where rows have none.
        format: how the rows were read, for messages.
    """

    answers: Answers
    prompts: Mapping[str, str]
    format: str


class _Row(NamedTuple):
    """What a row says: who answered (None where it does not say), which question, with what."""

    key: str
    prompt: str | None
    turns: tuple[str, ...]
    system: str | None


def read_answer_file(source: str | os.PathLike[str], system: str | None = None) -> AnswerFile:
    """Read a system's answers, whatever wrote them.

    Formats are told by the fields of the first row: AlpacaEval's ``instruction, output,
    generator``; Arena-Hard's ``uid, model, messages``; MT-Bench's ``question_id, model_id,
    choices``; the lines of `coala-jax generate` (``id, plain, guided``, of which ``FILE:plain`` or
    ``FILE:guided`` names one) and of `coala-jax best-of-n` (``id, text``); and rows of ``prompt``
    or ``id`` with a ``completion``, ``response``, ``output``, ``answer`` or ``text``.

    Args:
        source: a file, which may end in ``:plain`` or ``:guided``.
        system: a name for who answered; None takes what the rows say, or else the file's name.

    Raises:
        DataError: no such file, or it cannot be read.
        EvaluationError: rows of no known format, a broken row, a question twice, or several
            systems.
    """
    path, side = _file_and_side(os.fspath(source))
    rows = benchmark_rows(path)
    name, read = _format_of(rows[0], side)
    found = [(row, read(row)) for row in rows]
    default = Path(path).name.split(".")[0] + (f":{side}" if side else "")
    answers = (
        Answer(said.key, said.turns, said.system or default, row.place) for row, said in found
    )
    collected = collect_answers(path, answers, system)
    prompts = {said.key: said.prompt for _, said in found if said.prompt is not None}
    return AnswerFile(collected, prompts, name)


def text_of(value: Any) -> str | None:
    """A prompt or an answer as text: a text, parts of one, or messages; None of anything else.

    One message is its content; of several each is written under the name of its role.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):  # Arena-Hard's {"answer": text}, a part, or a message
        return text_of(next((value[k] for k in ("answer", "text", "content") if k in value), None))
    if not isinstance(value, list | tuple) or not value:
        return None
    texts = [text_of(each) for each in value]
    if any(text is None for text in texts):
        return None
    roles = [each.get("role") if isinstance(each, Mapping) else None for each in value]
    if len(value) == 1 or None in roles:
        return "".join(map(str, texts))
    return "\n\n".join(f"{str(r).capitalize()}: {t}" for r, t in zip(roles, texts, strict=True))


def _file_and_side(source: str) -> tuple[str, str | None]:
    path, _, side = source.rpartition(":")
    return (path, side) if side in SIDES and not os.path.exists(source) else (source, None)


def _format_of(row: BenchmarkRow, side: str | None) -> tuple[str, Callable[[BenchmarkRow], _Row]]:
    has = row.fields.keys()
    if {"plain", "guided"} <= has:
        if side is None:
            raise EvaluationError(
                f"{row.place}: a line of `coala-jax generate`, which holds two answers; say which "
                "is meant: FILE:plain or FILE:guided"
            )
        return "generate", lambda row: _generated(row, side)
    if side is not None:
        raise EvaluationError(f"{row.place}: has no plain and guided answers; leave out :{side}")
    if {"question_id", "choices"} <= has:
        return "MT-Bench", _mt_bench
    if {"uid", "messages"} <= has:
        return "Arena-Hard", _arena_hard
    if {"instruction", "output"} <= has:
        return "AlpacaEval", _alpaca_eval
    if has & {*_TEXTS} and has & {*_PROMPTS, *_IDS}:
        # By the fields of the first row: with another one in each, what is missing in a row would
        # be taken from a field of another meaning.
        text = next(name for name in _TEXTS if name in has)
        key = next((name for name in _IDS if name in has), None)
        return "rows", lambda row: _plain_row(row, text, key)
    raise EvaluationError(
        f"{row.place}: its fields ({', '.join(map(str, has)) or 'none'}) are of no known format of "
        "answers; known: instruction, output, generator (AlpacaEval); uid, model, messages "
        "(Arena-Hard); question_id, model_id, choices (MT-Bench); id, plain, guided (generate); "
        f"{' or '.join(_PROMPTS)} or id, with {' or '.join(_TEXTS)}"
    )


def _alpaca_eval(row: BenchmarkRow) -> _Row:
    instruction = row.text("instruction")
    return _Row(instruction, instruction, (row.text("output"),), _said(row, "generator"))


def _arena_hard(row: BenchmarkRow) -> _Row:
    messages = row.field(list, "messages")
    answers = tuple(_required(row, "messages", turn) for turn in messages if _role(turn) != USER)
    asked = [turn for turn in messages if _role(turn) == USER]
    if len(answers) != 1 or len(asked) != 1 or _role(messages[-1]) != ASSISTANT:
        raise EvaluationError(
            f"{row.place}: messages must be a question of the user and an answer of the assistant"
        )
    return _Row(row.text("uid"), text_of(asked), answers, _said(row, "model"))


def _mt_bench(row: BenchmarkRow) -> _Row:
    choices = row.field(list, "choices")
    turns = choices[0].get("turns") if choices and isinstance(choices[0], Mapping) else None
    if not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
        raise EvaluationError(f"{row.place}: choices must begin with one that has turns of text")
    return _Row(
        str(row.field((int, str), "question_id")), None, tuple(turns), _said(row, "model_id")
    )


def _generated(row: BenchmarkRow, side: str) -> _Row:
    text = row.field(Mapping, side).get("text")
    if not isinstance(text, str):
        raise EvaluationError(f"{row.place}: {side} has no text")
    return _Row(str(row.field((int, str), "id")), _prompt(row), (text,), None)


def _plain_row(row: BenchmarkRow, text: str, key: str | None) -> _Row:
    known = prompt = _prompt(row)
    if key is not None and row.fields.get(key) is not None:
        known = str(row.field((str, int), key))
    if known is None:
        raise EvaluationError(f"{row.place}: has neither {key or 'an id'} nor a prompt; give one")
    answer = _required(row, text, row.fields.get(text))
    return _Row(known, prompt, (answer,), _said(row, *_SYSTEMS))


def _prompt(row: BenchmarkRow) -> str | None:
    name = next((name for name in _PROMPTS if row.fields.get(name) is not None), None)
    return None if name is None else _required(row, name, row.fields[name])


def _required(row: BenchmarkRow, name: str, value: Any) -> str:
    text = text_of(value)
    if text is None:
        raise EvaluationError(f"{row.place}: {name} must be a text or messages")
    return text


def _role(turn: Any) -> Any:
    return turn.get("role") if isinstance(turn, Mapping) else None


def _said(row: BenchmarkRow, *names: str) -> str | None:
    name = next((name for name in names if row.fields.get(name) is not None), None)
    return None if name is None else row.text(name)
