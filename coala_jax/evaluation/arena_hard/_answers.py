"""Answer files of Arena-Hard, with the style of every answer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import (
    NO_TIME,
    Answer,
    Answers,
    BenchmarkRow,
    benchmark_rows,
    collect_answers,
)
from coala_jax.evaluation._chat import ASSISTANT, USER
from coala_jax.evaluation._errors import EvaluationError
from coala_jax.evaluation.arena_hard._questions import Question, uid_of
from coala_jax.evaluation.arena_hard._style import (
    ESTIMATE,
    Style,
    TokenCounter,
    style_metadata,
    style_of,
)

# Beside `metadata`, whose every field the original's script takes for a count.
COUNTER_FIELD = "token_counter"
BENCHMARK_COUNTER = "the benchmark's metadata (tiktoken, gpt-4o)"
ANSWER_ID_DIGITS = 22  # as many as the original's


class StyledAnswers(NamedTuple):
    """Answers of one system, with the style that their file gives.

    Attributes:
        answers: by uid.
        styles: by uid; None where a row has no ``metadata``.
        counter: who counted their tokens; None where rows differ or have none.
    """

    answers: Answers
    styles: Mapping[str, Style] | None
    counter: str | None


def answer_rows(
    questions: Sequence[Question],
    texts: Sequence[str],
    model: str,
    *,
    counter: TokenCounter = ESTIMATE,
) -> Iterator[dict[str, Any]]:
    """Rows of ``model_answer/MODEL.jsonl``, which the benchmark's own scripts read too.

    Args:
        questions: what was asked.
        texts: the answer to each, in the same order.
        model: who answered.
        counter: of their tokens; its name goes into a field of its own.

    Raises:
        EvaluationError: another number of texts.
    """
    if len(texts) != len(questions):
        raise EvaluationError(f"{len(texts)} texts to {len(questions)} questions; give one to each")
    for question, text, tokens in zip(questions, texts, counter.counts(texts), strict=True):
        identity = "\n".join((model, question.uid, text)).encode("utf-8", "replace")
        yield {
            "uid": question.uid,
            "ans_id": hashlib.sha256(identity).hexdigest()[:ANSWER_ID_DIGITS],
            "model": model,
            "messages": [
                {"role": USER, "content": question.prompt},
                {"role": ASSISTANT, "content": {"answer": text}},
            ],
            "tstamp": NO_TIME,
            "metadata": style_metadata(text, tokens),
            COUNTER_FIELD: counter.name,
        }


def read_answers(
    source: str | os.PathLike[str], options: SourceOptions = SourceOptions()
) -> StyledAnswers:
    """One system's answers, in the format of v2.0 or in that of v0.1 from before it.

    Args:
        source: ``model_answer/MODEL.jsonl``.
        options: which of its rows.

    Raises:
        DataError: no such file.
        EvaluationError: a row without an answer, a question twice, or several systems.

    Example:
        >>> import json
        >>> from pathlib import Path
        >>> from coala_jax.evaluation import arena_hard
        >>> asked = {"uid": "q1", "category": "hard_prompt", "prompt": "1 + 1?"}
        >>> _ = Path("question.jsonl").write_text(json.dumps(asked))
        >>> questions = arena_hard.read_questions("question.jsonl")
        >>> counter = arena_hard.TokenCounter("characters", lambda texts: [len(t) for t in texts])
        >>> row, = arena_hard.answer_rows(questions, ["It is two."], "head", counter=counter)
        >>> _ = Path("head.jsonl").write_text(json.dumps(row))
        >>> arena_hard.read_answers("head.jsonl").styles["q1"].tokens
        10
    """
    rows = benchmark_rows(source, options)
    answers = collect_answers(source, (_answer(row) for row in rows))
    metadata = {uid_of(row): _metadata(row) for row in rows}
    if any(each is None for each in metadata.values()):
        return StyledAnswers(answers, None, None)
    styles = {uid: _style(answers, uid, each) for uid, each in metadata.items() if each is not None}
    counters = {str(row.fields.get(COUNTER_FIELD) or BENCHMARK_COUNTER) for row in rows}
    return StyledAnswers(answers, styles, counters.pop() if len(counters) == 1 else None)


def read_answer_folder(
    folder: str | os.PathLike[str], systems: Iterable[str] | None = None
) -> dict[str, StyledAnswers]:
    """Answers of all systems of a folder ``model_answer``, by their names.

    Args:
        folder: of ``.jsonl`` files, one a system.
        systems: which are wanted; None is all. Files of others are not read, where the name of the
            file is that of the system, as the benchmark has it.

    Raises:
        EvaluationError: no file, one that is broken, or two of one system.
    """
    files = answer_files(folder)
    if systems is not None:
        wanted = set(systems)
        if wanted <= {file.stem for file in files}:
            files = [file for file in files if file.stem in wanted]
    found: dict[str, StyledAnswers] = {}
    for file in files:
        styled = read_answers(file)
        if styled.answers.system in found:
            other = found[styled.answers.system].answers.name
            raise EvaluationError(
                f"{file}: answers of {styled.answers.system}, as {other}; remove one of them"
            )
        found[styled.answers.system] = styled
    return found


def answer_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The ``.jsonl`` files of a folder, or the one file that is named.

    Raises:
        EvaluationError: none there.
    """
    path = Path(folder)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        inside = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        holds = f"it holds {', '.join(inside[:3])}" if inside else "it is not there or empty"
        raise EvaluationError(
            f"{path}: no .jsonl file in it ({holds}); give the folder that has them"
        )
    return files


