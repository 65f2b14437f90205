"""Whether answers are those that a judge was shown: an edited file is found out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Shown(NamedTuple):
    """An answer of a file, and a prompt in which a judge was shown that system's answer.

    Attributes:
        form: what prompts that are written alike share, such as the name of their template.
        prompt: what the judge was shown.
        answer: what should stand in it.
        system: whose answer it is.
        place: of the answer, file and row.
    """

    form: str
    prompt: str
    answer: str
    system: str
    place: str


# Templates with answers on lines of their own: FastChat's, Arena-Hard's, ours of MT-Bench and of
# Arena-Hard. What stands before answers in them, and the lines that may follow one.
_KNOWN = re.compile(
    r"^(?:\[The Start of Assistant.{0,3}'s Answer\]"
    r"|<\|The Start of Assistant.{0,3}'s (?:Answer|Conversation with User)\|>"
    r"|== answer(?: of [AB])? ==|== conversation(?: with [AB])? ==\nUser:"
    r"|\[Answer of assistant [AB]\])$",
    re.M,
)
_AFTER = r"\n+(?:\[The End of |<\|The End of |### User:|== end ==|User:\n|\[End of [AB]\])"


def is_known(prompt: str) -> bool:
    """Whether a prompt is of a template with answers on lines of their own."""
    return _KNOWN.search(prompt) is not None


def is_whole(prompt: str, answer: str) -> bool:
    """Whether an answer stands in such a prompt from where a line begins to where answers end."""
    return re.search(rf"(?:^|\n){re.escape(answer)}{_AFTER}", prompt) is not None


def is_on_lines(prompt: str, answer: str) -> bool:
    """Whether an answer stands in a prompt on lines of its own: a part of one does not."""
    return re.search(rf"(?:^|\n){re.escape(answer)}(?:\n|$)", prompt) is not None


def edited_notes(shown: Iterable[Shown]) -> list[str]:
    """Notes of answers that are not those which the judge was shown.

    In prompts of known templates an answer must be whole. The form of others is learned from the
    answers: where none stands on lines of its own, they need only stand somewhere in the prompt.
    """
    found = [(each, is_on_lines(each.prompt, each.answer)) for each in shown]
    forms_of_lines = {each.form for each, on_lines in found if on_lines}
    edited: dict[str, list[str]] = {}
    for each, on_lines in found:
        if is_known(each.prompt):
            there = is_whole(each.prompt, each.answer)
        else:
            there = on_lines or (each.form not in forms_of_lines and each.answer in each.prompt)
        if not there:
            edited.setdefault(each.system, []).append(each.place)
    return [
        f"{len(set(places))} answers of {system} are not those that the judge was shown, first "
        f"{places[0]}: the scores are of others; give the answers that were judged"
        for system, places in edited.items()
    ]
