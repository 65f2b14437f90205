"""Prompts of judges in words of this package, for where FastChat's file is not given."""

from __future__ import annotations

from collections.abc import Mapping

from coala_jax.evaluation._words_to_judges import (
    COMPARE_SYSTEM,
    COMPARE_TASK,
    GRADE_SYSTEM,
    GRADE_TASK,
)
from coala_jax.evaluation.judge import JudgePrompt
from coala_jax.evaluation.mt_bench._judge_prompts import (
    OWN_NAMES,
    PAIRWISE,
    SINGLE,
    Kind,
    prompt_name,
)

_BY_REFERENCE = "A reference answer is given: first find every mistake by comparison with it."
_OF_SECOND = (
    "Judge the answer to the user's second question, in the light of the whole conversation."
)


def own_judge_prompts(kind: Kind) -> Mapping[str, JudgePrompt]:
    """The four prompts of a kind, under the names and with the places of FastChat's.

    Their own names, which judgments hold, are `OWN_NAMES`.

    Args:
        kind: ``single`` or ``pairwise``.
    """
    return {
        prompt_name(kind, reference=reference, second=second): _prompt(kind, reference, second)
        for second in (False, True)
        for reference in (False, True)
    }


def _prompt(kind: Kind, reference: bool, second: bool) -> JudgePrompt:
    single = kind == SINGLE
    system, task = (GRADE_SYSTEM, GRADE_TASK) if single else (COMPARE_SYSTEM, COMPARE_TASK)
    sections = _conversations(kind, reference) if second else _answers(kind, reference)
    template = [f"== {title} ==\n{text}\n== end ==" for title, text in sections]
    asked = [_OF_SECOND] * second + [_BY_REFERENCE] * reference + [task]
    name = prompt_name(kind, reference=reference, second=second, names=OWN_NAMES)
    return JudgePrompt(name, system, "\n\n".join([*template, " ".join(asked)]))


def _answers(kind: Kind, reference: bool) -> list[tuple[str, str]]:
    """Titles and places of the first turn."""
    sections = [("question", "{question}")]
    if reference:
        sections.append(("reference answer", "{ref_answer_1}"))
    if kind == PAIRWISE:
        return [*sections, ("answer of A", "{answer_a}"), ("answer of B", "{answer_b}")]
    return [*sections, ("answer", "{answer}")]


def _conversations(kind: Kind, reference: bool) -> list[tuple[str, str]]:
    """Titles and places of both turns."""
    sections = []
    if reference:
        sections.append(("reference answers", _turns("Reference", "ref_answer")))
    if kind == PAIRWISE:
        by_a, by_b = _turns("A", "answer_a"), _turns("B", "answer_b")
        return [*sections, ("conversation with A", by_a), ("conversation with B", by_b)]
    return [*sections, ("conversation", _turns("Assistant", "answer"))]


def _turns(who: str, place: str) -> str:
    return "\n\n".join(
        f"User:\n{{question_{turn}}}\n\n{who}:\n{{{place}_{turn}}}" for turn in (1, 2)
    )
