"""Rows of a benchmark's own files: questions, answers, judgments, prompts of judges.

Every row must be whole: one that is left out of an evaluation would move its result in silence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from coala_jax._files import file_sha256
from coala_jax.data._options import SourceOptions
from coala_jax.data._sources import open_source
from coala_jax.evaluation._errors import EvaluationError

# Of rows that have a field for it: files depend on what they are made of alone.
NO_TIME = 0.0
# What a row may be read from, for the options of commands.
ROWS_HELP = ".json or .jsonl (also .gz, .zst, .parquet), a folder of them, or a hub id"


class BenchmarkRow(NamedTuple):
    """A row, and where it stands.

    Attributes:
        place: file and number, for messages.
        fields: its columns.
    """

    place: str
    fields: Mapping[str, Any]

    def text(self, *names: str) -> str:
        """The first of some fields that the row has, which must be a text.

        Raises:
            EvaluationError: it has none of them, or one that is no text.
        """
        value = self.field(str, *names)
        assert isinstance(value, str)
        return value

    def number(self, *names: str) -> float:
        """The first of some fields that the row has, which must be a number that a float can be.

        Raises:
            EvaluationError: it has none of them, or one that is no number.
        """
        value = self.field((int, float), *names)
        try:
            return float(value)
        except OverflowError:
            raise EvaluationError(
                f"{self.place}: {names[0]} is a number of {len(str(value))} digits; mend it"
            ) from None

    def field(self, kind: type | tuple[type, ...], *names: str) -> Any:
        """The first of some fields that the row has, which must be of a type.

        Raises:
            EvaluationError: it has none of them, or of another type.
        """
        name = next((name for name in names if self.fields.get(name) is not None), None)
        if name is None:
            there = ", ".join(map(str, self.fields))
            raise EvaluationError(
                f"{self.place}: has no {' or '.join(names)}; it has {there or 'nothing'}"
            )
        value = self.fields[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            expected = " or ".join(each.__name__ for each in kinds)
            raise EvaluationError(
                f"{self.place}: {name} is {_short(value)}, {expected} is expected"
            )
        return value


def benchmark_rows(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> list[BenchmarkRow]:
    """All rows of a file, a folder of files, or a hub id.

    Args:
        source: what `open_source` reads.
        options: which of its rows; ``download`` lets a hub id be fetched.

    Raises:
        DataError: no such file, or it cannot be read.
        EvaluationError: a row that is broken, or none at all.
    """
    rows = []
    for row in open_source(source, options).rows:
        place = f"{row.file or source}: row {row.number}"
        if row.fields is None:
            raise EvaluationError(f"{place}: {row.reason}; mend or remove it")
        rows.append(BenchmarkRow(place, row.fields))
    if not rows:
        raise EvaluationError(f"{source}: holds no rows")
    return rows


class Placed(Protocol):
    """What was read of a row."""

    @property
    def place(self) -> str:
        """File and row, for messages."""
        ...


Item = TypeVar("Item", bound=Placed)
Key = TypeVar("Key", bound=Hashable)


def by_key(
    items: Iterable[Item], key: Callable[[Item], Key], said: Callable[[Item], str]
) -> dict[Key, Item]:
    """What was read of rows by its key, each key once.

    Args:
        items: in the order of their rows.
        key: of one.
        said: what one does that no other may do too, for messages, such as ``asks question 81``.

    Raises:
        EvaluationError: two of one key.
    """
    found: dict[Key, Item] = {}
    for item in items:
        earlier = found.setdefault(key(item), item)
        if earlier is not item:
            raise EvaluationError(
                f"{item.place}: {said(item)}, as {earlier.place} does; keep one of them"
            )
    return found


class Answer(NamedTuple):
    """What a system answered to one question.

    Attributes:
        question: the key of the question: an id, or the instruction itself.
        turns: its answers, one a turn; most benchmarks have one turn.
        system: who answered.
        place: file and row, for messages.
    """

    question: str
    turns: tuple[str, ...]
    system: str
    place: str

    @property
    def text(self) -> str:
        """The only answer, or the last of several turns."""
        return self.turns[-1]


class Answers(NamedTuple):
    """The answers of one system, by question.

    Attributes:
        system: who answered.
        by_question: in the order of the file.
        name: of the file.
        sha256: of its bytes; None of what is no single file.
    """

    system: str
    by_question: Mapping[str, Answer]
    name: str
    sha256: str | None = None


def collect_answers(
    source: str | os.PathLike[str], answers: Iterable[Answer], system: str | None = None
) -> Answers:
    """Answers of one file, each question once.

    Args:
        source: the file, for messages and its checksum.
        answers: of its rows.
        system: a name for who answered; None is the one that the rows say.

    Raises:
        EvaluationError: a question twice, rows of several systems, or no answer.
    """
    found = by_key(
        answers, lambda answer: answer.question, lambda answer: f"answers {_short(answer.question)}"
    )
    if not found:
        raise EvaluationError(f"{source}: holds no answers")
    systems = list(dict.fromkeys(answer.system for answer in found.values()))
    if system is None and len(systems) > 1:
        raise EvaluationError(
            f"{source}: answers of {len(systems)} systems ({', '.join(systems[:3])}); give a file "
            "of one"
        )
    path = Path(source)
    sha256 = file_sha256(path) if path.is_file() else None
    return Answers(system or systems[0], found, str(source), sha256)


def require_answered(
    questions: Iterable[str],
    answers: Answers,
    *,
    partial: bool = False,
    mend: str = "answer them too",
) -> None:
    """Raise where answers are not those to the questions.

    Args:
        questions: their keys.
        answers: of one system.
        partial: whether questions may be without an answer.
        mend: what to do about those without one, for the message.

    Raises:
        EvaluationError: an answer to no question, or a question without an answer.
    """
    asked = dict.fromkeys(questions)
    foreign = [key for key in answers.by_question if key not in asked]
    if foreign:
        place = answers.by_question[foreign[0]].place
        raise EvaluationError(
            f"{answers.name}: {len(foreign)} of {len(answers.by_question)} answers are to no "
            f"question of this set, first {place} ({_short(foreign[0])}); give the answers to "
            "these questions"
        )
    missing = [key for key in asked if key not in answers.by_question]
    if missing and not partial:
        raise EvaluationError(
            f"{answers.name}: {len(missing)} of {len(asked)} questions have no answer, first "
            f"{_short(missing[0])}; {mend}"
        )


def _short(value: Any, most: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."
