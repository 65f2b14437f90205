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


def is_on_lines(prompt: str, answer: str) -> bool:
    """Whether an answer stands in a prompt on lines of its own: a part of one does not."""
    return re.search(rf"(?:^|\n){re.escape(answer)}(?:\n|$)", prompt) is not None


def edited_notes(shown: Iterable[Shown]) -> list[str]:
    """Notes of answers that are not those which the judge was shown.

    The benchmarks' prompts have answers on lines of their own. Where no prompt of a form has, it
    need only stand somewhere in it.
    """
    found = [(each, is_on_lines(each.prompt, each.answer)) for each in shown]
    forms_of_lines = {each.form for each, on_lines in found if on_lines}
    edited: dict[str, list[str]] = {}
    for each, on_lines in found:
        if not on_lines and (each.form in forms_of_lines or each.answer not in each.prompt):
            edited.setdefault(each.system, []).append(each.place)
    return [
        f"{len(set(places))} answers of {system} are not those that the judge was shown, first "
        f"{places[0]}: the scores are of others; give the answers that were judged"
        for system, places in edited.items()
    ]
