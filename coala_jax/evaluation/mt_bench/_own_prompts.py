"""Prompts of judges in words of this package, for where FastChat's file is not given."""

from __future__ import annotations

from collections.abc import Mapping

from coala_jax.evaluation.judge import JudgePrompt
from coala_jax.evaluation.mt_bench._judge_prompts import (
    OWN,
    PAIRWISE,
    SINGLE,
    Kind,
    prompt_name,
)

_GENERAL = (
    "Weigh whether it does what was asked, whether it is right, how useful, thorough and clear it "
    "is, and its ideas where ideas were asked for."
)
_BY_REFERENCE = (
    "A reference answer is given. First compare with it and find every mistake; being right counts "
    "most, then being useful."
)
_GRADE = (
    "You grade the work of an AI assistant. {of_turn} {weigh} A long answer is not better for its "
    "length. Explain your judgment in a few sentences. End with a grade from 1 (useless) to 10 "
    "(could not be better) in double square brackets, exactly in this form: Rating: [[6]]"
)
_COMPARE = (
    "You compare the work of two AI assistants, A and B. {of_turn} {weigh} Neither the order in "
    "which they are shown, nor their length or names, may move you. Explain your judgment in a few "
    "sentences. End with your verdict, exactly in one of these forms: [[A]] if A is better, [[B]] "
    "if B is better, [[C]] if they are equally good"
)
_FIRST = "Judge the answer to the user's question."
_SECOND = "Judge the answer to the user's second question, in the light of the whole conversation."


def own_judge_prompts(kind: Kind) -> Mapping[str, JudgePrompt]:
    """The four prompts of a kind, under the names and with the places of FastChat's.

    Their own names, which judgments hold, begin with `OWN`.

    Args:
        kind: ``single`` or ``pairwise``.
    """
    prompts = [
        _prompt(kind, reference, second) for second in (False, True) for reference in (False, True)
    ]
    return {prompt.name.removeprefix(OWN): prompt for prompt in prompts}


def _prompt(kind: Kind, reference: bool, second: bool) -> JudgePrompt:
    words = _GRADE if kind == SINGLE else _COMPARE
    weigh = _BY_REFERENCE if reference else _GENERAL
    system = words.replace("{of_turn}", _SECOND if second else _FIRST).replace("{weigh}", weigh)
    sections = _conversations(kind, reference) if second else _answers(kind, reference)
    template = "\n\n".join(f"== {title} ==\n{text}\n== end ==" for title, text in sections)
    name = prompt_name(kind, reference=reference, second=second)
    return JudgePrompt(f"{OWN}{name}", system, template)


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
    return "\n\n".join(f"User: {{question_{turn}}}\n\n{who}: {{{place}_{turn}}}" for turn in (1, 2))