def styles_of(
    systems: Mapping[str, StyledAnswers], counter: TokenCounter | None = None
) -> tuple[dict[str, Mapping[str, Style]], str]:
    """Styles of the answers of several systems, their tokens counted by one and the same way.

    Lengths that were counted differently cannot be compared.

    Args:
        systems: by their names.
        counter: counts all of them; None takes the counts of the files where these were all made
            alike, else `ESTIMATE`.

    Returns:
        By system and uid; and how tokens were counted.
    """
    counters = {styled.counter for styled in systems.values()}
    (alike,) = counters if len(counters) == 1 else (None,)
    if counter is None and alike is not None:
        return {name: styled.styles or {} for name, styled in systems.items()}, alike
    counter = counter or ESTIMATE
    return {name: _counted(styled, counter) for name, styled in systems.items()}, counter.name


def _counted(styled: StyledAnswers, counter: TokenCounter) -> dict[str, Style]:
    answers = styled.answers.by_question
    texts = [answer.text for answer in answers.values()]
    return {
        uid: style_of(style_metadata(text, tokens))
        for uid, text, tokens in zip(answers, texts, counter.counts(texts), strict=True)
    }


def _answer(row: BenchmarkRow) -> Answer:
    return Answer(uid_of(row), (_text(row),), row.text("model", "model_id"), row.place)


def _text(row: BenchmarkRow) -> str:
    if "choices" in row.fields:
        message = _last(row, _last(row, row.fields["choices"]).get("turns"))
    else:
        message = _last(row, row.field(list, "messages"))
    content = message.get("content")
    text = content.get("answer") if isinstance(content, Mapping) else content
    if not isinstance(text, str):
        raise EvaluationError(
            f"{row.place}: its last message has no text; messages of v2.0 "
            "(content.answer) or choices of v0.1 are expected"
        )
    return text


def _last(row: BenchmarkRow, values: Any) -> Mapping[str, Any]:
    if not isinstance(values, list) or not values or not isinstance(values[-1], Mapping):
        raise EvaluationError(
            f"{row.place}: holds no answer; messages of v2.0 or choices of v0.1 are expected"
        )
    last: Mapping[str, Any] = values[-1]
    return last


def _metadata(row: BenchmarkRow) -> Mapping[str, Any] | None:
    found = row.fields.get("metadata") or row.fields.get("conv_metadata")
    return found if isinstance(found, Mapping) else None


def _style(answers: Answers, uid: str, metadata: Mapping[str, Any]) -> Style:
    try:
        return style_of(metadata)
    except EvaluationError as fault:
        place = answers.by_question[uid].place
        raise EvaluationError(f"{place}: metadata: {fault}; remove it, or count anew") from fault
