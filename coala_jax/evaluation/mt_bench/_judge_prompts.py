"""Prompts of judges: read from FastChat's file, filled without reading what is filled in."""

from __future__ import annotations

import os
import string
from collections.abc import Mapping
from typing import NamedTuple

from coala_jax.data._options import SourceOptions
from coala_jax.evaluation._benchmark_rows import BenchmarkRow, benchmark_rows
from coala_jax.evaluation._chat import SYSTEM, USER, ChatRequest
from coala_jax.evaluation._errors import EvaluationError

SINGLE, PAIRWISE = "single", "pairwise"
OF_SECOND_TURN = "-multi-turn"
# Names in FastChat's data/judge_prompts.jsonl, without and with a reference answer.
NAMES = {SINGLE: ("single-v1", "single-math-v1"), PAIRWISE: ("pair-v2", "pair-math-v1")}
# Begins the names of prompts in words of this package.
OWN = "coala-jax/"
# What verdicts look like: of other formats FastChat has none in these prompts.
OUTPUT_FORMATS = {SINGLE: "[[rating]]", PAIRWISE: "[[A]]"}
# Of the judge (`run_judge_single` and `run_judge_pair` of fastchat/llm_judge/common.py).
MAX_TOKENS, TEMPERATURE = 2048, 0.0


class JudgePrompt(NamedTuple):
    """A prompt of judges.

    Attributes:
        name: as judgments say it, such as ``single-math-v1-multi-turn``.
        kind: ``single`` or ``pairwise``.
        system: the system message.
        template: the user's message, with places such as ``{question}``; ``{{`` means a brace.
        place: file and row, for messages.
    """

    name: str
    kind: str
    system: str
    template: str
    place: str

    def request(self, values: Mapping[str, str]) -> ChatRequest:
        """What a judge is asked.

        Args:
            values: the text of every place; more than the template has do no harm.

        Raises:
            EvaluationError: the template has a place that none of them is for.
        """
        messages = ((SYSTEM, self.system), (USER, self.filled(values)))
        return ChatRequest(messages, MAX_TOKENS, TEMPERATURE)

    def filled(self, values: Mapping[str, str]) -> str:
        """The template with its places filled; braces in the values are text like any other."""
        try:
            parts = list(string.Formatter().parse(self.template))
        except ValueError as error:
            raise EvaluationError(f"{self.place}: {self.name}: {error} in its template") from None
        text = []
        for literal, place, form, conversion in parts:
            text.append(literal)
            if place is None:
                continue
            if place not in values or form or conversion:
                raise EvaluationError(
                    f"{self.place}: {self.name}: its template has a place {{{place}}} that nothing "
                    f"is known for; known are {', '.join(values)}"
                )
            text.append(values[place])
        return "".join(text)


def prompt_name(kind: str, *, reference: bool, second: bool) -> str:
    """The name of the prompt for a question with or without a reference, and one of its turns."""
    return NAMES[kind][reference] + (OF_SECOND_TURN if second else "")


def read_judge_prompts(
    source: str | os.PathLike[str], kind: str, options: SourceOptions = SourceOptions()
) -> Mapping[str, JudgePrompt]:
    """The four prompts of a kind by name, from a file such as ``data/judge_prompts.jsonl``.

    Args:
        source: rows of ``name``, ``type``, ``system_prompt``, ``prompt_template`` and
            ``output_format``; those of other names are not read.
        kind: ``single`` or ``pairwise``.
        options: which of its rows.

    Raises:
        DataError: it cannot be read.
        EvaluationError: a prompt that is missing, stands twice or wants other verdicts.
    """
    wanted = [
        prompt_name(kind, reference=reference, second=second)
        for second in (False, True)
        for reference in (False, True)
    ]
    found: dict[str, JudgePrompt] = {}
    for row in benchmark_rows(source, options):
        name = row.text("name")
        if name not in wanted:
            continue
        if name in found:
            raise EvaluationError(f"{row.place}: {name} stands in {found[name].place} too")
        found[name] = _prompt(row, name, kind)
    if missing := [name for name in wanted if name not in found]:
        raise EvaluationError(
            f"{source}: has no prompt {missing[0]}; give data/judge_prompts.jsonl of FastChat, or "
            "no file for prompts in words of this package"
        )
    return found


def _prompt(row: BenchmarkRow, name: str, kind: str) -> JudgePrompt:
    for field, expected in (("type", kind), ("output_format", OUTPUT_FORMATS[kind])):
        if (given := row.text(field)) != expected:
            raise EvaluationError(f"{row.place}: {name}: {field} is {given!r}, not {expected!r}")
    return JudgePrompt(
        name, kind, row.text("system_prompt"), row.text("prompt_template"), row.place
    )
