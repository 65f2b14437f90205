"""Answers of a system to plain prompts, from rows with a prompt, an answer and perhaps an id."""

from __future__ import annotations

import os
from collections.abc import Mapping

from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import Answer, Answers, benchmark_rows, collect_answers

PROMPTS = ("prompt", "instruction", "question")
ANSWERS = ("answer", "output", "response", "text", "completion")


def read_system_answers(
    source: str | os.PathLike[str], system: str, options: SourceOptions = SourceOptions()
) -> tuple[Answers, Mapping[str, str]]:
    """The answers of one system, and the prompts by question.

    Args:
        source: what `benchmark_rows` reads; each row has a prompt (``prompt``, ``instruction`` or
            ``question``), an answer (``answer``, ``output``, ``response``, ``text`` or
            ``completion``), and perhaps an ``id``, else the prompt is the question's name.
        system: who answered.
        options: which rows.

    Raises:
        DataError: no such file.
        EvaluationError: a row without prompt or answer, or a question twice.
    """
    found: list[Answer] = []
    prompts: dict[str, str] = {}
    for row in benchmark_rows(source, options):
        prompt = row.text(*PROMPTS)
        has_id = row.fields.get("id") is not None
        question = str(row.field((str, int), "id")) if has_id else prompt
        found.append(Answer(question, (row.text(*ANSWERS),), system, row.place))
        prompts.setdefault(question, prompt)
    return collect_answers(source, found, system), prompts
